// Language-model head and cross-entropy for a small vocabulary, logits never stored. For token t with weight w[t]:
//   logits = hidden[t] · weightᵀ;   loss[t] = w[t] * (logsumexp(logits) - logits[target[t]])
// A token of weight 0 is not computed at all: its loss and its gradients are exactly 0, whatever hidden[t] and
// target[t] hold.
#pragma once
#include <cstdint>

#include "kernels/parallel.h"
#include "kernels/stream.h"
#include "kernels/types.h"

namespace dnamamba::kernels {

/// T = tokens, D = width, V = vocabulary (1 … 1024).
template <typename T>
struct TokenLossInputs {
  std::int64_t tokens = 0;
  std::int64_t width = 0;
  std::int64_t vocabulary = 0;
  const T* hidden = nullptr;              ///< [T, D]
  const Wide<T>* weight = nullptr;        ///< [V, D]
  const std::uint8_t* targets = nullptr;  ///< [T] ids below V
  const float* token_weights = nullptr;   ///< [T] or null: 1 each
};

template <typename T>
struct TokenLossOutputs {
  Wide<T>* loss = nullptr;  ///< [T] in nats, times the token's weight
};

template <typename T>
struct TokenLossGradients {
  const Wide<T>* dloss = nullptr;  ///< [T] the gradient of each token's loss
  T* dhidden = nullptr;            ///< [T, D] or null
  Wide<T>* dweight = nullptr;      ///< [V, D] or null
};

// Every function: T = float or double. @throws std::invalid_argument for bad sizes, missing pointers, or a target not
// below V (on a token of weight other than 0).

namespace reference {
template <typename T>
void token_loss(const TokenLossInputs<T>& in, const TokenLossOutputs<T>& out);
template <typename T>
void token_loss_backward(const TokenLossInputs<T>& in, const TokenLossGradients<T>& gradients);
}  // namespace reference

namespace cpu {
template <typename T>
void token_loss(const TokenLossInputs<T>& in, const TokenLossOutputs<T>& out, const ParallelFor& parallel);
template <typename T>
std::int64_t token_loss_backward_workspace(const TokenLossInputs<T>& in);  ///< bytes
template <typename T>
void token_loss_backward(const TokenLossInputs<T>& in, const TokenLossGradients<T>& gradients, void* workspace,
                         const ParallelFor& parallel);
}  // namespace cpu

/// T = float or BFloat16, losses and sums in float. Pointers to the device's memory; work is put on the stream and not
/// waited for. A device can't throw: where a target is not below V, and the token's weight not 0, the loss is NaN, and
/// so are gradients.
namespace cuda {
template <typename T>
void token_loss(const TokenLossInputs<T>& in, const TokenLossOutputs<T>& out, Stream stream);
template <typename T>
std::int64_t token_loss_backward_workspace(const TokenLossInputs<T>& in);  ///< bytes
template <typename T>
void token_loss_backward(const TokenLossInputs<T>& in, const TokenLossGradients<T>& gradients, void* workspace,
                         Stream stream);
}  // namespace cuda

}  // namespace dnamamba::kernels
