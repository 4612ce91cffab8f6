// RMSNorm of groups of channels with a gate; see kernels/gated_rms_norm.h for the equations.
#pragma once
#include "core/ops/tensors.h"

namespace dnamamba::ops {

/// T tokens, W channels. Differentiable in every tensor.
struct GatedRmsNorm {
  at::Tensor x;       ///< [T, W]
  at::Tensor z;       ///< [T, W]
  at::Tensor weight;  ///< [W]
  std::int64_t groups = 1;
  double epsilon = 1e-5;
  bool norm_before_gate = false;
};

/// [T, W]. Calls torch.ops.dnamamba.gated_rms_norm.
/// @throws c10::Error for shapes and dtypes that do not fit.
at::Tensor gated_rms_norm(const GatedRmsNorm& call);

}  // namespace dnamamba::ops
