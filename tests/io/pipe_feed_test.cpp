#include "core/io/pipe_feed.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <chrono>
#include <future>
#include <string>

#include "core/base/error.h"
#include "core/io/sequence_reader.h"
#include "tests/io/records.h"
#include "tests/support/memory_file.h"
#include "tests/support/piped_stdin.h"

namespace dnamamba::io {
namespace {

using ::testing::HasSubstr;

std::string read_all(int descriptor) {
  std::string bytes, piece(1000, '\0');
  while (const ssize_t count = read(descriptor, piece.data(), piece.size())) {
    if (count < 0) throw std::runtime_error("read");
    bytes.append(piece, 0, static_cast<std::size_t>(count));
  }
  close(descriptor);
  return bytes;
}

/// Standard input that gives `bytes` and then nothing, without an end, until the test is over.
class SilentStdin {
 public:
  explicit SilentStdin(const std::string& bytes)
      : pipe_([bytes, over = over_.get_future().share()](const test::PipedStdin::Write& write) {
          write(bytes);
          over.wait();
        }) {}
  ~SilentStdin() { over_.set_value(); }

 private:
  std::promise<void> over_;
  test::PipedStdin pipe_;
};

TEST(PipeFeed, HandsOnWhatComes) {
  std::string text;
  for (int i = 0; i < 300'000; ++i) text += static_cast<char>(i * i);
  const test::MemoryFile file(text);
  PipeFeed feed(std::make_unique<files::RawInput>(file.path()));
  EXPECT_EQ(read_all(feed.take_descriptor()), text);
  EXPECT_EQ(feed.tail(), text.substr(text.size() - PipeFeed::kTail));
}

TEST(PipeFeed, EndsTheReaderWhereCopyingFailsAndSaysWhy) {
  const test::MemoryFile file("0123456789");
  PipeFeed feed(std::make_unique<files::RawInput>(file.path()), [](files::RawInput& input, const auto& send) {
    send(input.peek(4).substr(0, 4));
    throw base::IoError("enough");
  });
  EXPECT_EQ(read_all(feed.take_descriptor()), "0123");
  EXPECT_THROW(feed.rethrow(), base::IoError);
}

TEST(PipeFeed, DoesNotWaitForAnInputThatIsSilent) {
  const SilentStdin input("some bytes");
  const auto begin = std::chrono::steady_clock::now();
  {
    PipeFeed feed(std::make_unique<files::RawInput>("-"));
    close(feed.take_descriptor());
  }
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(5));
}

// A header that says what is wrong, and then a sender that waits.
TEST(PipeFeed, AnEarlyErrorOfAlignmentsDoesNotWaitForTheirEnd) {
  const std::string header = "@HD\tVN:1.6\n@SQ\tSN:c1\tLN:50\n";
  const std::string read = "r1\t0\tc1\t1\t9\t4M\t*\t0\t0\tACGT\t*\n";
  std::string text = header;
  while (text.size() < 300'000) text += read;
  const SilentStdin input(text);
  const auto begin = std::chrono::steady_clock::now();
  EXPECT_THAT(error_of([] { SequenceReader("-", {.regions = {parse_region("c3")}}); }), HasSubstr("no record 'c3'"));
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(5));
}

}  // namespace
}  // namespace dnamamba::io
