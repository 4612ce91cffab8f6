// Byte tokens to vectors, with a deterministic gradient; see kernels/embed_tokens.h.
#pragma once
#include "core/ops/tensors.h"

namespace dnamamba::ops {

/// tokens uint8 [T], table [V, D], V at most 256 -> [T, D]. Differentiable in `table`. Calls
/// torch.ops.dnamamba.embed_tokens.
/// @throws c10::Error for shapes and dtypes that do not fit, and for a token not below V.
at::Tensor embed_tokens(const at::Tensor& tokens, const at::Tensor& table);

}  // namespace dnamamba::ops
