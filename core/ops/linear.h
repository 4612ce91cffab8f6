// The one place through which every matrix product of a model goes, so that its tiling, threads and precision are
// decided here.
#pragma once
#include <utility>

#include "core/ops/tensors.h"

namespace dnamamba::ops {

/// x [T, in] · weightᵀ [in, out] (+ bias [out]) -> [T, out] of x's dtype. Differentiable. Where x is bfloat16 and the
/// weight float32, the product is of bfloat16, summed in float32, and so is the gradient of the weight, which is not
/// rounded to bfloat16.
at::Tensor linear(const at::Tensor& x, const at::Tensor& weight, const OptionalTensor& bias = std::nullopt);

/// The products with the weight's rows up to `first` and with the others, each contiguous. x's gradient is one sum that
/// the second product adds to.
std::pair<at::Tensor, at::Tensor> linear_pair(const at::Tensor& x, const at::Tensor& weight, const OptionalTensor& bias,
                                              std::int64_t first);

/// (x, x · weightᵀ). Whatever else is made of x is to be made of the x returned, and by one operator alone, whose
/// gradient of x is written to: the product adds to it.
std::pair<at::Tensor, at::Tensor> linear_beside(const at::Tensor& x, const at::Tensor& weight);

}  // namespace dnamamba::ops
