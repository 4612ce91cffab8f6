#include "core/files/checksum.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>

#include "core/base/error.h"
#include "tests/support/temp_dir.h"
#include "tests/support/throws.h"

namespace dnamamba::files {
namespace {

using base::IoError;
using test::error_text;
using test::TempDir;
using ::testing::HasSubstr;

// FIPS 180-2, appendix B.
constexpr const char* kOfAbc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
constexpr const char* kOfAMillionAs = "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0";

TEST(Checksum, GivesThePublishedAnswers) {
  const TempDir folder;
  EXPECT_EQ(sha256_of_bytes(std::as_bytes(std::span("abc", 3))), kOfAbc);
  EXPECT_EQ(sha256_of_file(folder.write("a", std::string(1'000'000, 'a'))), kOfAMillionAs);
}

TEST(Checksum, ListsAreThoseOfSha256sum) {
  const TempDir folder;
  folder.write("one", "abc");
  folder.write("two", "");
  const std::string in_folder = "cd '" + folder.path().string() + "' && ";
  ASSERT_EQ(std::system((in_folder + "sha256sum one two > list").c_str()), 0);
  const auto list = read_checksums(folder.file("list"));
  ASSERT_EQ(list.size(), 2u);
  EXPECT_EQ(list[0].sha256, kOfAbc);
  EXPECT_EQ(list[1].name, "two");
  write_checksums(folder.file("ours"), list, false);
  EXPECT_EQ(std::system((in_folder + "sha256sum --status --strict -c ours").c_str()), 0);
}

TEST(Checksum, NamesTheLineThatIsNone) {
  const TempDir folder;
  const std::string good = std::string(kOfAbc) + "  abc\n";
  for (const std::string& bad :
       std::vector<std::string>{"", "x  y", "abc", std::string(64, 'g') + "  y", std::string(64, '0') + " y"})
    EXPECT_THAT(error_text<IoError>([&] { read_checksums(folder.write("list", good + bad + "\n")); }),
                HasSubstr(":2:"));
}

TEST(Checksum, AMissingFileIsAnError) {
  EXPECT_THROW(sha256_of_file("/nowhere/at/all"), IoError);
  EXPECT_THROW(read_checksums("/nowhere/at/all"), IoError);
  EXPECT_THROW(sha256_of_file("/"), IoError);
}

}  // namespace
}  // namespace dnamamba::files
