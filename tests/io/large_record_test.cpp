// Records of 300 Mb in constant memory, for every shape that could be kept whole by mistake.
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <cstdint>
#include <functional>
#include <string>

#include "core/io/sequence_reader.h"
#include "tests/support/piped_stdin.h"

namespace dnamamba::io {
namespace {

constexpr std::int64_t kBases = 300'000'000;
constexpr std::int64_t kPiece = 1'000'000;
constexpr std::int64_t kMostKilobytes = 60'000;  // a fifth of a record

std::int64_t peak_kilobytes() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return usage.ru_maxrss;
}

/// Reads one record of kBases from what `feed` writes to standard input, in chunks of 1 Mi.
void expect_constant_memory(const std::function<void(const test::PipedStdin::Write&)>& feed) {
  const std::int64_t before = peak_kilobytes();
  const test::PipedStdin pipe(feed);
  SequenceReader reader("-");
  std::int64_t bases = 0, ends = 0;
  while (const auto chunk = reader.next()) {
    ASSERT_EQ(chunk->offset, bases);
    bases += static_cast<std::int64_t>(chunk->bases.size());
    ends += chunk->ends_record ? 1 : 0;
  }
  EXPECT_EQ(bases, kBases);
  EXPECT_EQ(ends, 1);
  EXPECT_LT(peak_kilobytes() - before, kMostKilobytes);
}

void write_times(const test::PipedStdin::Write& write, const std::string& piece, std::int64_t times) {
  for (std::int64_t i = 0; i < times; ++i)
    if (!write(piece)) return;
}

TEST(LargeRecord, OfOneLineIsReadInConstantMemory) {
  expect_constant_memory([](const test::PipedStdin::Write& write) {
    write(">chr1\n");
    write_times(write, std::string(kPiece, 'A'), kBases / kPiece);
    write("\n");
  });
}

TEST(LargeRecord, OfManyLinesIsReadInConstantMemory) {
  expect_constant_memory([](const test::PipedStdin::Write& write) {
    std::string lines;
    for (std::int64_t i = 0; i < kPiece; i += 50) lines += std::string(50, 'C') + "\n";
    write(">chr1\n");
    write_times(write, lines, kBases / kPiece);
  });
}

TEST(LargeRecord, OfFastqIsReadInConstantMemory) {
  expect_constant_memory([](const test::PipedStdin::Write& write) {
    write("@read\n");
    write_times(write, std::string(kPiece, 'G'), kBases / kPiece);
    write("\n+\n");
    write_times(write, std::string(kPiece, 'I'), kBases / kPiece);
    write("\n");
  });
}

}  // namespace
}  // namespace dnamamba::io
