// Residual addition and normalisation in one pass; see kernels/add_rms_norm.h for the equations.
#pragma once
#include <tuple>

#include "core/ops/tensors.h"

namespace dnamamba::ops {

/// T tokens, D channels. Differentiable in every tensor. On a GPU the residual stream may be float32 where x is
/// bfloat16; elsewhere it is of x's type.
struct AddRmsNorm {
  at::Tensor x;                  ///< [T, D]
  OptionalTensor residual = {};  ///< [T, D]; absent: the stream begins here
  at::Tensor weight;             ///< [D]
  OptionalTensor bias = {};      ///< [D]
  double epsilon = 1e-5;
  bool layer_norm = false;                            ///< LayerNorm in the place of RMSNorm
  std::optional<at::ScalarType> residual_dtype = {};  ///< of the stream that begins here; absent: x's; else residual's
};

/// (normalised [T, D], residual stream x + residual [T, D]). Calls torch.ops.dnamamba.add_rms_norm.
/// @throws c10::Error for shapes and dtypes that do not fit.
std::tuple<at::Tensor, at::Tensor> add_rms_norm(const AddRmsNorm& call);

}  // namespace dnamamba::ops
