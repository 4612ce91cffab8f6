// The first exception of a group of threads, rethrown by the one who joins them.
#pragma once
#include <exception>
#include <mutex>
#include <utility>

namespace dnamamba::base {

class FirstError {
 public:
  /// Runs `work`; an exception is kept if it is the first. True if `work` ended without one.
  template <typename Work>
  bool run(Work&& work) noexcept {
    try {
      std::forward<Work>(work)();
      return true;
    } catch (...) {
      const std::lock_guard lock(mutex_);
      if (!error_) error_ = std::current_exception();
      return false;
    }
  }

  /// Throws the kept exception, if there is one. Call after the threads were joined.
  void rethrow() {
    const std::lock_guard lock(mutex_);
    if (error_) std::rethrow_exception(std::exchange(error_, nullptr));
  }

 private:
  std::mutex mutex_;
  std::exception_ptr error_;
};

}  // namespace dnamamba::base
