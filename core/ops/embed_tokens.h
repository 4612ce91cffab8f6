// Byte tokens to vectors, with a deterministic gradient; see kernels/embed_tokens.h.
#pragma once
#include "core/ops/tensors.h"

namespace dnamamba::ops {

/// tokens uint8 [T], table [V, D], V at most 256 -> [T, D], of the table's dtype or of `dtype`, which may be bfloat16
/// on a GPU. Differentiable in `table`. Calls torch.ops.dnamamba.embed_tokens.
/// @throws c10::Error for shapes and dtypes that do not fit, and on the CPU for a token not below V; on a GPU the row
/// of such a token is NaN.
at::Tensor embed_tokens(const at::Tensor& tokens, const at::Tensor& table,
                        std::optional<at::ScalarType> dtype = std::nullopt);

}  // namespace dnamamba::ops
