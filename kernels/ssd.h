// State-space duality (Mamba-2; Dao & Gu 2024) over ragged sequences, forward and backward. For head h of group g = h /
// (H / G), channel p of the head and state n:
//   dt[t] = clamp(softplus(dt[t] + dt_bias), dt_min, dt_max)                                  one a head
//   s[t]  = exp(dt[t] * A) * s[t-1] + dt[t] * x[t] * B[t]
//   y[t]  = sum over n of C[t] * s[t] + D * x[t]
// Torch-free: pointers, sizes, and threads as the caller has them.
#pragma once
#include <cstdint>
#include <limits>

#include "kernels/parallel.h"
#include "kernels/ragged.h"

namespace dnamamba::kernels {

/// T = tokens of all sequences, S = sequences, H = heads, P = channels of a head, G = groups of heads, N = states.
/// Everything contiguous in the order given, but that rows of x, B and C may lie apart. `reverse`: every sequence is
/// read from its last token to its first; "initial" and "final" follow that order.
template <typename T>
struct SsdInputs {
  Ragged ragged;
  std::int64_t heads = 0;
  std::int64_t head_dim = 0;  ///< P, 1 … 256
  std::int64_t groups = 1;    ///< a divisor of heads
  std::int64_t states = 0;    ///< 1 … 256
  const T* x = nullptr;       ///< [T, H, P]
  const T* dt = nullptr;      ///< [T, H] before bias, softplus and limits
  const T* A = nullptr;       ///< [H] negative
  const T* B = nullptr;       ///< [T, G, N]
  const T* C = nullptr;       ///< [T, G, N]
  const T* D = nullptr;       ///< [H], [H, P] if D_per_channel, or null: no skip
  bool D_per_channel = false;
  const T* dt_bias = nullptr;  ///< [H] or null: 0
  double dt_min = 0;           ///< limits of a step size, 0 <= dt_min <= dt_max
  double dt_max = std::numeric_limits<double>::infinity();
  const T* initial_state = nullptr;  ///< [S, H, P, N] or null: 0
  bool reverse = false;
  std::int64_t x_row = 0, B_row = 0, C_row = 0;  ///< from a token's values to the next one's; 0: end to end

  [[nodiscard]] std::int64_t x_step() const { return x_row > 0 ? x_row : heads * head_dim; }
  [[nodiscard]] std::int64_t B_step() const { return B_row > 0 ? B_row : groups * states; }
  [[nodiscard]] std::int64_t C_step() const { return C_row > 0 ? C_row : groups * states; }
  [[nodiscard]] std::int64_t D_size() const { return D_per_channel ? heads * head_dim : heads; }
};

/// y and final_state may not alias an input.
template <typename T>
struct SsdOutputs {
  T* y = nullptr;            ///< [T, H, P]
  T* final_state = nullptr;  ///< [S, H, P, N] or null: not wanted; an empty sequence passes its initial state on
};

/// What arrives (dy, dfinal_state) and what is wanted. Gradients are written, not added. A null wanted pointer is not
/// computed. A step size outside its limits has no gradient, one at a limit has.
template <typename T>
struct SsdGradients {
  const T* dy = nullptr;            ///< [T, H, P]
  const T* dfinal_state = nullptr;  ///< [S, H, P, N] or null: 0
  T* dx = nullptr;                  ///< [T, H, P]
  T* ddt = nullptr;                 ///< [T, H]
  T* dA = nullptr;                  ///< [H]
  T* dB = nullptr;                  ///< [T, G, N]
  T* dC = nullptr;                  ///< [T, G, N]
  T* dD = nullptr;                  ///< as D; null when D is
  T* ddt_bias = nullptr;            ///< [H]; null when dt_bias is
  T* dinitial_state = nullptr;      ///< [S, H, P, N] or null
};

// Every function: T = float or double. @throws std::invalid_argument for sizes outside the ranges above or missing
// pointers.

/// The definition, as plain loops in double precision whatever T is; what the others are tested against.
namespace reference {
template <typename T>
void ssd(const SsdInputs<T>& in, const SsdOutputs<T>& out);
template <typename T>
void ssd_backward(const SsdInputs<T>& in, const SsdGradients<T>& gradients);
}  // namespace reference

/// In matrix form, over chunks of 32 tokens (backward: 64) from the start of each sequence. Parallel over sequences,
/// heads and blocks of a head's channels; backward over chunks too. States stay in T; the result does not depend on the
/// number of threads. Where a sequence is cut after a multiple of 64 tokens, no bit of y, the states or their gradients
/// changes; a cut anywhere else costs no more than roundings.
namespace cpu {
template <typename T>
void ssd(const SsdInputs<T>& in, const SsdOutputs<T>& out, const ParallelFor& parallel);

/// Bytes of workspace that ssd_backward needs (64-byte aligned by the caller).
template <typename T>
std::int64_t ssd_backward_workspace(const SsdInputs<T>& in);
template <typename T>
void ssd_backward(const SsdInputs<T>& in, const SsdGradients<T>& gradients, void* workspace,
                  const ParallelFor& parallel);
}  // namespace cpu

}  // namespace dnamamba::kernels
