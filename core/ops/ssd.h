// The state-space duality of Mamba-2 on tensors; see kernels/ssd.h for the equations.
#pragma once
#include <tuple>

#include "core/ops/tensors.h"

namespace dnamamba::ops {

/// Sequences end to end: T tokens, H heads of P channels in G groups, N states, S sequences. Differentiable in every
/// tensor but `offsets`.
struct Ssd {
  at::Tensor x;                       ///< [T, H, P]
  at::Tensor dt;                      ///< [T, H] before bias, softplus and limits
  at::Tensor A;                       ///< [H] negative
  at::Tensor B;                       ///< [T, G, N]
  at::Tensor C;                       ///< [T, G, N]
  OptionalTensor D = {};              ///< [H] or [H, P]
  OptionalTensor dt_bias = {};        ///< [H]
  OptionalTensor offsets = {};        ///< int64 [S + 1] on the host; absent: one sequence
  OptionalTensor initial_state = {};  ///< [S, H, P, N]; absent: zeros
  double dt_min = 0;                  ///< limits of a step size
  std::optional<double> dt_max = {};  ///< absent: none
  bool want_final_state = false;
  bool reverse = false;  ///< every sequence from its last token to its first
};

/// (y [T, H, P], final state [S, H, P, N], or an empty tensor where it was not asked for). Calls
/// torch.ops.dnamamba.ssd.
/// @throws c10::Error for shapes and dtypes that do not fit.
std::tuple<at::Tensor, at::Tensor> ssd(const Ssd& call);

}  // namespace dnamamba::ops
