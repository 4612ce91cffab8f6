// Memory of a task, aligned for vectors.
#pragma once
#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "hwy/aligned_allocator.h"

namespace dnamamba::kernels::cpu {

template <typename T>
using Buffer = hwy::AlignedFreeUniquePtr<T[]>;

/// Zeros.
template <typename T>
Buffer<T> make_buffer(std::int64_t count) {
  Buffer<T> buffer = hwy::AllocateAligned<T>(static_cast<std::size_t>(count));
  std::fill_n(buffer.get(), count, T{0});
  return buffer;
}

}  // namespace dnamamba::kernels::cpu
