// Sums over the lanes of a warp of eight values at once, always in the same order.
#pragma once
#include "kernels/cuda/device.cuh"

namespace dnamamba::kernels::cuda {

/// Eight sums of each `kGroup` lanes (16 or 32). Lanes hand on half of what they have and add to the other half, until
/// each has one sum. `at` are the 32 places at which the warp puts them: to_read(j, group) has sum j of a group.
template <int kGroup>
struct LaneSums {
  __device__ __forceinline__ static void add(const float (&value)[8], float* at) {
    const int lane = static_cast<int>(threadIdx.x) % 32;
    float four[4], two[2];
    const bool upper = (lane & (kGroup / 2)) != 0, odd = (lane & (kGroup / 4)) != 0, last = (lane & (kGroup / 8)) != 0;
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const float given = __shfl_xor_sync(~0U, upper ? value[i] : value[i + 4], kGroup / 2);
      four[i] = (upper ? value[i + 4] : value[i]) + given;
    }
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const float given = __shfl_xor_sync(~0U, odd ? four[i] : four[i + 2], kGroup / 4);
      two[i] = (odd ? four[i + 2] : four[i]) + given;
    }
    const float given = __shfl_xor_sync(~0U, last ? two[0] : two[1], kGroup / 8);
    float sum = (last ? two[1] : two[0]) + given;
#pragma unroll
    for (int distance = kGroup / 16; distance > 0; distance /= 2) sum += __shfl_xor_sync(~0U, sum, distance);
    at[lane] = sum;
  }
  __device__ static int to_read(int j, int group) {
    return group * kGroup + (j & 4 ? kGroup / 2 : 0) + (j & 2 ? kGroup / 4 : 0) + (j & 1 ? kGroup / 8 : 0);
  }
};

}  // namespace dnamamba::kernels::cuda
