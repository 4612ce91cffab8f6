// Residual addition and normalisation of rows in one pass, forward and backward:
//   r = x + residual;   RMSNorm: y = r / sqrt(mean(r^2) + eps) * weight (+ bias)
//                       LayerNorm: y = (r - mean(r)) / sqrt(var(r) + eps) * weight (+ bias)
#pragma once
#include <cstdint>

#include "kernels/parallel.h"

namespace dnamamba::kernels {

/// T = rows (tokens), D = columns (channels). Contiguous.
template <typename T>
struct AddRmsNormInputs {
  std::int64_t rows = 0;
  std::int64_t columns = 0;
  const T* x = nullptr;         ///< [T, D]
  const T* residual = nullptr;  ///< [T, D] or null: r = x
  const T* weight = nullptr;    ///< [D]
  const T* bias = nullptr;      ///< [D] or null
  double epsilon = 1e-5;
  bool layer_norm = false;  ///< subtract the mean too
};

template <typename T>
struct AddRmsNormOutputs {
  T* y = nullptr;             ///< [T, D]
  T* residual_out = nullptr;  ///< [T, D] r, or null: not wanted; may be the same memory as x or residual
};

/// The backward pass reads r (what the forward wrote to residual_out), not x and residual: pass it as in.x with
/// in.residual null.
template <typename T>
struct AddRmsNormGradients {
  const T* dy = nullptr;             ///< [T, D]
  const T* dresidual_out = nullptr;  ///< [T, D] what flows in along the residual stream, or null: 0
  T* dr = nullptr;                   ///< [T, D] the gradient of r: of x and of residual alike
  T* dweight = nullptr;              ///< [D] or null
  T* dbias = nullptr;                ///< [D] or null
};

// Every function: T = float or double. @throws std::invalid_argument for bad sizes or missing pointers.

namespace reference {
template <typename T>
void add_rms_norm(const AddRmsNormInputs<T>& in, const AddRmsNormOutputs<T>& out);
template <typename T>
void add_rms_norm_backward(const AddRmsNormInputs<T>& in, const AddRmsNormGradients<T>& gradients);
}  // namespace reference

namespace cpu {
template <typename T>
void add_rms_norm(const AddRmsNormInputs<T>& in, const AddRmsNormOutputs<T>& out, const ParallelFor& parallel);
template <typename T>
std::int64_t add_rms_norm_backward_workspace(const AddRmsNormInputs<T>& in);  ///< bytes
template <typename T>
void add_rms_norm_backward(const AddRmsNormInputs<T>& in, const AddRmsNormGradients<T>& gradients, void* workspace,
                           const ParallelFor& parallel);
}  // namespace cpu

}  // namespace dnamamba::kernels
