// One or two channels that lie side by side.
#pragma once
#include <type_traits>

#include "kernels/cuda/device.cuh"

namespace dnamamba::kernels::cuda {

/// kChannels neighbours as they lie in memory: two of 16 bits as one register.
template <typename T, int kChannels>
struct Neighbours {
  T value{};
  __device__ float at(int /*c*/) const { return widened(value); }
  __device__ void set(const float (&from)[kChannels]) { store(from[0], &value); }
};
template <>
struct Neighbours<float, 2> {
  float2 value{};
  __device__ float at(int c) const { return c == 0 ? value.x : value.y; }
  __device__ void set(const float (&from)[2]) { value = make_float2(from[0], from[1]); }
};
template <>
struct Neighbours<BFloat16, 2> {
  std::uint32_t value{};
  __device__ float at(int c) const { return __uint_as_float(c == 0 ? value << 16 : value & 0xffff0000U); }
  __device__ void set(const float (&from)[2]) {
    const __nv_bfloat162 two = __floats2bfloat162_rn(from[0], from[1]);
    value = *reinterpret_cast<const std::uint32_t*>(&two);
  }
};

/// from + index, by bytes: where several arrays are read at one place, it is worked out once.
template <typename T>
__device__ __forceinline__ T* at_element(T* from, std::int64_t index) {
  if constexpr (std::is_const_v<T>) {
    return reinterpret_cast<T*>(reinterpret_cast<const char*>(from) + index * static_cast<std::int64_t>(sizeof(T)));
  } else {
    return reinterpret_cast<T*>(reinterpret_cast<char*>(from) + index * static_cast<std::int64_t>(sizeof(T)));
  }
}

}  // namespace dnamamba::kernels::cuda
