// What all CUDA kernels use: values of activations as floats, fast functions of the special-function unit, launches.
#pragma once
#include <cuda_bf16.h>
#include <cuda_runtime.h>

#include <cstdint>
#include <stdexcept>
#include <string>

#include "kernels/stream.h"
#include "kernels/types.h"

namespace dnamamba::kernels::cuda {

__device__ __forceinline__ float widened(float value) {
  return value;
}
__device__ __forceinline__ float widened(BFloat16 value) {
  return __uint_as_float(static_cast<std::uint32_t>(value.bits) << 16);
}
__device__ __forceinline__ float load(const float* from) {
  return __ldg(from);
}
__device__ __forceinline__ float load(const BFloat16* from) {
  return __uint_as_float(static_cast<std::uint32_t>(__ldg(reinterpret_cast<const unsigned short*>(from))) << 16);
}
__device__ __forceinline__ void store(float value, float* to) {
  *to = value;
}
__device__ __forceinline__ void store(float value, BFloat16* to) {
  to->bits = __bfloat16_as_ushort(__float2bfloat16_rn(value));
}

/// Four neighbours, 16-byte aligned, in one load.
__device__ __forceinline__ void load_four(const float* from, float (&to)[4]) {
  const float4 four = *reinterpret_cast<const float4*>(from);
  to[0] = four.x, to[1] = four.y, to[2] = four.z, to[3] = four.w;
}

/// 2^x, with 2 units in the last place; 0 below 2^-126.
__device__ __forceinline__ float exp2_fast(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}
/// 2^x for x <= 0 by multiply-adds, for where the special-function unit is what everything waits for: 3 units in the
/// last place; 2^-126 below. NaN stays. A minimax polynomial over [-1/2, 1/2], 1 at 0.
__device__ __forceinline__ float exp2_by_products(float x) {
  float bounded;
  asm("max.NaN.f32 %0, %1, %2;" : "=f"(bounded) : "f"(x), "f"(-126.0F));
  constexpr float kRound = 12'582'912.0F;  // 1.5 2^23: what is added to it is rounded to an integer
  const float shifted = bounded + kRound, f = bounded - (shifted - kRound);
  float p = fmaf(0.00132647273F, f, 0.00967151299F);
  p = fmaf(p, f, 0.0555073358F);
  p = fmaf(p, f, 0.240222424F);
  p = fmaf(p, f, 0.693147004F);
  p = fmaf(p, f, 1.0F);
  return __int_as_float(__float_as_int(p) + (__float_as_int(shifted) << 23));
}
/// 1 / x, with 1 unit in the last place.
__device__ __forceinline__ float reciprocal(float x) {
  float y;
  asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

constexpr float kLog2E = 1.4426950408889634F;

__device__ __forceinline__ float sigmoid(float x) {
  return reciprocal(1.0F + exp2_fast(-kLog2E * x));
}

inline std::int64_t ceil_div(std::int64_t count, std::int64_t size) {
  return (count + size - 1) / size;
}

/// After a launch. @throws std::runtime_error naming the operator.
inline void check_launch(const char* op) {
  const cudaError_t error = cudaGetLastError();
  if (error != cudaSuccess) throw std::runtime_error(std::string(op) + ": " + cudaGetErrorString(error));
}

}  // namespace dnamamba::kernels::cuda
