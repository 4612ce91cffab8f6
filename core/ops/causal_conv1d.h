// The depthwise causal convolution on tensors; see kernels/causal_conv1d.h for the equations.
#pragma once
#include <tuple>

#include "core/ops/tensors.h"

namespace dnamamba::ops {

/// Sequences end to end: T tokens, E channels, width K, S sequences. Differentiable in every tensor but `offsets`.
struct CausalConv1d {
  at::Tensor x;                       ///< [T, E]
  at::Tensor weight;                  ///< [E, K]; weight[:, K-1] multiplies the current token
  OptionalTensor bias = {};           ///< [E]
  OptionalTensor offsets = {};        ///< int64 [S + 1] on the host; absent: one sequence
  OptionalTensor initial_state = {};  ///< [S, K-1, E] the inputs before the first token, oldest first; absent: zeros
  bool want_final_state = false;
  bool silu = true;
  bool reverse = false;  ///< every sequence from its last token to its first
};

/// (y [T, E], final state [S, K-1, E], or an empty tensor where it was not asked for). Calls
/// torch.ops.dnamamba.causal_conv1d.
/// @throws c10::Error for shapes and dtypes that do not fit.
std::tuple<at::Tensor, at::Tensor> causal_conv1d(const CausalConv1d& call);

}  // namespace dnamamba::ops
