// The one place through which every matrix product of a model goes, so that its tiling, threads and precision are
// decided here.
#pragma once
#include "core/ops/tensors.h"

namespace dnamamba::ops {

/// x [T, in] · weightᵀ [in, out] (+ bias [out]) -> [T, out] of x's dtype. Differentiable. Where x is bfloat16 and the
/// weight float32, the product is of bfloat16, summed in float32, and so is the gradient of the weight, which is not
/// rounded to bfloat16.
at::Tensor linear(const at::Tensor& x, const at::Tensor& weight, const OptionalTensor& bias = std::nullopt);

}  // namespace dnamamba::ops
