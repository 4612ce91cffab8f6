// Byte tokens to vectors, and the deterministic gradient of the table: out[t] = table[token[t]].
#pragma once
#include <cstdint>

#include "kernels/parallel.h"
#include "kernels/stream.h"
#include "kernels/types.h"

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

/// T = float or BFloat16; pointers to the device's memory; work is put on the stream and not waited for. The row of a
/// token that is not below V is NaN: a device can't throw.
namespace cuda {
template <typename T>
void embed_tokens(const EmbedTokensSizes& sizes, const std::uint8_t* tokens, const Wide<T>* table, T* out,
                  Stream stream);
std::int64_t embed_tokens_backward_workspace(const EmbedTokensSizes& sizes);  ///< bytes
template <typename T>
void embed_tokens_backward(const EmbedTokensSizes& sizes, const std::uint8_t* tokens, const T* dout, Wide<T>* dtable,
                           void* workspace, Stream stream);
}  // namespace cuda

}  // namespace dnamamba::kernels
