// samtools, to compare with.
#pragma once
#include <gtest/gtest.h>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

#include "tests/io/records.h"

namespace dnamamba::io {

inline void run(const std::string& command) {
  if (std::system(command.c_str()) != 0) throw std::runtime_error("failed: " + command);
}

inline std::string output_of(const std::string& command) {
  const std::unique_ptr<FILE, int (*)(FILE*)> pipe(popen(command.c_str(), "r"), pclose);
  if (!pipe) throw std::runtime_error("can't run " + command);
  std::string text;
  std::array<char, 4096> piece{};
  while (const std::size_t count = fread(piece.data(), 1, piece.size(), pipe.get())) text.append(piece.data(), count);
  return text;
}

/// Names and bases of FASTA that samtools wrote.
inline std::vector<Record> simple_fasta(const std::string& text) {
  std::vector<Record> records;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    if (line[0] == '>') records.push_back({line.substr(1), "", ""});
    if (line[0] != '>') records.back().bases += line;
  }
  return records;
}

}  // namespace dnamamba::io

/// Ends the test as skipped where there is no samtools.
#define DNAMAMBA_REQUIRE_SAMTOOLS()                                                                \
  if (std::system("samtools --version > /dev/null 2>&1 && bgzip --version > /dev/null 2>&1") != 0) \
  GTEST_SKIP() << "samtools is not installed"
