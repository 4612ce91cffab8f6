// The same sequences in every format that is read, for tests that damage them. Link ZLIB::ZLIB and PkgConfig::ZSTD.
#pragma once
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <random>
#include <stdexcept>
#include <string>
#include <vector>

#include "tests/support/compress.h"
#include "tests/support/temp_dir.h"

namespace dnamamba::test {

inline std::string random_letters(std::mt19937& random, std::size_t length) {
  std::string letters(length, 'A');
  for (char& letter : letters) letter = "ACGT"[random() % 4];
  return letters;
}

inline std::string fasta_text(std::mt19937& random) {
  std::string text;
  for (int i = 0; i < 3; ++i) {
    text += ">chr" + std::to_string(i) + " of a test\n";
    for (int line = 0; line < 12; ++line) text += random_letters(random, 61) + "\n";
  }
  return text;
}

inline std::string fastq_text(std::mt19937& random) {
  std::string text;
  for (int i = 0; i < 20; ++i) {
    const std::string bases = random_letters(random, 60 + random() % 30);
    text += "@read" + std::to_string(i) + "\n" + bases + "\n+\n";
    for (std::size_t at = 0; at < bases.size(); ++at) text += static_cast<char>('#' + random() % 40);
    text += "\n";
  }
  return text;
}

/// 60 reads on c1, and some that are not mapped; names and qualities that do not compress to nothing.
inline std::string sam_text(std::mt19937& random) {
  std::string text = "@HD\tVN:1.6\tSO:coordinate\n@SQ\tSN:c1\tLN:3000\n";
  for (int i = 0; i < 70; ++i) {
    const std::string bases = random_letters(random, 40);
    std::string qualities;
    for (std::size_t at = 0; at < bases.size(); ++at) qualities += static_cast<char>('#' + random() % 40);
    text += "r" + std::to_string(random() % 100'000) + (i < 60 ? "\t0\tc1\t" : "\t4\t*\t");
    text += i < 60 ? std::to_string(1 + 45 * i) + "\t30\t40M" : "0\t0\t*";
    text += "\t*\t0\t0\t" + bases + "\t" + qualities + "\n";
  }
  return text;
}

inline std::string bytes_of(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

inline bool has_samtools() {
  return std::system("samtools --version > /dev/null 2>&1") == 0;
}

/// SAM as `format` of samtools ("bam", "cram,version=3.0"). CRAM comes without a reference, so that it needs none.
inline std::string by_samtools(const std::string& sam, const std::string& format) {
  const TempDir folder;
  const std::string out = folder.file("out");
  const std::string command = "samtools view --no-PG -O " + format + (format.starts_with("cram") ? ",no_ref=1" : "") +
                              " -o " + out + " " + folder.write("in.sam", sam) + " 2> " + folder.file("warnings");
  if (std::system(command.c_str()) != 0) throw std::runtime_error("failed: " + command);
  return bytes_of(out);
}

/// Every format whose damage can be seen. raw.cram holds blocks that are stored uncompressed, in several containers.
inline const std::vector<std::string> kSequenceSuffixes = {"fa.gz",  "fa.bgz",   "fa.zst",   "fq.gz",
                                                           "fq.bgz", "fq.zst",   "sam.gz",   "bam",
                                                           "cram",   "3.1.cram", "raw.cram", "sam.bgz"};

inline bool needs_samtools(const std::string& suffix) {
  return suffix.ends_with("bam") || suffix.ends_with("cram");
}

/// Always the same bytes of the same sequences.
inline std::string sequence_file(const std::string& suffix) {
  std::mt19937 random(31);
  if (suffix == "bam") return by_samtools(sam_text(random), "bam");
  if (suffix == "cram") return by_samtools(sam_text(random), "cram,version=3.0");
  if (suffix == "3.1.cram") return by_samtools(sam_text(random), "cram,version=3.1");
  if (suffix == "raw.cram") return by_samtools(sam_text(random), "cram,version=3.0,level=0,seqs_per_slice=20");
  const std::string text = suffix.starts_with("fa")   ? fasta_text(random)
                           : suffix.starts_with("fq") ? fastq_text(random)
                                                      : sam_text(random);
  if (suffix.ends_with(".gz")) return gzipped(text);
  return suffix.ends_with(".bgz") ? bgzipped(text, 700) : zstd_frame(text);
}

}  // namespace dnamamba::test
