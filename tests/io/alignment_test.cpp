// SAM, BAM and CRAM: the reads that samtools gives, from every kind of file, filter and region; and damaged ones.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <random>
#include <string>
#include <vector>

#include "core/io/alignment_source.h"
#include "tests/io/records.h"
#include "tests/io/samtools.h"
#include "tests/support/damage.h"
#include "tests/support/piped_stdin.h"
#include "tests/support/temp_dir.h"

namespace dnamamba::io {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

std::string bytes_of(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

bool by_name_and_bases(const Record& a, const Record& b) {
  return std::tie(a.name, a.bases) < std::tie(b.name, b.bases);
}

// samtools fasta puts mates that follow one another in order.
std::vector<Record> sorted(std::vector<Record> records) {
  std::sort(records.begin(), records.end(), by_name_and_bases);
  return records;
}

class Alignments : public ::testing::Test {
 protected:
  static constexpr std::int64_t kReference = 5'000;  // bases of each of two

  void SetUp() override {
    DNAMAMBA_REQUIRE_SAMTOOLS();
    forbid_reference_downloads();
    std::string fasta;
    for (std::string& reference : references_) {
      reference = letters(kReference, "ACGT");
      fasta += (fasta.empty() ? ">c1\n" : ">c2\n") + reference + "\n";
    }
    fasta_ = folder_.write("reference.fa", fasta);
    sam_ = folder_.write("reads.sam", sam_text(400));
    for (const char* format : {"bam", "cram"}) {
      run("samtools view --no-PG -T " + fasta_ + " -o " + file(format) + " " + sam_);
      run("samtools index " + file(format));
    }
    run("bgzip -c " + sam_ + " > " + file("sam.gz"));
  }

  std::string file(const std::string& suffix) const { return folder_.file("reads." + suffix); }

  std::string letters(std::size_t length, const std::string& alphabet) {
    std::string out;
    while (out.size() < length) out += alphabet[random_() % alphabet.size()];
    return out;
  }

  // Sorted reads with all flags, clips, gaps, N, and without bases; the last ones are not mapped.
  std::string sam_text(int reads) {
    std::string text = "@HD\tVN:1.6\tSO:coordinate\n@SQ\tSN:c1\tLN:5000\n@SQ\tSN:c2\tLN:5000\n";
    for (int i = 0; i < reads; ++i) {
      const bool mapped = i < reads - 20;
      const int reference = i * 2 / reads;
      const std::int64_t step = kReference / (reads / 2 + 1), position = 1 + (i - reference * reads / 2) * step;
      const std::size_t length = 30 + random_() % 40;
      std::string bases = letters(length, "ACGTACGTACGTN");
      int flags = static_cast<int>(random_() % 2) * 0x10;
      if (random_() % 2 == 0) flags |= 0x1 | (random_() % 2 == 0 ? 0x40 : 0x80);
      for (const int bit : {0x100, 0x200, 0x400, 0x800})
        if (random_() % 8 == 0) flags |= bit;
      std::string cigar = std::to_string(length) + "M";
      if (random_() % 3 == 0) cigar = "5S" + std::to_string(length - 10) + "M1D5M";
      if (random_() % 7 == 0) cigar = "9H" + std::to_string(length - 8) + "M8S";
      if (!mapped) flags = (flags & ~0x10) | 0x4;
      const bool bare = mapped && random_() % 30 == 0;
      text += "r" + std::to_string(i) + "\t" + std::to_string(flags) + "\t";
      text += mapped ? (reference == 0 ? "c1\t" : "c2\t") + std::to_string(position) + "\t" +
                           std::to_string(random_() % 60) + "\t" + cigar
                     : "*\t0\t0\t*";
      text += "\t*\t0\t0\t" + (bare ? "*\t*" : bases + "\t" + std::string(length, 'F')) + "\n";
    }
    return text;
  }

  std::vector<Record> by_samtools(const std::string& view_options, const std::string& regions = "") {
    return sorted(simple_fasta(output_of("samtools view -u -T " + fasta_ + " " + view_options + " " + file("bam") +
                                         " " + regions + " | samtools fasta -F 0 - 2> /dev/null")));
  }
  std::vector<Record> by_us(const std::string& path, SequenceReaderOptions options = {}) {
    options.alignments.reference = fasta_;
    return sorted(read_records(path, options));
  }

  std::mt19937 random_{11};
  test::TempDir folder_;
  std::array<std::string, 2> references_;
  std::string fasta_, sam_;
};

TEST_F(Alignments, AreThoseOfSamtoolsInEveryFormat) {
  const std::vector<Record> expected = by_samtools("-F 0xF00");
  ASSERT_GT(expected.size(), 200U);
  for (const std::string& path : {sam_, file("sam.gz"), file("bam"), file("cram")}) {
    SCOPED_TRACE(path);
    EXPECT_EQ(by_us(path), expected);
    EXPECT_EQ(by_us(path, {.chunk_length = 13, .decompression_threads = 2}), expected);
    const test::PipedStdin pipe(bytes_of(path));
    EXPECT_EQ(by_us("-"), expected);
  }
}

TEST_F(Alignments, AreFilteredAsBySamtools) {
  for (const auto& [flags, mapq] : {std::pair{0, 0}, {0x10, 20}, {0xF04, 59}, {0x40, 1}}) {
    const std::string options = "-F " + std::to_string(flags) + " -q " + std::to_string(mapq);
    EXPECT_EQ(
        by_us(file("bam"), {.alignments = {.exclude_flags = static_cast<std::uint16_t>(flags), .min_mapq = mapq}}),
        by_samtools(options))
        << options;
  }
  SequenceReader reader(file("bam"));
  while (reader.next()) continue;
  EXPECT_EQ(reader.left_out() + reader.records_read(), 400);
}

TEST_F(Alignments, OfRegionsAreThoseOfSamtoolsWithAndWithoutAnIndex) {
  const std::vector<std::vector<std::string>> lists = {
      {"c1:1000-1100"}, {"c2"}, {"c1:4990", "c2:1-200"}, {"c1:2000-2500", "c1:2400-2600"}, {"c1:1-5000", "c2:300-300"}};
  const std::string no_index = folder_.write("no_index.bam", bytes_of(file("bam")));
  for (const auto& list : lists) {
    std::string words;
    SequenceReaderOptions options;
    for (const std::string& text : list) {
      words += " " + text;
      options.regions.push_back(parse_region(text));
    }
    SCOPED_TRACE(words);
    const std::vector<Record> expected = by_samtools("-F 0xF00 -M", words);
    EXPECT_FALSE(expected.empty());
    for (const std::string& path : {file("bam"), no_index, file("cram"), file("sam.gz"), sam_})
      EXPECT_EQ(by_us(path, options), expected) << path;
    const test::PipedStdin pipe(bytes_of(file("cram")));
    EXPECT_EQ(by_us("-", options), expected);
  }
  EXPECT_THAT(error_of([&] { by_us(file("bam"), {.regions = {parse_region("c3")}}); }), HasSubstr("no record 'c3'"));
}

TEST_F(Alignments, OfCramNeedTheirReference) {
  std::filesystem::rename(fasta_, folder_.file("elsewhere.fa"));
  EXPECT_THAT(error_of([&] { read_records(file("cram")); }),
              AllOf(HasSubstr("alignment 1 "), HasSubstr("--reference")));
  EXPECT_THAT(error_of([&] { by_us(file("cram")); }), HasSubstr("reference.fa"));
}

// htslib takes what REF_PATH says for addresses, and has one of its own where it says nothing.
TEST_F(Alignments, OfCramAreRefusedWhileReferencesCouldBeDownloaded) {
  const auto reading = [&] { (void)SequenceReader(file("cram")); };
  for (const char* places : {"", "http://127.0.0.1:9/%s", "http:://127.0.0.1::9/%s"}) {
    setenv("REF_PATH", places, 1);
    EXPECT_THROW(reading(), base::Error) << places;
    forbid_reference_downloads();
    EXPECT_NO_THROW(reading()) << places;
  }
}

// Text that is cut behind a line looks whole.
TEST_F(Alignments, InPlainTextThatIsCutInsideALineAreErrors) {
  const std::string whole = bytes_of(sam_);
  for (const std::size_t length : test::cuts(whole.size())) {
    if (length > 0 && whole[length - 1] == '\n') continue;
    const std::string cut = folder_.write("cut.sam", std::string_view(whole).substr(0, length));
    EXPECT_THAT(error_of([&] { by_us(cut); }), HasSubstr("cut.sam")) << length << " of " << whole.size();
  }
}

// With an index and threads, of which htslib's must not wait for one another where one met damage.
TEST_F(Alignments, OfRegionsOfADamagedFileAreErrorsOrUnharmed) {
  const std::string whole = bytes_of(file("bam"));
  const SequenceReaderOptions options = {.decompression_threads = 2,
                                         .regions = {parse_region("c1:1-100"), parse_region("c2:4000-4400")}};
  const std::vector<Record> expected = by_us(file("bam"), options);
  int errors = 0;
  for (int i = 0; i < 100; ++i) {
    folder_.write("reads.bam", test::with_flipped_bit(whole, random_));
    std::filesystem::last_write_time(file("bam.bai"), std::filesystem::file_time_type::clock::now());
    std::vector<Record> records;
    const std::string error = error_of([&] { records = by_us(file("bam"), options); });
    errors += error.empty() ? 0 : 1;
    EXPECT_TRUE(!error.empty() || records == expected);
  }
  EXPECT_GT(errors, 20);
}

}  // namespace
}  // namespace dnamamba::io
