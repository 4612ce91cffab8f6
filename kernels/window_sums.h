// Sums of the rows of windows, in double: what a mean over a window needs.
#pragma once
#include <cstdint>

#include "kernels/stream.h"
#include "kernels/types.h"

namespace dnamamba::kernels {

/// T = rows (tokens), D = columns (channels), W = windows, which may overlap.
template <typename T>
struct WindowSums {
  std::int64_t columns = 0;
  std::int64_t windows = 0;
  const T* rows = nullptr;               ///< [T, D]
  const std::uint8_t* tokens = nullptr;  ///< [T]
  const std::int64_t* ranges = nullptr;  ///< [W, 2] the first row and the one behind the last
  std::uint8_t ambiguous = 0;            ///< rows of this token are left out
  double* sums = nullptr;                ///< [W, D]
};

/// T = float or BFloat16; all pointers are to the device's memory.
namespace cuda {
template <typename T>
void window_sums(const WindowSums<T>& call, Stream stream);
}  // namespace cuda

}  // namespace dnamamba::kernels
