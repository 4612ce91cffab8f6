// The one place through which every matrix product of a model goes, so that its tiling, threads and precision are
// decided here.
#pragma once
#include "core/ops/tensors.h"

namespace dnamamba::ops {

/// x [T, in] · weightᵀ [in, out] (+ bias [out]) -> [T, out]. Differentiable.
at::Tensor linear(const at::Tensor& x, const at::Tensor& weight, const OptionalTensor& bias = std::nullopt);

}  // namespace dnamamba::ops
