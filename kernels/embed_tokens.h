// Byte tokens to vectors, and the deterministic gradient of the table: out[t] = table[token[t]].
#pragma once
#include <cstdint>

#include "kernels/parallel.h"

namespace dnamamba::kernels {

/// T = tokens, V = vocabulary (1 … 256), D = width.
struct EmbedTokensSizes {
  std::int64_t tokens = 0;
  std::int64_t vocabulary = 0;
  std::int64_t width = 0;
};

// Every function: T = float or double. @throws std::invalid_argument for bad sizes, missing pointers, or a token not
// below V.

namespace reference {
template <typename T>
void embed_tokens(const EmbedTokensSizes& sizes, const std::uint8_t* tokens /* [T] */, const T* table /* [V, D] */,
                  T* out /* [T, D] */);
template <typename T>
void embed_tokens_backward(const EmbedTokensSizes& sizes, const std::uint8_t* tokens /* [T] */,
                           const T* dout /* [T, D] */, T* dtable /* [V, D], written */);
}  // namespace reference

namespace cpu {
template <typename T>
void embed_tokens(const EmbedTokensSizes& sizes, const std::uint8_t* tokens, const T* table, T* out,
                  const ParallelFor& parallel);
template <typename T>
std::int64_t embed_tokens_backward_workspace(const EmbedTokensSizes& sizes);  ///< bytes
template <typename T>
void embed_tokens_backward(const EmbedTokensSizes& sizes, const std::uint8_t* tokens, const T* dout, T* dtable,
                           void* workspace, const ParallelFor& parallel);
}  // namespace cpu

}  // namespace dnamamba::kernels
