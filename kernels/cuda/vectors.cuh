// Several neighbouring values in one load or store of 2 to 16 bytes, and which width memory allows.
#pragma once
#include <initializer_list>
#include <type_traits>

#include "kernels/cuda/device.cuh"

namespace dnamamba::kernels::cuda {

/// As they lie in memory: what waits for its use takes few registers.
template <typename T, int kCount>
struct Packed {
  static constexpr int kBytes = static_cast<int>(sizeof(T)) * kCount;
  static_assert(kBytes == 2 || kBytes == 4 || kBytes == 8 || kBytes == 16);
  std::uint32_t words[(kBytes + 3) / 4];
};

/// Of memory that this kernel may write to too.
template <int kCount, typename T>
__device__ __forceinline__ Packed<T, kCount> read_packed(const T* from) {
  constexpr int kBytes = Packed<T, kCount>::kBytes;
  if constexpr (kBytes == 16) {
    const uint4 words = *reinterpret_cast<const uint4*>(from);
    return {{words.x, words.y, words.z, words.w}};
  } else if constexpr (kBytes == 8) {
    const uint2 words = *reinterpret_cast<const uint2*>(from);
    return {{words.x, words.y}};
  } else if constexpr (kBytes == 4) {
    return {{*reinterpret_cast<const std::uint32_t*>(from)}};
  } else {
    return {{*reinterpret_cast<const std::uint16_t*>(from)}};
  }
}

/// Of memory that nobody writes to meanwhile.
template <int kCount, typename T>
__device__ __forceinline__ Packed<T, kCount> load_packed(const T* from) {
  constexpr int kBytes = Packed<T, kCount>::kBytes;
  if constexpr (kBytes == 16) {
    const uint4 words = __ldg(reinterpret_cast<const uint4*>(from));
    return {{words.x, words.y, words.z, words.w}};
  } else if constexpr (kBytes == 8) {
    const uint2 words = __ldg(reinterpret_cast<const uint2*>(from));
    return {{words.x, words.y}};
  } else if constexpr (kBytes == 4) {
    return {{__ldg(reinterpret_cast<const unsigned*>(from))}};
  } else {
    return {{__ldg(reinterpret_cast<const unsigned short*>(from))}};
  }
}

template <int kCount>
__device__ __forceinline__ void unpack(const Packed<float, kCount>& packed, float (&values)[kCount]) {
#pragma unroll
  for (int i = 0; i < kCount; ++i) values[i] = __uint_as_float(packed.words[i]);
}
template <int kCount>
__device__ __forceinline__ void unpack(const Packed<BFloat16, kCount>& packed, float (&values)[kCount]) {
#pragma unroll
  for (int i = 0; i < kCount; ++i) {
    const std::uint32_t word = packed.words[i / 2];
    values[i] = __uint_as_float(i % 2 == 0 ? word << 16 : word & 0xffff0000U);
  }
}

template <int kCount>
__device__ __forceinline__ Packed<float, kCount> pack(const float (&values)[kCount], const float* /*like*/) {
  Packed<float, kCount> packed;
#pragma unroll
  for (int i = 0; i < kCount; ++i) packed.words[i] = __float_as_uint(values[i]);
  return packed;
}
template <int kCount>
__device__ __forceinline__ Packed<BFloat16, kCount> pack(const float (&values)[kCount], const BFloat16* /*like*/) {
  Packed<BFloat16, kCount> packed;
  if constexpr (kCount == 1) {
    packed.words[0] = __bfloat16_as_ushort(__float2bfloat16_rn(values[0]));
  } else {
#pragma unroll
    for (int i = 0; i < kCount; i += 2) {
      const __nv_bfloat162 pair = __floats2bfloat162_rn(values[i], values[i + 1]);
      packed.words[i / 2] = __bfloat16_as_ushort(pair.x) | std::uint32_t{__bfloat16_as_ushort(pair.y)} << 16;
    }
  }
  return packed;
}

template <typename T, int kCount>
__device__ __forceinline__ void store_packed(const Packed<T, kCount>& packed, T* to) {
  constexpr int kBytes = Packed<T, kCount>::kBytes;
  if constexpr (kBytes == 16) {
    *reinterpret_cast<uint4*>(to) = {packed.words[0], packed.words[1], packed.words[2], packed.words[3]};
  } else if constexpr (kBytes == 8) {
    *reinterpret_cast<uint2*>(to) = {packed.words[0], packed.words[1]};
  } else if constexpr (kBytes == 4) {
    *reinterpret_cast<std::uint32_t*>(to) = packed.words[0];
  } else {
    *reinterpret_cast<std::uint16_t*>(to) = static_cast<std::uint16_t>(packed.words[0]);
  }
}
template <typename T, int kCount>
__device__ __forceinline__ void store_values(const float (&values)[kCount], T* to) {
  store_packed(pack(values, to), to);
}

/// Sends for kBytes (4, 8 or 16) from global to shared memory, or for zeros; they are there after wait_for_copies().
template <int kBytes>
__device__ __forceinline__ void copy_async(void* shared, const void* from, bool there) {
  const auto to = static_cast<std::uint32_t>(__cvta_generic_to_shared(shared));
  const int bytes = there ? kBytes : 0;
  if constexpr (kBytes == 16) {  // past the first cache, which has better to keep
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" : : "r"(to), "l"(from), "r"(bytes) : "memory");
  } else {
    asm volatile("cp.async.ca.shared.global [%0], [%1], %2, %3;"
                 :
                 : "r"(to), "l"(from), "n"(kBytes), "r"(bytes)
                 : "memory");
  }
}
/// This thread's own.
__device__ __forceinline__ void wait_for_copies() {
  asm volatile("cp.async.wait_all;" : : : "memory");
}

/// True if vectors of `count` values can be loaded from rows of `columns` at these addresses; null counts as one.
template <typename T>
bool vectors_fit(int count, std::int64_t columns, std::initializer_list<const T*> addresses) {
  bool fit = columns % count == 0;
  for (const T* address : addresses) fit = fit && reinterpret_cast<std::uintptr_t>(address) % (sizeof(T) * count) == 0;
  return fit;
}

}  // namespace dnamamba::kernels::cuda
