// Threads as the caller has them: kernels say what can run side by side, never who runs it.
#pragma once
#include <cstdint>
#include <functional>

namespace dnamamba::kernels {

/// Calls body(first, last) for ranges that cover [0, count) once each, in any order, on any threads, and returns when
/// all have ended. Kernels cut their work the same way whatever the number of threads is, so that it never shows in a
/// result.
using ParallelFor =
    std::function<void(std::int64_t count, const std::function<void(std::int64_t first, std::int64_t last)>& body)>;

/// One thread: the caller's.
inline void serial_for(std::int64_t count, const std::function<void(std::int64_t, std::int64_t)>& body) {
  if (count > 0) body(0, count);
}

}  // namespace dnamamba::kernels
