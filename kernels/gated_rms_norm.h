// RMSNorm of groups of channels with a gate (Mamba-2), forward and backward, u of a group's W / G channels:
//   gate first:         u = x * silu(z);   y = u / sqrt(mean(u^2) + eps) * weight
//   norm_before_gate:   y = x / sqrt(mean(x^2) + eps) * weight * silu(z)
#pragma once
#include <cstdint>

#include "kernels/parallel.h"

namespace dnamamba::kernels {

/// T = rows (tokens), W = columns (channels), G = groups. Contiguous.
template <typename T>
struct GatedRmsNormInputs {
  std::int64_t rows = 0;
  std::int64_t columns = 0;
  std::int64_t groups = 1;    ///< a divisor of columns
  const T* x = nullptr;       ///< [T, W]
  const T* z = nullptr;       ///< [T, W]
  const T* weight = nullptr;  ///< [W]
  double epsilon = 1e-5;
  bool norm_before_gate = false;
};

/// Gradients are written, not added.
template <typename T>
struct GatedRmsNormGradients {
  const T* dy = nullptr;  ///< [T, W]
  T* dx = nullptr;        ///< [T, W]
  T* dz = nullptr;        ///< [T, W]
  T* dweight = nullptr;   ///< [W] or null
};

// Every function: T = float or double. @throws std::invalid_argument for bad sizes or missing pointers.

namespace reference {
template <typename T>
void gated_rms_norm(const GatedRmsNormInputs<T>& in, T* y);  ///< y [T, W]
template <typename T>
void gated_rms_norm_backward(const GatedRmsNormInputs<T>& in, const GatedRmsNormGradients<T>& gradients);
}  // namespace reference

namespace cpu {
template <typename T>
void gated_rms_norm(const GatedRmsNormInputs<T>& in, T* y, const ParallelFor& parallel);
template <typename T>
std::int64_t gated_rms_norm_backward_workspace(const GatedRmsNormInputs<T>& in);  ///< bytes
template <typename T>
void gated_rms_norm_backward(const GatedRmsNormInputs<T>& in, const GatedRmsNormGradients<T>& gradients,
                             void* workspace, const ParallelFor& parallel);
}  // namespace cpu

}  // namespace dnamamba::kernels
