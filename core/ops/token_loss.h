// Language-model head and cross-entropy without stored logits; see kernels/token_loss.h for the equations.
#pragma once
#include "core/ops/tensors.h"

namespace dnamamba::ops {

/// T tokens, D channels, V vocabulary. Differentiable in `hidden` and `weight`.
struct TokenLoss {
  at::Tensor hidden;                  ///< [T, D]
  at::Tensor weight;                  ///< [V, D]
  at::Tensor targets;                 ///< uint8 [T]
  OptionalTensor token_weights = {};  ///< float32 [T]; absent: 1 each; a token of weight 0 is not computed at all
};

/// Every token's weighted cross-entropy in nats, [T], float32 where `hidden` is bfloat16. Calls
/// torch.ops.dnamamba.token_loss. @throws c10::Error for shapes, dtypes and targets that do not fit; on a GPU, a target
/// that does not fit gives NaN.
at::Tensor token_loss(const TokenLoss& call);

}  // namespace dnamamba::ops
