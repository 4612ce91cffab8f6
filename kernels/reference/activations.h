// The scalar functions of the operators and their slopes, in double.
#pragma once
#include <cmath>

namespace dnamamba::kernels::reference {

inline double sigmoid(double v) {
  return v >= 0 ? 1 / (1 + std::exp(-v)) : std::exp(v) / (1 + std::exp(v));
}

inline double silu(double v) {
  return v * sigmoid(v);
}
inline double silu_slope(double v) {
  return sigmoid(v) * (1 + v * (1 - sigmoid(v)));
}

/// log(1 + exp(v)), and v itself above 20, as the published models have it.
inline double softplus(double v) {
  return v > 20 ? v : std::log1p(std::exp(v));
}
inline double softplus_slope(double v) {
  return v > 20 ? 1.0 : sigmoid(v);
}

}  // namespace dnamamba::kernels::reference
