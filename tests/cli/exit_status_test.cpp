#include "apps/exit_status.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <new>
#include <stdexcept>

#include "core/base/error.h"

namespace dnamamba::apps {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

TEST(ExitStatus, OfAWrongUsageIsTwoAndPointsToTheHelp) {
  const Ending ending = ending_of(base::UsageError("--window is 0"), "embed");
  EXPECT_EQ(ending.status, 2);
  EXPECT_EQ(ending.text, "dnamamba embed: --window is 0 (try 'dnamamba embed --help')");
}

TEST(ExitStatus, OfAFailureIsOne) {
  EXPECT_EQ(ending_of(base::IoError("x.fa: truncated"), "embed").status, 1);
  EXPECT_EQ(ending_of(base::Interrupted("stopped"), "embed").status, 1);
  EXPECT_EQ(ending_of(std::logic_error("bug"), "").text, "dnamamba: bug");
}

TEST(ExitStatus, OfRunningOutOfMemoryIsThreeWhoeverSaysIt) {
  EXPECT_EQ(ending_of(std::bad_alloc(), "embed").status, 3);
  EXPECT_EQ(ending_of(std::bad_alloc(), "embed").text, "dnamamba embed: out of memory");
  for (const char* text :
       {"CUDA out of memory. Tried to allocate 2.00 GiB", "[enforce fail] DefaultCPUAllocator: can't allocate memory",
        "DefaultCPUAllocator: not enough memory: you tried to allocate 8 bytes", "x: Cannot allocate memory"})
    EXPECT_EQ(ending_of(std::runtime_error(text), "embed").status, 3) << text;
}

TEST(ExitStatus, KeepsTheFirstLineOfAnErrorThatGoesOn) {
  const Ending ending = ending_of(std::runtime_error("wrong shape\nException raised from f at g.cpp:1"), "embed");
  EXPECT_THAT(ending.text, AllOf(HasSubstr("wrong shape"), Not(HasSubstr("\n"))));
}

}  // namespace
}  // namespace dnamamba::apps
