#include "core/base/first_error.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cerrno>
#include <stdexcept>
#include <thread>
#include <vector>

#include "core/base/error.h"

namespace dnamamba::base {
namespace {

TEST(FirstError, RethrowsTheFirstWithItsTypeAndText) {
  FirstError error;
  EXPECT_TRUE(error.run([] {}));
  EXPECT_FALSE(error.run([] { throw IoError("first"); }));
  EXPECT_FALSE(error.run([] { throw std::runtime_error("second"); }));
  try {
    error.rethrow();
    FAIL() << "nothing was thrown";
  } catch (const IoError& caught) {
    EXPECT_STREQ(caught.what(), "first");
  }
}

TEST(FirstError, IsSilentWhenNothingFailedAndAfterItWasTold) {
  FirstError error;
  EXPECT_NO_THROW(error.rethrow());
  error.run([] { throw 1; });
  EXPECT_THROW(error.rethrow(), int);
  EXPECT_NO_THROW(error.rethrow());
}

TEST(FirstError, KeepsOneOfManyThreads) {
  FirstError error;
  std::vector<std::thread> threads;
  for (int t = 0; t < 8; ++t) threads.emplace_back([&, t] { error.run([t] { throw Error(concat("thread ", t)); }); });
  for (std::thread& thread : threads) thread.join();
  EXPECT_THROW(error.rethrow(), Error);
}

TEST(Concat, WritesThePiecesOneAfterTheOther) {
  EXPECT_EQ(concat("window ", 3, " of ", 7.5, std::string(" kb")), "window 3 of 7.5 kb");
}

TEST(ErrnoText, IsWhatTheSystemSays) {
  EXPECT_EQ(errno_text(ENOENT), "No such file or directory");
}

}  // namespace
}  // namespace dnamamba::base
