// Depthwise causal convolution over ragged sequences with its state, forward and backward. For channel e:
//   v[t] = bias + sum over k of weight[k] * x[t - (K-1) + k];   y[t] = silu(v[t]) or v[t]
// Left of a sequence's first token stands its initial state, or zeros. weight[K-1] multiplies the current token.
#pragma once
#include <cstdint>

#include "kernels/parallel.h"
#include "kernels/ragged.h"
#include "kernels/stream.h"
#include "kernels/types.h"

namespace dnamamba::kernels {

/// T = tokens, S = sequences, E = channels, K = width (1 … 64; 2 … 4 are the fast ones). States hold the last K-1
/// inputs in the order in which they are read, oldest first. `reverse`: every sequence is read from its last token to
/// its first.
template <typename T>
struct CausalConv1dInputs {
  Ragged ragged;
  std::int64_t channels = 0;
  std::int64_t width = 0;
  const T* x = nullptr;                    ///< [T, E]
  const Wide<T>* weight = nullptr;         ///< [E, K]
  const Wide<T>* bias = nullptr;           ///< [E] or null
  const Wide<T>* initial_state = nullptr;  ///< [S, K-1, E] or null: zeros
  bool silu = true;
  bool reverse = false;
  std::int64_t x_row = 0;  ///< from a row of x to the next; 0: they lie end to end

  [[nodiscard]] std::int64_t x_step() const { return x_row > 0 ? x_row : channels; }
};

/// y and final_state may not alias an input.
template <typename T>
struct CausalConv1dOutputs {
  T* y = nullptr;                  ///< [T, E]
  Wide<T>* final_state = nullptr;  ///< [S, K-1, E] or null; with fewer than K-1 tokens, the initial state moves up
};

/// Gradients are written, not added; a null wanted pointer is not computed.
template <typename T>
struct CausalConv1dGradients {
  const T* dy = nullptr;                  ///< [T, E]
  const Wide<T>* dfinal_state = nullptr;  ///< [S, K-1, E] or null: 0
  T* dx = nullptr;                        ///< [T, E]
  Wide<T>* dweight = nullptr;             ///< [E, K]
  Wide<T>* dbias = nullptr;               ///< [E]; null when bias is
  Wide<T>* dinitial_state = nullptr;      ///< [S, K-1, E] or null
};

// Every function: T = float or double. @throws std::invalid_argument for sizes outside the ranges above or missing
// pointers.

namespace reference {
template <typename T>
void causal_conv1d(const CausalConv1dInputs<T>& in, const CausalConv1dOutputs<T>& out);
template <typename T>
void causal_conv1d_backward(const CausalConv1dInputs<T>& in, const CausalConv1dGradients<T>& gradients);
}  // namespace reference

namespace cpu {
template <typename T>
void causal_conv1d(const CausalConv1dInputs<T>& in, const CausalConv1dOutputs<T>& out, const ParallelFor& parallel);
template <typename T>
std::int64_t causal_conv1d_backward_workspace(const CausalConv1dInputs<T>& in);  ///< bytes
template <typename T>
void causal_conv1d_backward(const CausalConv1dInputs<T>& in, const CausalConv1dGradients<T>& gradients, void* workspace,
                            const ParallelFor& parallel);
}  // namespace cpu

/// T = float or BFloat16, states and sums in float. Pointers to the device's memory; work is put on the stream and not
/// waited for.
namespace cuda {
template <typename T>
void causal_conv1d(const CausalConv1dInputs<T>& in, const CausalConv1dOutputs<T>& out, Stream stream);
template <typename T>
std::int64_t causal_conv1d_backward_workspace(const CausalConv1dInputs<T>& in);  ///< bytes
template <typename T>
void causal_conv1d_backward(const CausalConv1dInputs<T>& in, const CausalConv1dGradients<T>& gradients, void* workspace,
                            Stream stream);
}  // namespace cuda

}  // namespace dnamamba::kernels
