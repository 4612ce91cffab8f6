// Regions: their notation, and that a scan, an index and any chunk length give the same bases.
#include "core/io/region.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>
#include <string>

#include "core/base/error.h"
#include "tests/io/records.h"
#include "tests/support/compress.h"
#include "tests/support/piped_stdin.h"
#include "tests/support/temp_dir.h"

namespace dnamamba::io {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

Region region(std::string name, std::int64_t begin, std::int64_t end) {
  return {std::move(name), begin, end, ""};
}

Region parsed(std::string_view text) {
  Region read = parse_region(text);
  read.given.clear();
  return read;
}

TEST(Region, IsWrittenAsSamtoolsHasIt) {
  EXPECT_EQ(parsed("chr1"), region("chr1", 0, Region::kToEnd));
  EXPECT_EQ(parsed("chr1:1,001-2,000"), region("chr1", 1000, 2000));
  EXPECT_EQ(parsed("chr1:7-7"), region("chr1", 6, 7));
  EXPECT_EQ(parsed("chr1:1000"), region("chr1", 999, Region::kToEnd));
  EXPECT_EQ(parsed("chr1:1000-"), region("chr1", 999, Region::kToEnd));
  EXPECT_EQ(parsed("chr1:-2000"), region("chr1", 0, 2000));
  EXPECT_EQ(parsed("HLA:A:5-6"), region("HLA:A", 4, 6));
  EXPECT_EQ(parsed("{HLA:5-6}"), region("HLA:5-6", 0, Region::kToEnd));
  EXPECT_EQ(parsed("{HLA:5-6}:1-2"), region("HLA:5-6", 0, 2));
  EXPECT_EQ(parsed("chr1:abc"), region("chr1:abc", 0, Region::kToEnd)) << "a name";
  EXPECT_EQ(parsed("chr:9223372036854775807").begin, 9223372036854775806);
}

TEST(Region, ThatIsNoneIsAUsageError) {
  for (const char* text : {"", "{", "{}", "{a}b", "{a}:x", "chr1:0-5", "chr1:5-4"})
    EXPECT_THROW(parse_region(text), base::UsageError) << text;
}

TEST(Bed, IsReadWithItsCommentsSkipped) {
  const test::TempDir folder;
  const std::string text = "track name=x\n#c\nbrowser y\n\nchr1\t0\t10\tgene\t0\t+\r\nchr2 5\nchr2 5 6";
  EXPECT_THAT(error_of([&] { read_bed(folder.write("a.bed", text)); }), AllOf(HasSubstr("a.bed"), HasSubstr("line 6")));
  const auto regions = read_bed(folder.write("b.bed.gz", test::gzipped("chr1\t0\t10\tgene\r\nchr2 5 6")));
  ASSERT_EQ(regions.size(), 2U);
  EXPECT_EQ(regions[0].name, "chr1");
  EXPECT_EQ(regions[0].end, 10);
  EXPECT_EQ(regions[1].begin, 5);
  for (const char* line : {"chr1", "chr1\t1", "chr1\t2\t1", "chr1\t-1\t1", "chr1\t1\tx"})
    EXPECT_THAT(error_of([&] { read_bed(folder.write("c.bed", line)); }), HasSubstr("line 1 is not BED")) << line;
}

// Longer than any buffer: a line may be in two pieces.
TEST(Bed, OfManyLinesIsReadWhole) {
  const test::TempDir folder;
  std::string text;
  for (int i = 0; i < 50'000; ++i)
    text += "chromosome\t" + std::to_string(i) + "\t" + std::to_string(i + 7) + "\tx\r\n";
  const auto regions = read_bed(folder.write("a.bed", text));
  ASSERT_EQ(regions.size(), 50'000U);
  for (int i = 0; i < 50'000; ++i) ASSERT_EQ(regions[i].begin, i);
}

class RegionsOfFasta : public ::testing::Test {
 protected:
  static std::string letters(std::size_t length, std::mt19937& random) {
    std::string out;
    while (out.size() < length) out += "ACGTNacgt"[random() % 9];
    return out;
  }
  std::vector<Record> read(const std::string& path, std::vector<Region> regions, std::int64_t chunk) {
    return read_records(path, {.chunk_length = chunk, .regions = std::move(regions)});
  }
  test::TempDir folder_;
};

TEST_F(RegionsOfFasta, AreTheSameCutAnywhereFromAFileAPipeOrAnIndex) {
  std::mt19937 random(5);
  for (int round = 0; round < 10; ++round) {
    std::string text, fai;
    std::vector<std::string> bases;
    for (int i = 0; i < 4; ++i) {
      bases.push_back(letters(200 + random() % 800, random));
      text += ">s" + std::to_string(i) + " words\n";
      fai += "s" + std::to_string(i) + "\t" + std::to_string(bases[i].size()) + "\t" + std::to_string(text.size()) +
             "\t" + std::to_string(bases[i].size()) + "\t" + std::to_string(bases[i].size() + 1) + "\n";
      text += bases[i] + "\n";
    }
    std::vector<Region> wanted;
    for (int i = 0; i < 12; ++i) {
      const std::size_t s = random() % 4, begin = random() % bases[s].size(),
                        end = begin + 1 + random() % (bases[s].size() - begin);
      wanted.push_back(
          {"s" + std::to_string(s), static_cast<std::int64_t>(begin), static_cast<std::int64_t>(end), "given"});
    }
    const std::string plain = folder_.write("plain" + std::to_string(round) + ".fa", text);
    const std::vector<Record> expected = read(plain, wanted, 1 << 20);
    ASSERT_EQ(expected.size(), wanted.size());
    for (const Record& record : expected) {
      const Region at = parse_region(record.name);
      EXPECT_EQ(record.bases, bases[at.name[1] - '0'].substr(at.begin, at.end - at.begin));
    }
    const std::string indexed = folder_.write("indexed" + std::to_string(round) + ".fa", text);
    folder_.write("indexed" + std::to_string(round) + ".fa.fai", fai);
    for (const std::int64_t chunk : {1, 7, 100, 1000}) {
      EXPECT_EQ(read(plain, wanted, chunk), expected);
      EXPECT_EQ(read(indexed, wanted, chunk), expected);
    }
    const test::PipedStdin pipe(test::gzipped(text));
    EXPECT_EQ(read("-", wanted, 50), expected);
  }
}

TEST_F(RegionsOfFasta, DoNotDependOnAnIndexThatHasANameTwice) {
  const std::string path = folder_.write("a.fa", ">a\nACGT\n>a\nTTGCA\n");
  const auto expected = read(path, {parse_region("a:2-3")}, 10);
  folder_.write("a.fa.fai", "a\t0\t3\t0\t1\na\t5\t11\t5\t6\n");  // a length of 0 has lines of 0 bases
  EXPECT_EQ(read(path, {parse_region("a:2-3")}, 10), expected);
}

TEST_F(RegionsOfFasta, AreFoundInAnIndexOfManyContigs) {
  std::string text, fai;
  for (int i = 0; i < 30'000; ++i) {
    text += ">contig_" + std::to_string(i) + "\n";
    fai += "contig_" + std::to_string(i) + "\t8\t" + std::to_string(text.size()) + "\t8\t9\n";
    text += "ACGTTGCA\n";
  }
  const std::string path = folder_.write("a.fa", text);
  folder_.write("a.fa.fai", fai);
  EXPECT_EQ(read(path, {parse_region("contig_29999:2-4")}, 10), (std::vector<Record>{{"contig_29999:2-4", "", "CGT"}}));
}

TEST_F(RegionsOfFasta, AreNamedByWhatTheyHold) {
  const std::string path = folder_.write("a.fa", ">a:1-2 words\nACGTAC\n>b\nTTT\n>empty\n");
  const auto names = [&](const std::string& text) {
    std::vector<std::string> out;
    for (const Record& record : read(path, {parse_region(text)}, 100)) out.push_back(record.name + "=" + record.bases);
    return out;
  };
  EXPECT_THAT(names("b"), ElementsAre("b=TTT"));
  EXPECT_THAT(names("b:2"), ElementsAre("b:2-3=TT"));
  EXPECT_THAT(names("b:2-100"), ElementsAre("b:2-3=TT"));
  EXPECT_THAT(names("a:1-2"), ElementsAre("a:1-2=ACGTAC")) << "a record of that very name";
  EXPECT_THAT(names("{a:1-2}:1-3"), ElementsAre("a:1-2:1-3=ACG"));
  EXPECT_THAT(names("empty"), ElementsAre("empty="));
}

TEST_F(RegionsOfFasta, ThatAreNotThereAreErrors) {
  const std::string text = ">b\nTTT\n";
  const std::string path = folder_.write("a.fa", text);
  const std::string indexed = folder_.write("i.fa", text);
  folder_.write("i.fa.fai", "b\t3\t3\t3\t4\n");
  for (const std::string& file : {path, indexed}) {
    const auto error = [&](const std::string& region) {
      return error_of([&] { read(file, {parse_region(region)}, 10); });
    };
    EXPECT_THAT(error("c:1-2"), AllOf(HasSubstr(file), HasSubstr("no record 'c'")));
    EXPECT_THAT(error("b:4-5"), AllOf(HasSubstr("b:4-5"), HasSubstr("(3 bases)")));
    EXPECT_EQ(error("b:3-3"), "");
  }
}

TEST_F(RegionsOfFasta, AnIndexThatIsOldOrDamagedIsNotBelieved) {
  const std::string path = folder_.write("a.fa", ">b\nTTACGTT\n");
  const std::string index = folder_.write("a.fa.fai", "b\t3\t5\t3\t4\n");  // as if there were only ACG
  std::filesystem::last_write_time(index, std::filesystem::last_write_time(path) - std::chrono::seconds(10));
  EXPECT_EQ(read(path, {parse_region("b:1-2")}, 10), (std::vector<Record>{{"b:1-2", "", "TT"}}));
  folder_.write("a.fa.fai", "b\tx\n");
  EXPECT_THAT(error_of([&] { read(path, {parse_region("b:1-2")}, 10); }), HasSubstr("a.fa.fai"));
  folder_.write("a.fa.fai", "b\t700\t3\t60\t61\n");  // longer than the file
  EXPECT_THAT(error_of([&] { read(path, {parse_region("b:500-600")}, 10); }), HasSubstr("make the index again"));
}

}  // namespace
}  // namespace dnamamba::io
