#include "kernels/arguments.h"
#include "kernels/cuda/device.cuh"
#include "kernels/cuda/sum_rows.cuh"
#include "kernels/cuda/vectors.cuh"
#include "kernels/embed_tokens.h"

// A row of the table is read from a cache and written once: the writes are all that takes time.
namespace dnamamba::kernels::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kTokens = 64;  // of a block
constexpr int kBackwardColumns = 64;

/// kVector neighbours at a time.
template <typename T, int kVector>
__global__ void forward(EmbedTokensSizes sizes, const std::uint8_t* tokens, const Wide<T>* table, T* out) {
  const int vectors = static_cast<int>(sizes.width) / kVector;
  const std::int64_t first = static_cast<std::int64_t>(blockIdx.x) * kTokens;
  const int count = static_cast<int>(min(sizes.tokens - first, static_cast<std::int64_t>(kTokens))) * vectors;
#pragma unroll 4
  for (int i = static_cast<int>(threadIdx.x); i < count; i += kThreads) {
    const int t = i / vectors, d = i % vectors * kVector, token = tokens[first + t];
    float row[kVector];
#pragma unroll
    for (int k = 0; k < kVector; ++k) {
      row[k] = token < sizes.vocabulary ? __ldg(table + token * sizes.width + d + k) : __int_as_float(0x7fffffff);
    }
    store_values(row, out + (first + t) * sizes.width + d);
  }
}

/// Tokens in parts, each with a table of sums of its own: as many as fit into 64 MB.
std::int64_t backward_parts(const EmbedTokensSizes& sizes) {
  const std::int64_t most = (std::int64_t{1} << 24) / (sizes.vocabulary * sizes.width);
  return std::max<std::int64_t>(1, std::min(ceil_div(sizes.tokens, 256), most));
}

/// sums [parts, V, D]. A thread is a column; its sums lie in shared memory, one for each token there is.
template <typename T>
__global__ void backward(EmbedTokensSizes sizes, const std::uint8_t* tokens, const T* dout, std::int64_t part_size,
                         float* sums) {
  extern __shared__ float table[];  // [V, kBackwardColumns]
  const std::int64_t column = static_cast<std::int64_t>(blockIdx.y) * kBackwardColumns + threadIdx.x;
  if (column >= sizes.width) return;
  float* const own = table + threadIdx.x;
  for (int v = 0; v < sizes.vocabulary; ++v) own[v * kBackwardColumns] = 0;
  const std::int64_t first = blockIdx.x * part_size;
  const std::int64_t last = min(first + part_size, sizes.tokens);
#pragma unroll 8
  for (std::int64_t t = first; t < last; ++t) {
    const int token = tokens[t];
    if (token < sizes.vocabulary) own[token * kBackwardColumns] += load(dout + t * sizes.width + column);
  }
  float* const to = sums + blockIdx.x * sizes.vocabulary * sizes.width + column;
  for (int v = 0; v < sizes.vocabulary; ++v) to[v * sizes.width] = own[v * kBackwardColumns];
}

}  // namespace

template <typename T>
void embed_tokens(const EmbedTokensSizes& sizes, const std::uint8_t* tokens, const Wide<T>* table, T* out,
                  Stream stream) {
  check_sizes(sizes);
  if (sizes.tokens == 0) return;
  require(tokens != nullptr && table != nullptr && out != nullptr, "embed_tokens: tokens, table or out is missing");
  const auto blocks = static_cast<unsigned>(ceil_div(sizes.tokens, kTokens));
  if (vectors_fit<T>(4, sizes.width, {out})) {
    forward<T, 4><<<blocks, kThreads, 0, stream>>>(sizes, tokens, table, out);
  } else {
    forward<T, 1><<<blocks, kThreads, 0, stream>>>(sizes, tokens, table, out);
  }
  check_launch("embed_tokens");
}

std::int64_t embed_tokens_backward_workspace(const EmbedTokensSizes& sizes) {
  check_sizes(sizes);
  return backward_parts(sizes) * sizes.vocabulary * sizes.width * static_cast<std::int64_t>(sizeof(float));
}

template <typename T>
void embed_tokens_backward(const EmbedTokensSizes& sizes, const std::uint8_t* tokens, const T* dout, Wide<T>* dtable,
                           void* workspace, Stream stream) {
  check_sizes(sizes);
  require(dtable != nullptr && workspace != nullptr, "embed_tokens: dtable or the workspace is missing");
  require(sizes.tokens == 0 || (tokens != nullptr && dout != nullptr), "embed_tokens: tokens or dout is missing");
  const std::int64_t parts = backward_parts(sizes);
  const dim3 blocks(static_cast<unsigned>(parts), static_cast<unsigned>(ceil_div(sizes.width, kBackwardColumns)));
  const auto shared = static_cast<unsigned>(sizes.vocabulary * kBackwardColumns * sizeof(float));
  auto* const sums = static_cast<float*>(workspace);
  if (shared > 48 * 1024) cudaFuncSetAttribute(backward<T>, cudaFuncAttributeMaxDynamicSharedMemorySize, shared);
  backward<T><<<blocks, kBackwardColumns, shared, stream>>>(sizes, tokens, dout, ceil_div(sizes.tokens, parts), sums);
  check_launch("embed_tokens_backward");
  sum_rows<float>({{sums, sizes.vocabulary * sizes.width, dtable}}, parts, stream);
  check_launch("embed_tokens_backward");
}

#define DNAMAMBA_INSTANTIATE(T)                                                                         \
  template void embed_tokens(const EmbedTokensSizes&, const std::uint8_t*, const Wide<T>*, T*, Stream); \
  template void embed_tokens_backward(const EmbedTokensSizes&, const std::uint8_t*, const T*, Wide<T>*, void*, Stream);
DNAMAMBA_INSTANTIATE(float)
DNAMAMBA_INSTANTIATE(BFloat16)
#undef DNAMAMBA_INSTANTIATE

}  // namespace dnamamba::kernels::cuda
