// Sums of what blocks have left in rows of their own, always added in the same order.
#pragma once
#include <initializer_list>

#include "kernels/cuda/device.cuh"

namespace dnamamba::kernels::cuda {

/// to[c] = sum over r of from[r, c]; from [rows, columns]. Nothing where `to` is null.
template <typename T>
struct RowSum {
  const float* from = nullptr;
  std::int64_t columns = 0;
  T* to = nullptr;
};

namespace sum_rows_detail {
constexpr int kColumns = 32;
constexpr int kRows = 16;
constexpr int kMostSums = 3;

template <typename T>
struct Sums {
  RowSum<T> sums[kMostSums];
};

template <typename T>
__global__ void kernel(const Sums<T> all, std::int64_t rows) {
  __shared__ double sums[kRows][kColumns];
  RowSum<T> own = all.sums[0];
  std::int64_t block = blockIdx.x;
#pragma unroll
  for (int i = 1; i < kMostSums; ++i) {
    const std::int64_t blocks = (own.columns + kColumns - 1) / kColumns;
    if (block < blocks) break;
    block -= blocks;
    own = all.sums[i];
  }
  const std::int64_t column = block * kColumns + threadIdx.x;
  double sum = 0;
  if (column < own.columns) {
#pragma unroll 8
    for (std::int64_t row = threadIdx.y; row < rows; row += kRows) sum += own.from[row * own.columns + column];
  }
  sums[threadIdx.y][threadIdx.x] = sum;
  __syncthreads();
  if (threadIdx.y != 0 || column >= own.columns) return;
  for (int row = 1; row < kRows; ++row) sum += sums[row][threadIdx.x];
  store(static_cast<float>(sum), own.to + column);
}
}  // namespace sum_rows_detail

/// Up to three sums of the same number of rows, in one launch.
template <typename T>
void sum_rows(std::initializer_list<RowSum<T>> sums, std::int64_t rows, Stream stream) {
  using namespace sum_rows_detail;
  Sums<T> wanted;
  int count = 0;
  std::int64_t blocks = 0;
  for (const RowSum<T>& sum : sums) {
    if (sum.to == nullptr || sum.columns == 0) continue;
    require(count < kMostSums, "too many sums of rows at once");
    wanted.sums[count++] = sum;
    blocks += ceil_div(sum.columns, kColumns);
  }
  if (blocks > 0) kernel<<<static_cast<unsigned>(blocks), dim3(kColumns, kRows), 0, stream>>>(wanted, rows);
}

/// Rows of which there may be many are summed in groups first: kRowGroups of them, and many blocks do it.
constexpr std::int64_t kRowGroups = 64;

/// The number of rows to have: as many, or more where sum_many_rows wants a multiple of kRowGroups. The rest: zeros.
inline std::int64_t many_rows(std::int64_t rows) {
  return rows <= 16 * kRowGroups ? rows : ceil_div(rows, kRowGroups) * kRowGroups;
}

/// As sum_rows, of two; rows = many_rows(rows), and `scratch` has kRowGroups * (all columns) places.
template <typename T>
void sum_many_rows(const RowSum<T>& first, const RowSum<T>& second, std::int64_t rows, float* scratch, Stream stream) {
  if (rows <= 16 * kRowGroups) return sum_rows<T>({first, second}, rows, stream);
  float* const behind = scratch + kRowGroups * first.columns;
  const auto grouped = [](const RowSum<T>& of, float* to) {
    return RowSum<float>{of.from, kRowGroups * of.columns, of.to != nullptr ? to : nullptr};
  };
  sum_rows<float>({grouped(first, scratch), grouped(second, behind)}, rows / kRowGroups, stream);
  sum_rows<T>({{scratch, first.columns, first.to}, {behind, second.columns, second.to}}, kRowGroups, stream);
}

}  // namespace dnamamba::kernels::cuda
