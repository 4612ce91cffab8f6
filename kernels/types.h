// Types of values. Activations are T: double, float, or BFloat16 (CUDA alone). What a sum or a state runs through, and
// parameters, are Wide<T>: T itself, and float for BFloat16.
#pragma once
#include <cstdint>

namespace dnamamba::kernels {

/// The upper half of a float, as bits: what CUDA calls __nv_bfloat16 and LibTorch c10::BFloat16.
struct BFloat16 {
  std::uint16_t bits;
};

template <typename T>
struct WideOf {
  using type = T;
};
template <>
struct WideOf<BFloat16> {
  using type = float;
};
template <typename T>
using Wide = typename WideOf<T>::type;

}  // namespace dnamamba::kernels
