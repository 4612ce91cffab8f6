// The same records as samtools reads. Skipped where samtools is not installed.
#include <gtest/gtest.h>

#include <cstdlib>
#include <random>
#include <string>
#include <vector>

#include "tests/io/records.h"
#include "tests/io/samtools.h"
#include "tests/support/compress.h"
#include "tests/support/temp_dir.h"

namespace dnamamba::io {
namespace {

class Samtools : public ::testing::Test {
 protected:
  void SetUp() override { DNAMAMBA_REQUIRE_SAMTOOLS(); }

  std::string letters(std::size_t length, const std::string& alphabet) {
    std::string out;
    while (out.size() < length) out += alphabet[random_() % alphabet.size()];
    return out;
  }

  /// `text` in lines of `width`.
  static std::string wrapped(const std::string& text, std::size_t width) {
    std::string out;
    for (std::size_t at = 0; at < text.size(); at += width) out += text.substr(at, width) + "\n";
    return out;
  }

  std::mt19937 random_{23};
  test::TempDir folder_;
};

TEST_F(Samtools, FaidxGivesTheSameRecords) {
  for (int round = 0; round < 10; ++round) {
    std::string text, regions;
    for (int i = 0; i < 6; ++i) {
      const std::string name = "chr" + std::to_string(i);
      text += ">" + name + "\n" + wrapped(letters(1 + random_() % 5'000, "ACGTNacgtnRYKMSWBDHV"), 1 + random_() % 100);
      regions += name + "\n";
    }
    const std::string path = folder_.write("genome" + std::to_string(round) + ".fa", text);
    const std::string list = folder_.write("regions", regions);
    const std::vector<Record> expected = simple_fasta(output_of("samtools faidx -r " + list + " " + path));
    ASSERT_EQ(expected.size(), 6U);
    EXPECT_EQ(read_records(path, {.chunk_length = 1'000}), expected);
    EXPECT_EQ(read_records(folder_.write("genome.fa.gz", test::bgzipped(text, 10'000)), {.decompression_threads = 2}),
              expected);
  }
}

TEST_F(Samtools, FastaGivesTheSameReads) {
  std::string text;
  for (int i = 0; i < 200; ++i) {
    const std::size_t length = 1 + random_() % 300;
    std::string qualities;
    for (std::size_t k = 0; k < length; ++k) qualities += static_cast<char>('!' + random_() % 94);
    text += "@read" + std::to_string(i) + "\n" + letters(length, "ACGTN") + "\n+\n" + qualities + "\n";
  }
  const std::string path = folder_.write("reads.fastq", text);
  const std::vector<Record> expected =
      simple_fasta(output_of("samtools import -0 " + path + " 2> /dev/null | samtools fasta - 2> /dev/null"));
  ASSERT_EQ(expected.size(), 200U);
  EXPECT_EQ(read_records(path, {.chunk_length = 100}), expected);
  EXPECT_EQ(read_records(folder_.write("reads.fastq.gz", test::gzipped(text))), expected);
}

}  // namespace
}  // namespace dnamamba::io
