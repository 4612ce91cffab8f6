// Selective scan (Mamba-1; Gu & Dao 2023, algorithm 2) over ragged sequences, forward and backward. For channel e and
// state n:
//   dt[t] = softplus(delta[t] + delta_bias)
//   h[t]  = exp(dt[t] * A) * h[t-1] + dt[t] * B[t] * x[t]
//   y[t]  = (sum over n of C[t] * h[t] + D * x[t]) * silu(z[t])
// Torch-free: pointers, sizes, and threads as the caller has them.
#pragma once
#include <cstdint>

#include "kernels/parallel.h"
#include "kernels/ragged.h"
#include "kernels/stream.h"
#include "kernels/types.h"

namespace dnamamba::kernels {

/// T = tokens of all sequences, S = sequences, E = channels, N = states. Everything contiguous in the order given.
/// `reverse`: every sequence is read from its last token to its first; "initial" and "final" follow that order.
template <typename T>
struct SelectiveScanInputs {
  Ragged ragged;
  std::int64_t channels = 0;               ///< 1 … 4,194,304
  std::int64_t states = 0;                 ///< 1 … 256
  const T* x = nullptr;                    ///< [T, E]
  const T* delta = nullptr;                ///< [T, E] before bias and softplus
  const Wide<T>* A = nullptr;              ///< [E, N] negative
  const T* B = nullptr;                    ///< [T, N]
  const T* C = nullptr;                    ///< [T, N]
  const Wide<T>* D = nullptr;              ///< [E] or null: no skip
  const T* z = nullptr;                    ///< [T, E] or null: no gate
  const Wide<T>* delta_bias = nullptr;     ///< [E] or null: 0
  const Wide<T>* initial_state = nullptr;  ///< [S, E, N] or null: 0
  bool reverse = false;
  std::int64_t state_row = 0;  ///< from a token's values of B and C to the next one's; 0: N. CPUs take N alone

  [[nodiscard]] std::int64_t state_step() const { return state_row > 0 ? state_row : states; }
};

/// y and final_state may not alias an input.
template <typename T>
struct SelectiveScanOutputs {
  T* y = nullptr;                  ///< [T, E]
  Wide<T>* final_state = nullptr;  ///< [S, E, N] or null: not wanted; an empty sequence passes its initial state on
  Wide<T>* run_starts = nullptr;   ///< see scan_run_starts, or null: not wanted. GPUs alone
};

/// What arrives (dy, dfinal_state) and what is wanted. Gradients are written, not added. A null wanted pointer is not
/// computed.
template <typename T>
struct SelectiveScanGradients {
  const T* dy = nullptr;                  ///< [T, E]
  const Wide<T>* dfinal_state = nullptr;  ///< [S, E, N] or null: 0
  T* dx = nullptr;                        ///< [T, E]
  T* ddelta = nullptr;                    ///< [T, E]
  Wide<T>* dA = nullptr;                  ///< [E, N]
  T* dB = nullptr;                        ///< [T, N]
  T* dC = nullptr;                        ///< [T, N]
  Wide<T>* dD = nullptr;                  ///< [E]; null when D is
  T* dz = nullptr;                        ///< [T, E]; null when z is
  Wide<T>* ddelta_bias = nullptr;         ///< [E]; null when delta_bias is
  Wide<T>* dinitial_state = nullptr;      ///< [S, E, N] or null
  const Wide<T>* run_starts = nullptr;    ///< see scan_run_starts. GPUs alone, and there it must be given
};

/// What the forward pass on GPUs leaves for the backward pass: the states at the starts of runs of 2^shift tokens,
/// [groups of states, places, E, group]. Those of sequence s stand at the places from (offsets[s] >> shift) + s on.
struct ScanRunStarts {
  std::int64_t groups, places, channels, group;
  int shift;

  [[nodiscard]] std::int64_t size() const { return groups * places * channels * group; }
};

/// By the sizes alone: tokens and sequences in all.
inline ScanRunStarts scan_run_starts(std::int64_t tokens, std::int64_t sequences, std::int64_t channels,
                                     std::int64_t states) {
  // Long runs where there are many tokens: less to carry. Short ones where there are few: more to do side by side.
  const std::int64_t work = tokens * channels, group = states <= 8 ? 8 : 16;
  const int shift = work >= std::int64_t{7} << 23 ? 8 : work >= std::int64_t{1} << 24 ? 7 : 6;
  return {(states + group - 1) / group, (tokens >> shift) + sequences, channels, group, shift};
}

// Every function: T = float or double. @throws std::invalid_argument for sizes outside the ranges above or missing
// pointers.

/// The definition, as plain loops in double precision whatever T is; what the others are tested against.
namespace reference {
template <typename T>
void selective_scan(const SelectiveScanInputs<T>& in, const SelectiveScanOutputs<T>& out);
template <typename T>
void selective_scan_backward(const SelectiveScanInputs<T>& in, const SelectiveScanGradients<T>& gradients);
}  // namespace reference

/// Vectorised over channels, parallel over sequences and blocks of channels. States stay in T; the result does not
/// depend on the number of threads, and y and final_state do not depend, in any bit, on where a sequence is cut.
namespace cpu {
template <typename T>
void selective_scan(const SelectiveScanInputs<T>& in, const SelectiveScanOutputs<T>& out, const ParallelFor& parallel);

/// Bytes of workspace that selective_scan_backward needs (64-byte aligned by the caller).
template <typename T>
std::int64_t selective_scan_backward_workspace(const SelectiveScanInputs<T>& in);
template <typename T>
void selective_scan_backward(const SelectiveScanInputs<T>& in, const SelectiveScanGradients<T>& gradients,
                             void* workspace, const ParallelFor& parallel);
}  // namespace cpu

/// T = float or BFloat16, states and sums in float. Pointers to the device's memory; work is put on the stream and not
/// waited for. Parallel over the length too: the result does not depend on the device, and on where a sequence is cut
/// only by rounding.
namespace cuda {
/// Bytes of workspace that selective_scan needs (256-byte aligned by the caller).
template <typename T>
std::int64_t selective_scan_workspace(const SelectiveScanInputs<T>& in);
template <typename T>
void selective_scan(const SelectiveScanInputs<T>& in, const SelectiveScanOutputs<T>& out, void* workspace,
                    Stream stream);
/// The forward pass's run_starts alone. Workspace as of selective_scan.
template <typename T>
void selective_scan_run_starts(const SelectiveScanInputs<T>& in, float* run_starts, void* workspace, Stream stream);
template <typename T>
std::int64_t selective_scan_backward_workspace(const SelectiveScanInputs<T>& in);
template <typename T>
void selective_scan_backward(const SelectiveScanInputs<T>& in, const SelectiveScanGradients<T>& gradients,
                             void* workspace, Stream stream);
}  // namespace cuda

}  // namespace dnamamba::kernels
