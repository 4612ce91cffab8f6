#include "core/files/spool.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <random>
#include <string>

#include "core/base/error.h"
#include "tests/support/file_size_limit.h"
#include "tests/support/temp_dir.h"
#include "tests/support/throws.h"

namespace dnamamba::files {
namespace {

using base::IoError;
using test::error_text;
using ::testing::AllOf;
using ::testing::HasSubstr;

// Sets TMPDIR while it lives.
class TemporaryFolder {
 public:
  explicit TemporaryFolder(const std::string& path) {
    if (const char* before = ::getenv("TMPDIR")) before_ = before;
    ::setenv("TMPDIR", path.c_str(), 1);
  }
  ~TemporaryFolder() { before_.empty() ? ::unsetenv("TMPDIR") : ::setenv("TMPDIR", before_.c_str(), 1); }

 private:
  std::string before_;
};

std::span<const std::byte> bytes_of(const std::string& text) {
  return std::as_bytes(std::span(text));
}

std::string read(const Spool& spool, std::int64_t offset, std::size_t size) {
  std::string text(size, '\0');
  spool.read_at(offset, std::as_writable_bytes(std::span(text)));
  return text;
}

TEST(Spool, GivesBackWhatRandomWritesPutThere) {
  std::mt19937 random(1);
  for (const std::int64_t memory : {0, 1000, 1'000'000, 100'000'000}) {
    Spool spool(memory);
    std::string expected;
    for (int i = 0; i < 400; ++i) {
      const std::size_t size = i % 50 == 7 ? 1'500'000 : random() % 5000;
      const std::string piece(size, static_cast<char>('a' + i % 26));
      spool.append(bytes_of(piece));
      expected += piece;
      const std::size_t at = random() % (expected.size() + 1);
      const std::string over(std::min<std::size_t>(expected.size() - at, random() % 3000), '#');
      spool.write_at(static_cast<std::int64_t>(at), bytes_of(over));
      expected.replace(at, over.size(), over);
      const std::size_t from = random() % (expected.size() + 1);
      const std::size_t count = std::min<std::size_t>(expected.size() - from, 2'000'000);
      ASSERT_EQ(read(spool, static_cast<std::int64_t>(from), count), expected.substr(from, count));
    }
    EXPECT_EQ(spool.size(), static_cast<std::int64_t>(expected.size()));
    EXPECT_EQ(read(spool, 0, expected.size()), expected);
    EXPECT_EQ(spool.is_in_memory(), memory == 100'000'000);
  }
}

TEST(Spool, LeavesNoNameInTheTemporaryFolder) {
  const test::TempDir folder;
  const TemporaryFolder here(folder.path().string());
  Spool spool(10);
  spool.append(bytes_of(std::string(5'000'000, 'x')));
  EXPECT_FALSE(spool.is_in_memory());
  EXPECT_TRUE(std::filesystem::is_empty(folder.path()));
}

TEST(Spool, ReadsAndWritesOutsideAreRefused) {
  Spool spool;
  spool.append(bytes_of("0123456789"));
  std::byte byte[2];
  EXPECT_THROW(spool.read_at(9, byte), base::Error);
  EXPECT_THROW(spool.read_at(-1, byte), base::Error);
  EXPECT_THROW(spool.write_at(9, byte), base::Error);
  EXPECT_THROW(spool.read_at(std::numeric_limits<std::int64_t>::max(), byte), base::Error);
  spool.read_at(10, {});
}

TEST(Spool, AFullDiskNamesTheFolderAndTheRemedy) {
  const test::TempDir folder;
  const TemporaryFolder here(folder.path().string());
  const test::FileSizeLimit limit(100'000);
  Spool spool(10);
  EXPECT_THAT(error_text<IoError>([&] { spool.append(bytes_of(std::string(2'000'000, 'x'))); }),
              AllOf(HasSubstr(folder.path().string()), HasSubstr("TMPDIR")));
}

TEST(Spool, AMissingTemporaryFolderNamesTheRemedy) {
  const TemporaryFolder nowhere("/nowhere/at/all");
  Spool spool(0);
  EXPECT_THAT(error_text<IoError>([&] { spool.append(bytes_of("x")); }), HasSubstr("set TMPDIR"));
}

TEST(Spool, KeepsOffsetsBeyondFourGigabytesApart) {
  if (std::getenv("DNAMAMBA_SLOW_TESTS") == nullptr) GTEST_SKIP() << "writes 4.3 GB: set DNAMAMBA_SLOW_TESTS";
  Spool spool(0);
  const std::string block(std::size_t{1} << 26, 'x');
  for (int i = 0; i < 65; ++i) spool.append(bytes_of(block));
  const std::int64_t far = (std::int64_t{1} << 32) + 5;
  spool.write_at(far, bytes_of("far"));
  spool.write_at(5, bytes_of("near"));
  EXPECT_EQ(read(spool, far - 1, 5), "xfarx");
  EXPECT_EQ(read(spool, 4, 6), "xnearx");
}

}  // namespace
}  // namespace dnamamba::files
