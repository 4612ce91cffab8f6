#include "core/files/atomic_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <csignal>

#include "core/base/error.h"
#include "tests/support/file_size_limit.h"
#include "tests/support/temp_dir.h"
#include "tests/support/throws.h"

namespace dnamamba::files {
namespace {

namespace fs = std::filesystem;
using base::IoError;
using test::content_of;
using test::error_text;
using test::TempDir;
using ::testing::HasSubstr;

std::size_t entries_of(const fs::path& folder) {
  return static_cast<std::size_t>(std::distance(fs::directory_iterator(folder), fs::directory_iterator()));
}

TEST(AtomicFile, AppearsWholeAtCommitAndNotBefore) {
  const TempDir folder;
  const std::string path = folder.file("out.bin");
  AtomicFile file(path, false);
  const std::string big(3'000'000, 'x');
  file.append("head");
  file.append(big);
  file.append("tail");
  file.write_at(1, std::as_bytes(std::span("EA", 2)));
  EXPECT_EQ(file.size(), 3'000'008);
  EXPECT_FALSE(fs::exists(path));
  file.commit();
  EXPECT_EQ(content_of(path), "hEAd" + big + "tail");
  EXPECT_EQ(entries_of(folder.path()), 1u);
}

TEST(AtomicFile, LeavesNothingWithoutCommit) {
  const TempDir folder;
  { AtomicFile(folder.file("out"), false).append("lost"); }
  EXPECT_EQ(entries_of(folder.path()), 0u);
}

TEST(AtomicFile, RefusesAnExistingFileUnlessForced) {
  const TempDir folder;
  const std::string path = folder.write("out", "old");
  EXPECT_THAT(error_text<IoError>([&] { AtomicFile(path, false); }), HasSubstr("--force"));
  { AtomicFile(path, true).append("given up"); }
  EXPECT_EQ(content_of(path), "old");
  AtomicFile file(path, true);
  file.append("new");
  file.commit();
  EXPECT_EQ(content_of(path), "new");
}

TEST(AtomicFile, DoesNotReplaceWhatAppearedMeanwhile) {
  const TempDir folder;
  AtomicFile file(folder.file("out"), false);
  folder.write("out", "somebody else's");
  EXPECT_THAT(error_text<IoError>([&] { file.commit(); }), HasSubstr("--force"));
  EXPECT_EQ(content_of(folder.file("out")), "somebody else's");
}

TEST(AtomicFile, KeepsASymbolicLinkAndReplacesItsTarget) {
  const TempDir folder;
  folder.write("real", "old");
  fs::create_symlink("real", folder.path() / "link");
  AtomicFile file(folder.file("link"), true);
  file.append("new");
  file.commit();
  EXPECT_TRUE(fs::is_symlink(folder.path() / "link"));
  EXPECT_EQ(content_of(folder.file("real")), "new");
}

TEST(AtomicFile, NamesAMissingFolderAndAFolderInItsPlace) {
  const TempDir folder;
  EXPECT_THAT(error_text<IoError>([&] { AtomicFile(folder.file("none/out"), false); }),
              HasSubstr("there is no folder"));
  EXPECT_THAT(error_text<IoError>([&] { AtomicFile(folder.path(), true); }), HasSubstr("is a folder"));
}

TEST(AtomicFile, HonoursTheUmaskLikeAnyNewFile) {
  const TempDir folder;
  const mode_t before = ::umask(027);
  AtomicFile file(folder.file("out"), false);
  ::umask(before);
  file.commit();
  struct stat status = {};
  ASSERT_EQ(::stat(folder.file("out").c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777, 0640u);
}

TEST(AtomicFile, AFullDeviceIsAnErrorThatSaysSo) {
  AtomicFile file("/dev/full", false);
  file.append("x");
  EXPECT_THAT(error_text<IoError>([&] { file.commit(); }), HasSubstr("No space left on device; free some space"));
  EXPECT_TRUE(fs::is_character_file("/dev/full"));
}

TEST(AtomicFile, AWriteThatFailedCanNotBeCommittedLater) {
  const TempDir folder;
  AtomicFile file(folder.file("out"), false);
  {
    const test::FileSizeLimit limit(1'500'000);
    EXPECT_THROW(file.append(std::string(2'000'000, 'x')), IoError);
  }
  EXPECT_THROW(file.commit(), IoError);
  EXPECT_FALSE(fs::exists(folder.file("out")));
}

TEST(AtomicFile, AClosedPipeIsAnError) {
  int ends[2];
  ASSERT_EQ(::pipe(ends), 0);
  ::close(ends[0]);
  const auto handler = std::signal(SIGPIPE, SIG_IGN);
  AtomicFile file(base::concat("/dev/fd/", ends[1]), false);
  file.append("x");
  EXPECT_THROW(file.commit(), IoError);
  std::signal(SIGPIPE, handler);
  ::close(ends[1]);
}

TEST(AtomicFileThatGoesOn, StaysForTheNextProcessAndIsRenamedAtCommit) {
  const TempDir folder;
  const std::string path = folder.file("out.bin");
  {
    AtomicFile file = AtomicFile::going_on(path, false);
    EXPECT_EQ(file.size(), 0);
    file.append("one two");
    file.sync();
    EXPECT_THAT(error_text<IoError>([&] { AtomicFile::going_on(path, false); }), HasSubstr("another process"));
  }
  EXPECT_EQ(content_of(path + ".partial"), "one two");
  AtomicFile file = AtomicFile::going_on(path, false);
  EXPECT_EQ(file.size(), 7);
  file.cut(4);
  EXPECT_EQ(file.size(), 4);
  file.append("three");
  file.cut(8);
  file.append("e!");
  EXPECT_FALSE(fs::exists(path));
  file.commit();
  EXPECT_EQ(content_of(path), "one three!");
  EXPECT_EQ(entries_of(folder.path()), 1u);
  EXPECT_THAT(error_text<IoError>([&] { AtomicFile::going_on(path, false); }), HasSubstr("--force"));
  EXPECT_THAT(error_text<IoError>([&] { AtomicFile::going_on("/dev/null", true); }), HasSubstr("needs a file"));
}

TEST(AtomicFolder, AppearsWholeAtCommit) {
  const TempDir folder;
  AtomicFolder model(folder.path() / "model/", false, "config.json");
  std::ofstream(model.path() / "config.json") << "{}";
  EXPECT_FALSE(fs::exists(folder.path() / "model"));
  model.commit();
  EXPECT_EQ(content_of(folder.file("model/config.json")), "{}");
  EXPECT_EQ(entries_of(folder.path()), 1u);
}

TEST(AtomicFolder, LeavesNothingWithoutCommit) {
  const TempDir folder;
  {
    const AtomicFolder model(folder.path() / "model", false, "config.json");
    std::ofstream(model.path() / "config.json") << "{}";
  }
  EXPECT_EQ(entries_of(folder.path()), 0u);
}

TEST(AtomicFolder, ReplacesOnlyAFolderOfItsKindAndOnlyIfForced) {
  const TempDir folder;
  fs::create_directory(folder.path() / "home");
  folder.write("home/diary", "precious");
  EXPECT_THAT(error_text<IoError>([&] { AtomicFolder(folder.path() / "home", true, "config.json"); }),
              HasSubstr("holds no config.json"));
  fs::create_directory(folder.path() / "model");
  folder.write("model/config.json", "old");
  folder.write("model/leftover", "old");
  EXPECT_THAT(error_text<IoError>([&] { AtomicFolder(folder.path() / "model", false, "config.json"); }),
              HasSubstr("--force"));
  AtomicFolder model(folder.path() / "model", true, "config.json");
  std::ofstream(model.path() / "config.json") << "new";
  model.commit();
  EXPECT_EQ(content_of(folder.file("model/config.json")), "new");
  EXPECT_EQ(entries_of(folder.path() / "model"), 1u);
  EXPECT_EQ(entries_of(folder.path()), 2u);
}

}  // namespace
}  // namespace dnamamba::files
