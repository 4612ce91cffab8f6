// Sums over the lanes of a warp of eight values at once, always in the same order.
#pragma once
#include "kernels/cuda/device.cuh"

namespace dnamamba::kernels::cuda {

/// What lanes hold are T's sums: 8 of each `kGroup` lanes (16 or 32). `at` are the places, of 32 floats, at which the
/// warp puts parts of sums: to_read(j, group) is the first of kParts of them, kPartStep apart, that make up sum j of a
/// group.
template <typename T, int kGroup>
struct LaneSums;

/// By shuffles. Lanes hand on half of what they have and add to the other half, until each has one sum.
template <int kGroup>
struct LaneSums<float, kGroup> {
  static constexpr int kParts = 1;
  static constexpr int kPartStep = 1;

  __device__ __forceinline__ void add(const float (&value)[8], float* at) const {
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

/// By tensor cores, whose products with ones and zeros add four lanes at a time, of values with 8 bits of significand.
template <int kGroup>
struct LaneSums<BFloat16, kGroup> {
  static constexpr int kParts = kGroup / 8;
  static constexpr int kPartStep = 1;
  std::uint32_t ones[4];  // row lane / 4 of the product sums value lane / 4: which of a pair of values it takes

  __device__ __forceinline__ LaneSums() {
    const int row = static_cast<int>(threadIdx.x) % 32 / 4;
    constexpr std::uint32_t kOne = 0x3f80;  // the first of the pair; shifted, the second
#pragma unroll
    for (int i = 0; i < 4; ++i) ones[i] = row == 2 * i ? kOne : row == 2 * i + 1 ? kOne << 16 : 0;
  }
  __device__ __forceinline__ static std::uint32_t pair(float first, float second) {
    const __nv_bfloat162 two = __floats2bfloat162_rn(first, second);
    return *reinterpret_cast<const std::uint32_t*>(&two);
  }
  __device__ __forceinline__ void add(const float (&value)[8], float* at) const {
    float sum[4];
    asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%10,%10,%10,%10};"
        : "=f"(sum[0]), "=f"(sum[1]), "=f"(sum[2]), "=f"(sum[3])
        : "r"(ones[0]), "r"(0), "r"(ones[1]), "r"(0), "r"(pair(value[0], value[1])), "r"(pair(value[2], value[3])),
          "f"(0.0F));
    asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
        : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])
        : "r"(ones[2]), "r"(0), "r"(ones[3]), "r"(0), "r"(pair(value[4], value[5])), "r"(pair(value[6], value[7])));
    at[threadIdx.x % 32] = sum[0] + sum[1];
  }
  __device__ static int to_read(int j, int group) {
    return j * 4 + group * kParts;
  }
};

}  // namespace dnamamba::kernels::cuda
