#include "core/files/byte_source.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <functional>
#include <random>
#include <string>
#include <vector>

#include "core/base/error.h"
#include "tests/support/compress.h"
#include "tests/support/memory_file.h"
#include "tests/support/piped_stdin.h"
#include "tests/support/temp_dir.h"

namespace dnamamba::files {
namespace {

using test::bgzf_block;
using test::bgzipped;
using test::gzipped;
using test::zstd_frame;
using ::testing::AllOf;
using ::testing::HasSubstr;

std::string random_text(std::size_t length, unsigned seed) {
  std::mt19937 random(seed);
  std::string text(length, '\n');
  for (std::size_t i = 0; i < length; ++i)
    if (i % 61 != 60) text[i] = "ACGT"[random() % 4];
  return text;
}

std::string read_all(ByteSource& source, std::size_t capacity = 10'000) {
  std::string all;
  std::string piece(capacity, '\0');
  while (const std::size_t count = source.read(piece.data(), capacity)) all.append(piece, 0, count);
  return all;
}

std::string read_all(const std::string& path, int threads = 0, std::size_t capacity = 10'000) {
  ByteSource source(path, threads);
  return read_all(source, capacity);
}

/// The message of the IoError, or "" if there was none.
std::string error_of(const std::function<void()>& work) {
  try {
    work();
  } catch (const base::IoError& error) {
    return error.what();
  }
  return "";
}

struct Format {
  std::string name;
  Compression kind;
  std::function<std::string(std::string_view)> compress;
};

const std::vector<Format>& formats() {
  static const std::vector<Format> all{
      {"plain", Compression::kNone, [](std::string_view text) { return std::string(text); }},
      {"gzip", Compression::kGzip, gzipped},
      {"bgzf", Compression::kBgzf, [](std::string_view text) { return bgzipped(text, 5'000); }},
      {"zstd", Compression::kZstd, [](std::string_view text) { return zstd_frame(text); }}};
  return all;
}

/// The lengths of the prefixes of `bytes` (1 to all but one) that are read without an error.
std::vector<std::size_t> unseen_cuts(const std::string& bytes, int threads = 0) {
  std::vector<std::size_t> unseen;
  for (std::size_t cut = 1; cut < bytes.size(); ++cut) {
    const test::MemoryFile file(std::string_view(bytes).substr(0, cut));
    const std::string error = error_of([&] { read_all(file.path(), threads, 1'000); });
    if (error.empty()) {
      unseen.push_back(cut);
    } else {
      EXPECT_THAT(error, AllOf(HasSubstr(file.path()), HasSubstr("byte " + std::to_string(cut)),
                               HasSubstr("fetch or compress it again")));
    }
  }
  return unseen;
}

TEST(ByteSource, TellsTheCompressionByContentAndGivesTheSameBytes) {
  const test::TempDir folder;
  const std::string text = random_text(300'000, 1);
  for (const Format& format : formats()) {
    const std::string path = folder.write("genome.txt", format.compress(text));
    for (const int threads : {0, 1, 3})
      for (const std::size_t capacity : {std::size_t{7}, std::size_t{4096}, std::size_t{1} << 20}) {
        ByteSource source(path, threads);
        EXPECT_EQ(source.kind(), format.kind);
        EXPECT_EQ(compression_name(source.kind()), format.name);
        EXPECT_EQ(read_all(source, capacity), text) << format.name;
        EXPECT_EQ(source.compressed_offset(), source.compressed_size());
        EXPECT_EQ(source.compressed_size(), static_cast<std::int64_t>(std::filesystem::file_size(path)));
        char more = 0;
        EXPECT_EQ(source.read(&more, 1), 0U) << "the end stays the end";
      }
  }
}

TEST(ByteSource, ReadsStandardInputThroughAPipe) {
  const std::string text = random_text(200'000, 2);
  for (const Format& format : formats()) {
    const test::PipedStdin pipe(format.compress(text));
    ByteSource source("-", 2);
    EXPECT_EQ(source.kind(), format.kind);
    EXPECT_EQ(source.name(), "standard input");
    EXPECT_EQ(source.compressed_size(), std::nullopt);
    EXPECT_EQ(read_all(source), text) << format.name;
  }
}

TEST(ByteSource, ReadsMembersFramesAndSkippableFramesOneAfterTheOther) {
  const test::TempDir folder;
  const std::string first = random_text(5'000, 3), second = random_text(70'000, 4);
  EXPECT_EQ(read_all(folder.write("a", gzipped(first) + gzipped("") + gzipped(second))), first + second);
  EXPECT_EQ(read_all(folder.write("b", gzipped(first) + bgzipped(second))), first + second);
  EXPECT_EQ(read_all(folder.write("c", bgzipped(first) + bgzipped(second)), 2), first + second);
  const std::string skipped = std::string("\x5a\x2a\x4d\x18\x03\0\0\0abc", 11);
  EXPECT_EQ(read_all(folder.write("d", skipped + zstd_frame(first) + skipped + zstd_frame(second))), first + second);
}

TEST(ByteSource, ReadsZstdFramesWithLongWindows) {
  const test::TempDir folder;
  const std::string text = random_text(50'000, 5);
  for (const int window_log : {27, 30}) EXPECT_EQ(read_all(folder.write("long", zstd_frame(text, window_log))), text);
}

TEST(ByteSource, GivesZeroBytesForEmptyInput) {
  const test::TempDir folder;
  for (const Format& format : formats())
    for (const int threads : {0, 2}) EXPECT_EQ(read_all(folder.write("empty", format.compress("")), threads), "");
  const test::PipedStdin pipe("");
  EXPECT_EQ(read_all("-"), "");
}

TEST(ByteSource, SeesEveryCutOfAGzipFile) {
  const std::string bytes = gzipped(random_text(1'500, 6));
  ASSERT_GT(bytes.size(), 400U);
  EXPECT_THAT(unseen_cuts(bytes), ::testing::IsEmpty());
}

TEST(ByteSource, SeesEveryCutButThatBetweenTwoGzipMembers) {
  const std::string first = gzipped(random_text(700, 7)), second = gzipped(random_text(700, 8));
  EXPECT_THAT(unseen_cuts(first + second), ::testing::ElementsAre(first.size()));
}

TEST(ByteSource, SeesEveryCutOfABgzfFileAlsoBetweenBlocks) {
  const std::string bytes = bgzipped(random_text(1'500, 9), 300);
  ASSERT_GT(bytes.size(), 400U);
  EXPECT_THAT(unseen_cuts(bytes), ::testing::IsEmpty());
  EXPECT_THAT(unseen_cuts(bytes, 2), ::testing::IsEmpty());
}

TEST(ByteSource, SeesABgzfFileCutBetweenBlocksOnAPipe) {
  const test::PipedStdin pipe(bgzf_block(random_text(1'000, 10)) + bgzf_block(random_text(1'000, 11)));
  EXPECT_THAT(error_of([] { read_all("-"); }), AllOf(HasSubstr("standard input"), HasSubstr("BGZF end marker")));
}

TEST(ByteSource, SeesEveryCutButThatBetweenTwoZstdFrames) {
  const std::string first = zstd_frame(random_text(900, 12)), second = zstd_frame(random_text(900, 13));
  ASSERT_GT(first.size() + second.size(), 400U);
  EXPECT_THAT(unseen_cuts(first + second), ::testing::ElementsAre(first.size()));
}

TEST(ByteSource, NeverGivesOtherBytesWhenABitIsFlipped) {
  const std::string text = random_text(2'000, 14);
  for (const Format& format : formats()) {
    if (format.kind == Compression::kNone) continue;
    const std::string whole = format.kind == Compression::kBgzf ? bgzipped(text, 700) : format.compress(text);
    int seen = 0;
    for (std::size_t at = 4; at < whole.size(); ++at) {  // from 4: before it is what tells the compression
      std::string damaged = whole;
      damaged[at] = static_cast<char>(damaged[at] ^ (1 << (at % 8)));
      const test::MemoryFile file(damaged);
      std::string bytes;
      const std::string error = error_of([&] { bytes = read_all(file.path(), static_cast<int>(at % 3)); });
      seen += error.empty() ? 0 : 1;
      EXPECT_TRUE(!error.empty() || bytes == text) << format.name << " byte " << at;
    }
    EXPECT_GT(seen, static_cast<int>(whole.size()) - 60) << format.name;  // times, names and the like don't matter
  }
}

TEST(ByteSource, RefusesWhatFollowsTheEnd) {
  const test::TempDir folder;
  const std::string text = random_text(1'000, 15);
  for (const Format& format : formats()) {
    if (format.kind == Compression::kNone) continue;
    for (const std::string garbage : {"x", "ACGTACGTACGTACGTACGTACGT", "\x1f"}) {
      const std::string path = folder.write("tail", format.compress(text) + garbage);
      EXPECT_THAT(error_of([&] { read_all(path, 1); }), HasSubstr(path)) << format.name << garbage;
    }
  }
  const std::string mixed = folder.write("mixed", bgzipped(text) + gzipped(text));
  EXPECT_THAT(error_of([&] { read_all(mixed); }), HasSubstr("not BGZF"));
}

TEST(ByteSource, NamesTheByteOfADamagedBlock) {
  const test::TempDir folder;
  const std::string first = bgzf_block(random_text(1'000, 16));
  std::string second = bgzf_block(random_text(1'000, 17));
  second[100] = static_cast<char>(second[100] ^ 0x10);
  const std::string path = folder.write("damaged.gz", first + second + bgzf_block(""));
  EXPECT_THAT(error_of([&] { read_all(path); }),
              AllOf(HasSubstr("damaged.gz"), HasSubstr("byte " + std::to_string(first.size()) + " "),
                    HasSubstr("fetch or compress it again")));
}

TEST(ByteSource, GivesTheBytesBeforeTheDamageWithAnyNumberOfThreads) {
  const test::TempDir folder;
  const std::string good = random_text(10'000, 18);
  const std::string path = folder.write("cut.gz", bgzf_block(good) + bgzf_block(good).substr(0, 500));
  for (const int threads : {0, 1, 4}) {
    ByteSource source(path, threads);
    std::string bytes;
    char byte = 0;
    EXPECT_THROW(while (source.read(&byte, 1) > 0) bytes += byte, base::IoError);
    EXPECT_EQ(bytes, good) << threads;
  }
}

TEST(ByteSource, FailsAgainAfterItFailed) {
  const test::TempDir folder;
  for (const Format& format : formats()) {
    if (format.kind == Compression::kNone) continue;
    const std::string whole = format.compress(random_text(1'000, 19));
    ByteSource source(folder.write("cut", whole.substr(0, whole.size() - 3)), 1);
    EXPECT_THROW(read_all(source), base::IoError);
    char byte = 0;
    EXPECT_THROW((void)source.read(&byte, 1), base::IoError) << format.name;
  }
}

TEST(ByteSource, SaysWhyAFileCannotBeRead) {
  const test::TempDir folder;
  EXPECT_THAT(error_of([&] { ByteSource source(folder.file("absent.fa")); }),
              AllOf(HasSubstr("absent.fa"), HasSubstr("No such file or directory")));
  EXPECT_THAT(error_of([&] { ByteSource source(folder.path().string()); }),
              AllOf(HasSubstr(folder.path().string()), ::testing::AnyOf(HasSubstr("folder"), HasSubstr("directory"))));
  if (geteuid() == 0) GTEST_SKIP() << "root may read everything";
  const std::string path = folder.write("secret.fa", ">a\nA\n");
  std::filesystem::permissions(path, std::filesystem::perms::none);
  EXPECT_THAT(error_of([&] { ByteSource source(path); }), HasSubstr("Permission denied"));
}

TEST(ByteSource, RefusesOtherCompressionsByNameWithARemedy) {
  const test::TempDir folder;
  EXPECT_THAT(error_of([&] { ByteSource source(folder.write("a", "BZh91AY&SY")); }), HasSubstr("bzip2 -dc"));
  EXPECT_THAT(error_of([&] { ByteSource source(folder.write("b", std::string("\xfd\x37zXZ\0", 6))); }),
              HasSubstr("xz -dc"));
}

}  // namespace
}  // namespace dnamamba::files
