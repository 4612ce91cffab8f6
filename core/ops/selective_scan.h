// The selective scan of Mamba-1 on tensors; see kernels/selective_scan.h for the equations.
#pragma once
#include <tuple>

#include "core/ops/tensors.h"

namespace dnamamba::ops {

/// Sequences end to end: T tokens, E channels, N states, S sequences. Differentiable in every tensor but `offsets`.
struct SelectiveScan {
  at::Tensor x;                       ///< [T, E]
  at::Tensor delta;                   ///< [T, E] before bias and softplus
  at::Tensor A;                       ///< [E, N] negative
  at::Tensor B;                       ///< [T, N]
  at::Tensor C;                       ///< [T, N]
  OptionalTensor D = {};              ///< [E]
  OptionalTensor z = {};              ///< [T, E] gate
  OptionalTensor delta_bias = {};     ///< [E]
  OptionalTensor offsets = {};        ///< int64 [S + 1] on the host; absent: one sequence
  OptionalTensor initial_state = {};  ///< [S, E, N]; absent: zeros
  bool want_final_state = false;
  bool reverse = false;  ///< every sequence from its last token to its first
};

/// (y [T, E], final state [S, E, N], or an empty tensor where it was not asked for). Calls
/// torch.ops.dnamamba.selective_scan.
/// @throws c10::Error for shapes and dtypes that do not fit.
std::tuple<at::Tensor, at::Tensor> selective_scan(const SelectiveScan& call);

}  // namespace dnamamba::ops
