// Tasks that add to the same gradients each have sums of their own; here these become one.
#pragma once
#include <algorithm>
#include <cstdint>

#include "kernels/cpu/partition.h"
#include "kernels/parallel.h"

namespace dnamamba::kernels::cpu {

/// to[i] = sum over the parts of partial[part, i], added in order as `Sum`, for i below count; partial: [parts, count].
/// Nothing where `to` is null.
template <typename Sum, typename Partial, typename T>
void sum_parts(const Partial* partial, std::int64_t parts, std::int64_t count, T* to, const ParallelFor& parallel) {
  if (to == nullptr) return;
  constexpr std::int64_t kPiece = 1024;
  parallel(ceil_div(count, kPiece), [&](std::int64_t first, std::int64_t last) {
    for (std::int64_t begin = first * kPiece; begin < std::min(last * kPiece, count); begin += kPiece) {
      const std::int64_t size = std::min(kPiece, count - begin);
      Sum sums[kPiece] = {};
      for (std::int64_t part = 0; part < parts; ++part) {
        const Partial* const from = partial + part * count + begin;
        for (std::int64_t i = 0; i < size; ++i) sums[i] += Sum{from[i]};
      }
      for (std::int64_t i = 0; i < size; ++i) to[begin + i] = static_cast<T>(sums[i]);
    }
  });
}

}  // namespace dnamamba::kernels::cpu
