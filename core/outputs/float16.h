// Half precision (IEEE binary16) as bits.
#pragma once
#include <cstdint>

namespace dnamamba::outputs {

/// The nearest half, ties to even. Magnitudes from 65520 on become infinite; NaN stays NaN.
std::uint16_t half_of(float value);

/// Exact.
float float_of_half(std::uint16_t half);

inline bool is_infinite_half(std::uint16_t half) {
  return (half & 0x7fff) == 0x7c00;
}

}  // namespace dnamamba::outputs
