#include "kernels/window_sums.h"

#include "kernels/cuda/device.cuh"

namespace dnamamba::kernels::cuda {
namespace {

constexpr int kColumns = 32, kRows = 16;

/// A block is a window and 32 columns; its rows of threads take every 16th row, and their sums are added in order.
template <typename T>
__global__ void sum_windows(const WindowSums<T> p, std::int64_t column_blocks) {
  __shared__ double sums[kRows][kColumns];
  const std::int64_t window = blockIdx.x / column_blocks;
  const std::int64_t column = blockIdx.x % column_blocks * kColumns + threadIdx.x;
  const std::int64_t first = p.ranges[2 * window], last = p.ranges[2 * window + 1];
  double sum = 0;
  if (column < p.columns) {
#pragma unroll 4
    for (std::int64_t row = first + threadIdx.y; row < last; row += kRows) {
      if (p.tokens[row] != p.ambiguous) sum += load(p.rows + row * p.columns + column);
    }
  }
  sums[threadIdx.y][threadIdx.x] = sum;
  __syncthreads();
  if (threadIdx.y != 0 || column >= p.columns) return;
  for (int row = 1; row < kRows; ++row) sum += sums[row][threadIdx.x];
  p.sums[window * p.columns + column] = sum;
}

}  // namespace

template <typename T>
void window_sums(const WindowSums<T>& call, Stream stream) {
  const std::int64_t column_blocks = ceil_div(call.columns, kColumns);
  if (call.windows * column_blocks == 0) return;
  sum_windows<<<static_cast<unsigned>(call.windows * column_blocks), dim3(kColumns, kRows), 0, stream>>>(call,
                                                                                                         column_blocks);
  check_launch("window_sums");
}

template void window_sums(const WindowSums<float>&, Stream);
template void window_sums(const WindowSums<BFloat16>&, Stream);

}  // namespace dnamamba::kernels::cuda
