#include "core/base/stop.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <csignal>
#include <cstdlib>

#include "core/base/error.h"

namespace dnamamba::base {
namespace {

// In a process of its own: the flag is never taken back.
TEST(StopSignals, OneSignalAsksTheWorkToStopAndSaysWhich) {
  EXPECT_EXIT(
      {
        install_stop_signals();
        throw_if_stopped();
        std::raise(SIGTERM);
        try {
          throw_if_stopped();
        } catch (const Interrupted& stopped) {
          std::fputs(stopped.what(), stderr);
          std::exit(stop_requested() == SIGTERM ? 7 : 8);
        }
      },
      ::testing::ExitedWithCode(7), "SIGTERM");
}

TEST(StopSignals, TheSecondSignalEndsTheProcess) {
  EXPECT_EXIT(
      {
        install_stop_signals();
        std::raise(SIGINT);
        std::raise(SIGINT);
      },
      ::testing::KilledBySignal(SIGINT), "");
}

}  // namespace
}  // namespace dnamamba::base
