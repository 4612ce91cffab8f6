// Residual addition and normalisation of rows in one pass, forward and backward:
//   r = x + residual;   RMSNorm: y = r / sqrt(mean(r^2) + eps) * weight (+ bias)
//                       LayerNorm: y = (r - mean(r)) / sqrt(var(r) + eps) * weight (+ bias)
#pragma once
#include <cstdint>

#include "kernels/parallel.h"
#include "kernels/stream.h"
#include "kernels/types.h"

namespace dnamamba::kernels {

/// T = rows (tokens), D = columns (channels). Contiguous. The residual stream may have a type R of its own, on CUDA
/// alone: float where activations are BFloat16.
template <typename T, typename R = T>
struct AddRmsNormInputs {
  std::int64_t rows = 0;
  std::int64_t columns = 0;
  const T* x = nullptr;             ///< [T, D]; the backward pass doesn't read it
  const R* residual = nullptr;      ///< [T, D] or null: r = x; the backward pass doesn't read it
  const Wide<T>* weight = nullptr;  ///< [D]
  const Wide<T>* bias = nullptr;    ///< [D] or null
  double epsilon = 1e-5;
  bool layer_norm = false;  ///< subtract the mean too
};

template <typename T, typename R = T>
struct AddRmsNormOutputs {
  T* y = nullptr;             ///< [T, D] of r as R has it
  R* residual_out = nullptr;  ///< [T, D] r, or null: not wanted; may be the same memory as x or residual
};

/// Gradients are written, not added; a null wanted pointer is not computed.
template <typename T, typename R = T>
struct AddRmsNormGradients {
  const R* r = nullptr;              ///< [T, D] what the forward pass wrote to residual_out
  const T* dy = nullptr;             ///< [T, D]
  const R* dresidual_out = nullptr;  ///< [T, D] what flows in along the residual stream, or null: 0
  T* dx = nullptr;                   ///< [T, D] or null: the gradient of r, which is x's and residual's alike
  R* dresidual = nullptr;            ///< [T, D] or null: the same as R has it; where R is T, dx serves both
  Wide<T>* dweight = nullptr;        ///< [D] or null
  Wide<T>* dbias = nullptr;          ///< [D] or null
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

/// T, R = float, float or BFloat16, float or BFloat16, BFloat16; sums in float. Pointers to the device's memory; work
/// is put on the stream and not waited for.
namespace cuda {
template <typename T, typename R>
void add_rms_norm(const AddRmsNormInputs<T, R>& in, const AddRmsNormOutputs<T, R>& out, Stream stream);
template <typename T, typename R>
std::int64_t add_rms_norm_backward_workspace(const AddRmsNormInputs<T, R>& in);  ///< bytes
template <typename T, typename R>
void add_rms_norm_backward(const AddRmsNormInputs<T, R>& in, const AddRmsNormGradients<T, R>& gradients,
                           void* workspace, Stream stream);
}  // namespace cuda

}  // namespace dnamamba::kernels
