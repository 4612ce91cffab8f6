// Files of every format, cut and with a bit changed: an error that names file and place, or the bases unharmed.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>
#include <string>
#include <vector>

#include "core/io/alignment_source.h"
#include "tests/io/records.h"
#include "tests/support/damage.h"
#include "tests/support/memory_file.h"
#include "tests/support/piped_stdin.h"
#include "tests/support/sequence_files.h"

namespace dnamamba::io {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

class Damage : public ::testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    if (test::needs_samtools(GetParam()) && !test::has_samtools()) GTEST_SKIP() << "samtools is not installed";
    forbid_reference_downloads();
    whole_ = test::sequence_file(GetParam());
  }

  static std::string error_in(const std::string& path, int threads) {
    return error_of([&] { read_records(path, {.decompression_threads = threads}); });
  }
  static auto names_the_place(const std::string& file) {
    return AllOf(StartsWith(file + ": "), Not(HasSubstr("\n")),
                 ::testing::ContainsRegex("(byte|line) [0-9]+|has no records"));
  }

  std::string whole_;
};

TEST_P(Damage, EveryCutIsAnErrorWithItsPlace) {
  const std::vector<std::size_t> lengths = test::cuts(whole_.size(), 60, 110);
  ASSERT_GE(lengths.size(), 200U);
  for (const std::size_t length : lengths) {
    const test::MemoryFile file(whole_.substr(0, length));
    EXPECT_THAT(error_in(file.path(), static_cast<int>(length % 3)), names_the_place(file.path()))
        << length << " of " << whole_.size();
  }
}

TEST_P(Damage, EveryCutOfAPipeIsAnErrorWithItsPlace) {
  for (std::size_t length = whole_.size() % 41; length < whole_.size(); length += whole_.size() / 41) {
    const test::PipedStdin pipe(whole_.substr(0, length));
    EXPECT_THAT(error_in("-", static_cast<int>(length % 2)), names_the_place("standard input"))
        << length << " of " << whole_.size();
  }
}

TEST_P(Damage, AChangedBitIsAnErrorWithItsPlaceOrHarmless) {
  const std::vector<Record> expected = read_records(test::MemoryFile(whole_).path());
  std::mt19937 random(32);
  int seen = 0;
  for (int i = 0; i < 250; ++i) {
    const test::MemoryFile file(test::with_flipped_bit(whole_, random));
    std::vector<Record> records;
    const std::string error = error_of([&] { records = read_records(file.path(), {.decompression_threads = i % 3}); });
    seen += error.empty() ? 0 : 1;
    if (error.empty()) {
      EXPECT_EQ(records, expected);
    } else {
      EXPECT_THAT(error, names_the_place(file.path()));
    }
  }
  EXPECT_GT(seen, 220);  // the rest: times and names in headers, padding
}

// htslib with threads takes such a block for the end, now and then.
TEST_P(Damage, OfABgzfHeaderIsNoEndForThreads) {
  const std::size_t second = whole_.find("\x1f\x8b\x08\x04", 18);
  if (second == std::string::npos) return;  // not of BGZF blocks
  const std::vector<Record> expected = read_records(test::MemoryFile(whole_).path());
  for (std::size_t bit = 8 * second; bit < 8 * (second + 18); ++bit) {
    std::string damaged = whole_;
    damaged[bit / 8] = static_cast<char>(damaged[bit / 8] ^ (1 << (bit % 8)));
    const test::MemoryFile file(damaged);
    std::vector<Record> records;
    const std::string error = error_of([&] { records = read_records(file.path(), {.decompression_threads = 2}); });
    EXPECT_TRUE(!error.empty() || records == expected) << "bit " << bit - 8 * second;
  }
}

INSTANTIATE_TEST_SUITE_P(Of, Damage, ::testing::ValuesIn(test::kSequenceSuffixes), [](const auto& suffix) {
  std::string name = suffix.param;
  std::replace(name.begin(), name.end(), '.', '_');
  return name;
});

}  // namespace
}  // namespace dnamamba::io
