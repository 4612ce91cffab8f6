#include "core/base/stop.h"

#include <atomic>
#include <csignal>
#include <cstring>
#include <string>

#include "core/base/error.h"

namespace dnamamba::base {
namespace {

std::atomic<int> received = 0;
static_assert(std::atomic<int>::is_always_lock_free, "a signal handler may write it");

void on_signal(int signal_number) {
  received = signal_number;
  std::signal(signal_number, SIG_DFL);  // the next one ends the process
}

}  // namespace

void install_stop_signals() {
  std::signal(SIGINT, on_signal);
  std::signal(SIGTERM, on_signal);
}

int stop_requested() noexcept {
  return received;
}

void throw_if_stopped() {
  if (received != 0)
    throw Interrupted(concat("stopped by ", received == SIGINT ? "SIGINT" : "SIGTERM",
                             "; no output was written under its final name"));
}

}  // namespace dnamamba::base
