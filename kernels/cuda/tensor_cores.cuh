// Small matrix products of a warp on tensor cores. In all of them lane = 4 g + q, and a matrix of 16 rows that is added
// to has in every lane {row g: columns 2q, 2q + 1; row 8 + g: the same columns}.
#pragma once
#include "kernels/cuda/device.cuh"

namespace dnamamba::kernels::cuda {

/// Two values with 8 bits of significand, the first in the lower half.
__device__ __forceinline__ std::uint32_t bf16_pair(float first, float second) {
  const __nv_bfloat162 two = __floats2bfloat162_rn(first, second);
  return *reinterpret_cast<const std::uint32_t*>(&two);
}
__device__ __forceinline__ float lower(std::uint32_t pair) {
  return __uint_as_float(pair << 16);
}
__device__ __forceinline__ float upper(std::uint32_t pair) {
  return __uint_as_float(pair & 0xffff0000U);
}
/// The lower (or upper) halves of two pairs as a pair.
__device__ __forceinline__ std::uint32_t lower_halves(std::uint32_t first, std::uint32_t second) {
  return __byte_perm(first, second, 0x5410);
}
__device__ __forceinline__ std::uint32_t upper_halves(std::uint32_t first, std::uint32_t second) {
  return __byte_perm(first, second, 0x7632);
}

/// to = from + rows [16 x 8] * columns [8 x 8], bf16. rows: {row g: k = 2q, 2q + 1; row 8 + g}; column: g: k = 2q, 2q
/// + 1.
__device__ __forceinline__ void multiply_add(float (&to)[4], const float (&from)[4], const std::uint32_t (&rows)[2],
                                             std::uint32_t column) {
  asm("mma.sync.aligned.m16n8k8.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5}, {%6}, {%7,%8,%9,%10};"
      : "=f"(to[0]), "=f"(to[1]), "=f"(to[2]), "=f"(to[3])
      : "r"(rows[0]), "r"(rows[1]), "r"(column), "f"(from[0]), "f"(from[1]), "f"(from[2]), "f"(from[3]));
}

/// sum += rows [16 x 16] * columns [16 x 8], bf16. rows: {row g: k = 2q, 2q + 1; row 8 + g: the same; row g:
/// k = 8 + 2q, 9 + 2q; row 8 + g: the same}; columns: {g: k = 2q, 2q + 1; g: k = 8 + 2q, 9 + 2q}.
__device__ __forceinline__ void multiply_add(float (&sum)[4], const std::uint32_t (&rows)[4],
                                             const std::uint32_t (&columns)[2]) {
  asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
      : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])
      : "r"(rows[0]), "r"(rows[1]), "r"(rows[2]), "r"(rows[3]), "r"(columns[0]), "r"(columns[1]));
}

/// sum += rows [16 x 4] * columns [4 x 8], of values with 11 bits of significand. rows: {row g: k = q; row 8 + g: k =
/// q}; column: g: k = q. For finite rows: a NaN may be lost.
__device__ __forceinline__ void multiply_add_tf32(float (&sum)[4], const float (&rows)[2], float column) {
  // The hardware drops what is behind the 11 bits; half a unit more makes that rounding.
  constexpr std::uint32_t kHalf = 0x1000;
  asm("mma.sync.aligned.m16n8k4.row.col.f32.tf32.tf32.f32 {%0,%1,%2,%3}, {%4,%5}, {%6}, {%0,%1,%2,%3};"
      : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])
      : "r"(__float_as_uint(rows[0]) + kHalf), "r"(__float_as_uint(rows[1]) + kHalf), "r"(__float_as_uint(column)));
}

/// The transpose of an 8 x 8 matrix of 16-bit values, of which a lane has row g: columns 2q, 2q + 1.
__device__ __forceinline__ std::uint32_t transposed(std::uint32_t pair) {
  std::uint32_t to;
  asm("movmatrix.sync.aligned.m8n8.trans.b16 %0, %1;" : "=r"(to) : "r"(pair));
  return to;
}

}  // namespace dnamamba::kernels::cuda
