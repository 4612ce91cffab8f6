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

}  // namespace dnamamba::kernels::cuda
