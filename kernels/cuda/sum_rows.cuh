// Sums of what blocks have left in rows of their own, always added in the same order.
#pragma once
#include "kernels/cuda/device.cuh"

namespace dnamamba::kernels::cuda {

namespace sum_rows_detail {
constexpr int kColumns = 32;
constexpr int kRows = 16;

template <typename T>
__global__ void kernel(const float* from, std::int64_t rows, std::int64_t columns, T* to) {
  __shared__ double sums[kRows][kColumns];
  const std::int64_t column = static_cast<std::int64_t>(blockIdx.x) * kColumns + threadIdx.x;
  double sum = 0;
  if (column < columns) {
#pragma unroll 8
    for (std::int64_t row = threadIdx.y; row < rows; row += kRows) sum += from[row * columns + column];
  }
  sums[threadIdx.y][threadIdx.x] = sum;
  __syncthreads();
  if (threadIdx.y != 0 || column >= columns) return;
  for (int row = 1; row < kRows; ++row) sum += sums[row][threadIdx.x];
  store(static_cast<float>(sum), to + column);
}
}  // namespace sum_rows_detail

/// to[c] = sum over r of from[r, c]; from [rows, columns]. Nothing where `to` is null.
template <typename T>
void sum_rows(const float* from, std::int64_t rows, std::int64_t columns, T* to, Stream stream) {
  using namespace sum_rows_detail;
  if (to == nullptr || columns == 0) return;
  kernel<<<static_cast<unsigned>(ceil_div(columns, kColumns)), dim3(kColumns, kRows), 0, stream>>>(from, rows, columns,
                                                                                                   to);
}

/// Rows of which there may be many are summed in groups first: kRowGroups of them, and many blocks do it.
constexpr std::int64_t kRowGroups = 64;

/// The number of rows to have: as many, or more where sum_many_rows wants a multiple of kRowGroups. The rest: zeros.
inline std::int64_t many_rows(std::int64_t rows) {
  return rows <= 16 * kRowGroups ? rows : ceil_div(rows, kRowGroups) * kRowGroups;
}

/// As sum_rows; rows = many_rows(rows), and `scratch` has kRowGroups * columns places.
template <typename T>
void sum_many_rows(const float* from, std::int64_t rows, std::int64_t columns, float* scratch, T* to, Stream stream) {
  if (to == nullptr || rows <= 16 * kRowGroups) return sum_rows(from, rows, columns, to, stream);
  sum_rows(from, rows / kRowGroups, kRowGroups * columns, scratch, stream);
  sum_rows(scratch, kRowGroups, columns, to, stream);
}

}  // namespace dnamamba::kernels::cuda
