#include "core/io/cram_checksums.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "core/io/alignment_source.h"
#include "tests/io/records.h"
#include "tests/io/samtools.h"
#include "tests/support/damage.h"
#include "tests/support/memory_file.h"
#include "tests/support/sequence_files.h"
#include "tests/support/temp_dir.h"

namespace dnamamba::io {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

class CramChecksums : public ::testing::Test {
 protected:
  void SetUp() override {
    DNAMAMBA_REQUIRE_SAMTOOLS();
    forbid_reference_downloads();
    std::mt19937 random(41);
    sam_ = test::sam_text(random);
  }
  std::string cram(const std::string& options) const { return test::by_samtools(sam_, "cram," + options); }

  /// What a decoder would get of `bytes`.
  static std::string passed_on(const std::string& bytes) {
    const test::MemoryFile file(bytes);
    files::RawInput input(file.path());
    std::string out;
    copy_checked_cram(input, [&](std::string_view piece) {
      out += piece;
      return true;
    });
    return out;
  }

  std::string sam_;
};

TEST_F(CramChecksums, PassOnEveryByteOfAGoodFile) {
  for (const std::string options :
       {"version=2.1", "version=3.0", "version=3.1", "version=3.0,level=0", "version=3.0,seqs_per_slice=7",
        "version=3.0,seqs_per_slice=7,slices_per_container=3", "version=3.0,seqs_per_slice=7,multi_seq_per_slice=1"}) {
    const std::string bytes = cram(options);
    EXPECT_EQ(passed_on(bytes), bytes) << options;
  }
}

// Everything but the name in the file definition and the padding behind the header.
TEST_F(CramChecksums, SeeEveryChangedByteOfTheContainers) {
  const std::string whole = cram("version=3.0,level=0,seqs_per_slice=20");
  const auto header_length = static_cast<unsigned char>(whole[26]) | static_cast<unsigned char>(whole[27]) << 8;
  int unseen = 0;
  for (std::size_t at = 26; at < whole.size(); ++at) {
    std::string damaged = whole;
    damaged[at] = static_cast<char>(damaged[at] ^ (1 << (at % 8)));
    const std::string error = error_of([&] { passed_on(damaged); });
    if (!error.empty()) continue;
    ++unseen;
    EXPECT_LT(at, 26U + 40 + static_cast<std::size_t>(header_length)) << "only in the header's container";
    EXPECT_EQ(whole[at], 0) << "only of padding";
  }
  EXPECT_LT(unseen, header_length);
}

TEST_F(CramChecksums, NameTheBlockThatIsDamaged) {
  const std::string whole = cram("version=3.0,level=0");
  const std::string some_bases = sam_.substr(sam_.rfind("\t*\t0\t0\t") + 8, 20);
  const std::size_t place = whole.find(some_bases);
  ASSERT_NE(place, std::string::npos) << "bases are stored as letters";
  std::string damaged = whole;
  damaged[place] = damaged[place] == 'A' ? 'C' : 'A';
  const test::MemoryFile file(damaged);
  const std::string error = error_of([&] { read_records(file.path()); });
  EXPECT_THAT(error, AllOf(HasSubstr("a block has a wrong checksum"), HasSubstr("fetch it again")));
  const std::int64_t named = std::stoll(error.substr(error.find("at byte ") + 8));
  EXPECT_LT(named, static_cast<std::int64_t>(place));
  EXPECT_GT(named, static_cast<std::int64_t>(place) - 4'000);
}

TEST_F(CramChecksums, RefuseWhatFollowsTheEndAndOtherVersions) {
  std::string whole = cram("version=3.0");
  EXPECT_THAT(error_of([&] { passed_on(whole + "x"); }),
              AllOf(HasSubstr("byte " + std::to_string(whole.size())), HasSubstr("behind its end marker")));
  whole[4] = 4;
  EXPECT_THAT(error_of([&] { passed_on(whole); }), HasSubstr("CRAM 4.0 is not read here"));
}

// With an index, only the containers of a region are read, and so only their damage matters.
TEST_F(CramChecksums, OfContainersThatARegionNeedsAreCompared) {
  const test::TempDir folder;
  const std::string path = folder.write("a.cram", cram("version=3.0,level=0,seqs_per_slice=10"));
  run("samtools index " + path);
  const auto reads = [&](const std::string& region) { return read_records(path, {.regions = {parse_region(region)}}); };
  const std::vector<Record> first = reads("c1:1-400"), last = reads("c1:2300-3000");
  ASSERT_GT(first.size(), 5U);
  ASSERT_GT(last.size(), 5U);
  std::string bytes = test::bytes_of(path);
  const std::size_t place = bytes.find(last[2].bases);
  ASSERT_NE(place, std::string::npos);
  bytes[place] = bytes[place] == 'A' ? 'C' : 'A';
  folder.write("a.cram", bytes);
  std::filesystem::last_write_time(path + ".crai", std::filesystem::file_time_type::clock::now());
  EXPECT_EQ(reads("c1:1-400"), first);
  EXPECT_THAT(error_of([&] { reads("c1:2300-3000"); }), HasSubstr("a block has a wrong checksum"));
  folder.write("a.cram.crai", "0\t1\t400\tx\n");
  EXPECT_THAT(error_of([&] { reads("c1:1-400"); }),
              AllOf(HasSubstr("a.cram.crai: line 1"), HasSubstr("samtools index")));
}

}  // namespace
}  // namespace dnamamba::io
