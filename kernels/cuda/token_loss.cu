#include "kernels/token_loss.h"

#include "kernels/arguments.h"
#include "kernels/cuda/device.cuh"
#include "kernels/cuda/sum_rows.cuh"
#include "kernels/cuda/token_loss_bf16.cuh"
#include "kernels/cuda/vectors.cuh"

// A warp has four tokens at a time, its lanes the columns: what is read of the weight serves all four. The sums of 4
// tokens and 16 rows of the weight are then spread over the lanes, two for each, and so eight lanes have a token's
// logits. Backward, a tile's logit gradients go to shared memory, and threads turn to columns: of dhidden, and of
// dweight, whose sums stay in registers over all the tiles of a block.
namespace dnamamba::kernels::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kChunk = 16;                        // rows of the weight whose logits are computed together
constexpr int kTokens = 4;                        // of a warp
constexpr int kTokenLanes = 32 / kTokens;         // lanes that have a token's logits
constexpr std::int64_t kMostShared = 200 * 1024;  // bytes of shared memory
constexpr std::int64_t kMostSums = 1 << 25;       // floats of the sums of all blocks
constexpr float kInfinity = __builtin_huge_valf();

__device__ __forceinline__ int lane() {
  return static_cast<int>(threadIdx.x) % 32;
}

/// The rows of the weight: in shared memory, with zeros in the last chunk, or where they are.
template <bool kShared>
struct WeightRows {
  const float* values;
  int vocabulary;
  std::int64_t width;

  __device__ __forceinline__ const float* row(int v) const {
    return values + (kShared ? v : min(v, vocabulary - 1)) * width;
  }
};

/// Copies the weight to shared memory, [rows, width].
template <typename T>
__device__ void copy_weight(const TokenLossInputs<T>& in, int rows, float* to) {
  const std::int64_t values = in.vocabulary * in.width;
  for (std::int64_t i = threadIdx.x; i < rows * in.width; i += blockDim.x) to[i] = i < values ? in.weight[i] : 0.0F;
}

/// A lane's token of the four that begin at `first`.
template <typename T>
struct LaneToken {
  std::int64_t first, token;
  float weight = 0;
  int target = 0;
  unsigned counting;  ///< a bit for each lane

  __device__ __forceinline__ LaneToken(const TokenLossInputs<T>& in, std::int64_t first)
      : first(first), token(first + lane() / kTokenLanes) {
    if (token < in.tokens) weight = in.token_weights == nullptr ? 1.0F : in.token_weights[token];
    if (weight != 0) target = in.targets[token];
    counting = __ballot_sync(0xffffffffU, weight != 0);
  }
  /// Of token `first + j`.
  __device__ __forceinline__ bool counts(int j) const { return (counting >> (j * kTokenLanes) & 1U) != 0; }
  /// The row of the weight that the lane's logit i of a chunk belongs to.
  __device__ __forceinline__ static int row(int chunk, int i) { return chunk * kChunk + lane() % kTokenLanes * 2 + i; }
};

/// Spreads sums over the lanes: lane l gets the sums over all lanes of the values 2 l and 2 l + 1. kKept: how many of
/// its values a lane keeps; those of the other half it gives to a lane that keeps them.
template <int kKept = 32>
__device__ __forceinline__ void spread_sums(float (&values)[2 * 32]) {
  const bool upper = (lane() & (kKept / 2)) != 0;
#pragma unroll
  for (int i = 0; i < kKept; ++i) {
    const float mine = upper ? values[kKept + i] : values[i];
    const float others = upper ? values[i] : values[kKept + i];
    values[i] = mine + __shfl_xor_sync(0xffffffffU, others, kKept / 2);
  }
  if constexpr (kKept > 2) spread_sums<kKept / 2>(values);
}

template <int kVector, typename T>
__device__ __forceinline__ void load_hidden(const TokenLossInputs<T>& in, const LaneToken<T>& own, std::int64_t column,
                                            Packed<T, kVector> (&hidden)[kTokens]) {
#pragma unroll
  for (int j = 0; j < kTokens; ++j) {
    hidden[j] = {};
    if (own.counts(j) && column < in.width) {
      hidden[j] = load_packed<kVector>(in.hidden + (own.first + j) * in.width + column);
    }
  }
}

/// The lane's two logits of a chunk of its token: -infinity beyond the vocabulary, anything if the token doesn't count.
template <int kVector, bool kShared, typename T>
__device__ __forceinline__ void compute_logits(const TokenLossInputs<T>& in, const WeightRows<kShared>& weight,
                                               const LaneToken<T>& own, int chunk, float (&logits)[2]) {
  float sums[kTokens * kChunk] = {};
  Packed<T, kVector> next[kTokens];
  load_hidden<kVector>(in, own, lane() * kVector, next);
  for (std::int64_t column = lane() * kVector; column < in.width; column += 32 * kVector) {
    float hidden[kTokens][kVector];
#pragma unroll
    for (int j = 0; j < kTokens; ++j) unpack(next[j], hidden[j]);
    load_hidden<kVector>(in, own, column + 32 * kVector, next);
#pragma unroll
    for (int v = 0; v < kChunk; ++v) {
      float row[kVector];
      unpack(read_packed<kVector>(weight.row(chunk * kChunk + v) + column), row);
#pragma unroll
      for (int j = 0; j < kTokens; ++j) {
#pragma unroll
        for (int i = 0; i < kVector; ++i) sums[j * kChunk + v] = fmaf(hidden[j][i], row[i], sums[j * kChunk + v]);
      }
    }
  }
  spread_sums(sums);
#pragma unroll
  for (int i = 0; i < 2; ++i) logits[i] = LaneToken<T>::row(chunk, i) < weight.vocabulary ? sums[i] : -kInfinity;
}

__device__ __forceinline__ float exponential(float x) {
  return exp2_fast(x * kLog2E);
}

/// log(sum(exp(logits))) of a lane's token, chunk by chunk; the same in all of its lanes.
struct LogSum {
  float largest = -kInfinity;
  float sum = 0;     ///< of exp(logit - largest)
  float target = 0;  ///< the target's logit

  /// `row`: of the first of the two logits.
  __device__ __forceinline__ void add(const float (&logits)[2], int row, int target_row) {
    float most = fmaxf(logits[0], logits[1]);
    float of_target = row == target_row ? logits[0] : row + 1 == target_row ? logits[1] : 0.0F;
#pragma unroll
    for (int distance = kTokenLanes / 2; distance > 0; distance /= 2) {
      most = fmaxf(most, __shfl_xor_sync(0xffffffffU, most, distance));
      of_target += __shfl_xor_sync(0xffffffffU, of_target, distance);
    }
    most = fmaxf(most, largest);
    float added = exponential(logits[0] - most) + exponential(logits[1] - most);
#pragma unroll
    for (int distance = kTokenLanes / 2; distance > 0; distance /= 2) {
      added += __shfl_xor_sync(0xffffffffU, added, distance);
    }
    sum = sum * exponential(largest - most) + added;
    largest = most;
    target += of_target;
  }
  __device__ __forceinline__ float loss() const {
    return logf(sum) - (target - largest);
  }
};

template <typename T, int kVector, bool kShared>
__global__ void __launch_bounds__(kThreads, 2)
    forward(const __grid_constant__ TokenLossInputs<T> in, const __grid_constant__ TokenLossOutputs<T> out) {
  extern __shared__ __align__(16) float shared[];
  const int vocabulary = static_cast<int>(in.vocabulary), chunks = (vocabulary + kChunk - 1) / kChunk;
  if constexpr (kShared) {
    copy_weight(in, chunks * kChunk, shared);
    __syncthreads();
  }
  const WeightRows<kShared> weight{kShared ? shared : in.weight, vocabulary, in.width};
  const std::int64_t warps = static_cast<std::int64_t>(gridDim.x) * (kThreads / 32);
  const std::int64_t warp = static_cast<std::int64_t>(blockIdx.x) * (kThreads / 32) + threadIdx.x / 32;
  for (std::int64_t first = warp * kTokens; first < in.tokens; first += warps * kTokens) {
    const LaneToken<T> own(in, first);
    LogSum logits;
    for (int chunk = 0; own.counting != 0 && chunk < chunks; ++chunk) {
      float of_chunk[2];
      compute_logits<kVector>(in, weight, own, chunk, of_chunk);
      logits.add(of_chunk, LaneToken<T>::row(chunk, 0), own.target);
    }
    if (lane() % kTokenLanes != 0 || own.token >= in.tokens) continue;
    const float loss = own.weight * logits.loss() * not_a_number_unless(own.target < vocabulary);
    out.loss[own.token] = own.weight == 0 ? 0.0F : loss;
  }
}

/// What turns a logit of the lane's token into its gradient: weight * dloss * (softmax - [the row is the target]).
template <typename T>
struct LogitGradient {
  float factor, largest, scale;
  int target;

  __device__ __forceinline__ LogitGradient(const TokenLossInputs<T>& in, const float* dloss, const LaneToken<T>& own,
                                           const LogSum& logits)
      : factor(0), largest(logits.largest), scale(1.0F / logits.sum), target(own.target) {
    if (own.weight != 0) factor = own.weight * dloss[own.token] * not_a_number_unless(target < in.vocabulary);
    if (own.weight == 0) target = -1;
  }
  /// Exactly 0 if the token doesn't count: `counts` is a token's weight.
  __device__ __forceinline__ float of(float logit, int row, float counts) const {
    const float gradient = factor * (exponential(logit - largest) * scale - (row == target ? 1.0F : 0.0F));
    return counts == 0 ? 0.0F : gradient;
  }
};

constexpr int kTile = 64;          // tokens of a block at a time, backward
constexpr int kMostThreads = 512;  // of a block, backward

/// The sizes that the fast backward pass comes in: the vocabulary in registers, kColumns columns in a thread.
template <int kVocabulary>
constexpr int kColumns = 32 / kVocabulary;

/// Logit gradients of a tile, [kTile, kVocabulary], and whether tokens count. All warps of the block work at it.
template <int kVector, int kVocabulary, typename T>
__device__ __forceinline__ void tile_gradients(const TokenLossInputs<T>& in, const float* dloss,
                                               const WeightRows<true>& weight, std::int64_t first, float* dlogits,
                                               bool* counts) {
  constexpr int kChunks = kVocabulary / kChunk;
  for (int at = static_cast<int>(threadIdx.x) / 32 * kTokens; at < kTile;
       at += static_cast<int>(blockDim.x) / 32 * kTokens) {
    const LaneToken<T> own(in, first + at);
    float logits[kChunks][2] = {};
    LogSum sum;
#pragma unroll
    for (int chunk = 0; chunk < kChunks; ++chunk) {
      if (own.counting == 0) continue;
      compute_logits<kVector>(in, weight, own, chunk, logits[chunk]);
      sum.add(logits[chunk], LaneToken<T>::row(chunk, 0), own.target);
    }
    const LogitGradient<T> gradient(in, dloss, own, sum);
    const int token = at + lane() / kTokenLanes;
    if (lane() % kTokenLanes == 0) counts[token] = own.weight != 0;
#pragma unroll
    for (int chunk = 0; chunk < kChunks; ++chunk) {
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        const int row = LaneToken<T>::row(chunk, i);
        dlogits[token * kVocabulary + row] = gradient.of(logits[chunk][i], row, own.weight);
      }
    }
  }
}

/// A thread's columns, `stride` apart, and its sums of dweight.
template <typename T, int kVocabulary>
struct ColumnWalk {
  static constexpr int kCount = kColumns<kVocabulary>;
  static constexpr int kBatch = 4;  // tokens that are loaded together
  const TokenLossInputs<T>& in;
  T* dhidden;
  int column, stride;
  float dweight[kVocabulary][kCount] = {};

  __device__ __forceinline__ bool has(int k) const { return column + k * stride < in.width; }

  /// Tokens group, group + groups ... below `count` of the tile that begins at token `first`.
  __device__ __forceinline__ void tile(const WeightRows<true>& weight, const float* dlogits, const bool* counts,
                                       std::int64_t first, int group, int groups, int count) {
    float rows[kVocabulary][kCount];
#pragma unroll
    for (int v = 0; v < kVocabulary; ++v) {
#pragma unroll
      for (int k = 0; k < kCount; ++k) rows[v][k] = has(k) ? weight.row(v)[column + k * stride] : 0.0F;
    }
    for (int t = group; t < count; t += kBatch * groups) {
      float hidden[kBatch][kCount];
#pragma unroll
      for (int b = 0; b < kBatch; ++b) {
        const int token = t + b * groups;
#pragma unroll
        for (int k = 0; k < kCount; ++k) {
          const bool wanted = token < count && has(k) && counts[token];
          hidden[b][k] = wanted ? load(in.hidden + (first + token) * in.width + column + k * stride) : 0.0F;
        }
      }
#pragma unroll
      for (int b = 0; b < kBatch; ++b) {
        const int token = t + b * groups;
        if (token < count) add(rows, dlogits + token * kVocabulary, hidden[b], counts[token], first + token);
      }
    }
  }

  __device__ __forceinline__ void add(const float (&rows)[kVocabulary][kCount], const float* dlogits,
                                      const float (&hidden)[kCount], bool counts, std::int64_t token) {
    float sums[kCount] = {};
#pragma unroll
    for (int v = 0; v < kVocabulary; v += 4) {
      float four[4];
      unpack(read_packed<4>(dlogits + v), four);
#pragma unroll
      for (int i = 0; i < 4; ++i) {
#pragma unroll
        for (int k = 0; k < kCount; ++k) {
          sums[k] = fmaf(four[i], rows[v + i][k], sums[k]);
          dweight[v + i][k] = fmaf(four[i], hidden[k], dweight[v + i][k]);
        }
      }
    }
    if (dhidden == nullptr) return;
#pragma unroll
    for (int k = 0; k < kCount; ++k) {
      if (has(k)) store(counts ? sums[k] : 0.0F, dhidden + token * in.width + column + k * stride);
    }
  }
};

/// `stride` threads have all columns; as many groups of them as a block has share its tokens, and each group writes
/// sums of its own: dweight [blocks * groups, V, D].
template <typename T, int kVector, int kVocabulary>
__global__ void __launch_bounds__(kMostThreads)
    backward(const __grid_constant__ TokenLossInputs<T> in, const __grid_constant__ TokenLossGradients<T> out,
             int stride, float* dweight) {
  extern __shared__ __align__(16) float shared[];
  __shared__ __align__(16) float dlogits[kTile * kVocabulary];
  __shared__ bool counts[kTile];
  copy_weight(in, kVocabulary, shared);
  __syncthreads();
  const WeightRows<true> weight{shared, static_cast<int>(in.vocabulary), in.width};
  const int groups = static_cast<int>(blockDim.x) / stride, group = static_cast<int>(threadIdx.x) / stride;
  ColumnWalk<T, kVocabulary> walk{in, out.dhidden, static_cast<int>(threadIdx.x) % stride, stride};
  const std::int64_t step = static_cast<std::int64_t>(gridDim.x) * kTile;
#pragma unroll 1
  for (std::int64_t first = static_cast<std::int64_t>(blockIdx.x) * kTile; first < in.tokens; first += step) {
    tile_gradients<kVector, kVocabulary>(in, out.dloss, weight, first, dlogits, counts);
    __syncthreads();
    const int count = static_cast<int>(min(std::int64_t{kTile}, in.tokens - first));
    if (group < groups) walk.tile(weight, dlogits, counts, first, group, groups, count);
    __syncthreads();
  }
  if (group >= groups) return;
  float* const to = dweight + (static_cast<std::int64_t>(blockIdx.x) * groups + group) * in.vocabulary * in.width;
#pragma unroll
  for (int v = 0; v < kVocabulary; ++v) {
#pragma unroll
    for (int k = 0; k < kColumns<kVocabulary>; ++k) {
      if (v < in.vocabulary && walk.has(k)) to[v * in.width + walk.column + k * stride] = walk.dweight[v][k];
    }
  }
}

// Any vocabulary and width: the weight stays where it is, and the sums of dweight are in memory too.

constexpr int kSmallTile = 16;

/// Logit gradients of four tokens of a small tile, [V, kSmallTile], by one warp.
template <typename T>
__device__ void small_tile_gradients(const TokenLossInputs<T>& in, const float* dloss, std::int64_t first, int at,
                                     float* dlogits, bool* counts) {
  const WeightRows<false> weight{in.weight, static_cast<int>(in.vocabulary), in.width};
  const int chunks = (weight.vocabulary + kChunk - 1) / kChunk, token = at + lane() / kTokenLanes;
  const LaneToken<T> own(in, first + at);
  LogSum sum;
  for (int chunk = 0; chunk < chunks; ++chunk) {
    float logits[2];
    compute_logits<1>(in, weight, own, chunk, logits);
    sum.add(logits, LaneToken<T>::row(chunk, 0), own.target);
    for (int i = 0; i < 2; ++i) {
      const int row = LaneToken<T>::row(chunk, i);
      if (row < weight.vocabulary) dlogits[row * kSmallTile + token] = logits[i];
    }
  }
  const LogitGradient<T> gradient(in, dloss, own, sum);
  if (lane() % kTokenLanes == 0) counts[token] = own.weight != 0;
  for (int chunk = 0; chunk < chunks; ++chunk) {
    for (int i = 0; i < 2; ++i) {
      const int row = LaneToken<T>::row(chunk, i);  // the lane's own logits
      if (row >= weight.vocabulary) continue;
      float& value = dlogits[row * kSmallTile + token];
      value = gradient.of(value, row, own.weight);
    }
  }
}

/// One column of dhidden for a small tile, and of dweight, to which the tile's part is added.
template <typename T>
__device__ void small_tile_column(const TokenLossInputs<T>& in, T* dhidden, const float* dlogits, const bool* counts,
                                  std::int64_t first, std::int64_t column, float* dweight) {
  float hidden[kSmallTile], sums[kSmallTile] = {};
#pragma unroll
  for (int t = 0; t < kSmallTile; ++t) {
    hidden[t] = counts[t] ? load(in.hidden + (first + t) * in.width + column) : 0.0F;
  }
  for (std::int64_t v = 0; v < in.vocabulary; ++v) {
    const float weight = __ldg(in.weight + v * in.width + column);
    float sum = 0;
#pragma unroll
    for (int t = 0; t < kSmallTile; ++t) {
      const float dlogit = dlogits[v * kSmallTile + t];
      sums[t] = fmaf(dlogit, weight, sums[t]);
      sum = fmaf(dlogit, hidden[t], sum);
    }
    dweight[v * in.width + column] += sum;
  }
  if (dhidden == nullptr) return;
#pragma unroll
  for (int t = 0; t < kSmallTile; ++t) {
    if (first + t < in.tokens) store(counts[t] ? sums[t] : 0.0F, dhidden + (first + t) * in.width + column);
  }
}

/// dweight [blocks, V, D].
template <typename T>
__global__ void __launch_bounds__(kThreads)
    backward_of_any_size(const __grid_constant__ TokenLossInputs<T> in,
                         const __grid_constant__ TokenLossGradients<T> out, float* dweight) {
  extern __shared__ __align__(16) float dlogits[];
  __shared__ bool counts[kSmallTile];
  float* const sums = dweight + blockIdx.x * in.vocabulary * in.width;
  for (std::int64_t i = threadIdx.x; i < in.vocabulary * in.width; i += kThreads) sums[i] = 0;
  const int at = static_cast<int>(threadIdx.x) / 32 * kTokens;
  const std::int64_t step = static_cast<std::int64_t>(gridDim.x) * kSmallTile;
  for (std::int64_t first = static_cast<std::int64_t>(blockIdx.x) * kSmallTile; first < in.tokens; first += step) {
    if (at < kSmallTile) small_tile_gradients(in, out.dloss, first, at, dlogits, counts);
    __syncthreads();
    for (std::int64_t column = threadIdx.x; column < in.width; column += kThreads) {
      small_tile_column(in, out.dhidden, dlogits, counts, first, column, sums);
    }
    __syncthreads();
  }
}

// Launches.

/// Lets a kernel have more than the 48 kB of shared memory that all have.
template <typename Kernel>
void allow_shared(Kernel* kernel, std::int64_t bytes) {
  if (bytes <= 48 * 1024) return;
  cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(bytes));
}

template <typename T>
std::int64_t weight_bytes(const TokenLossInputs<T>& in, std::int64_t rows) {
  return rows * in.width * static_cast<std::int64_t>(sizeof(float));
}

template <int kVector, bool kShared, typename T>
void launch_forward(const TokenLossInputs<T>& in, const TokenLossOutputs<T>& out, std::int64_t bytes, Stream stream) {
  constexpr int kTokensOfBlock = kThreads / 32 * kTokens;
  const std::int64_t blocks = std::min<std::int64_t>(ceil_div(in.tokens, kTokensOfBlock), 132 * 8);
  allow_shared(forward<T, kVector, kShared>, bytes);
  forward<T, kVector, kShared>
      <<<static_cast<unsigned>(blocks), kThreads, static_cast<unsigned>(bytes), stream>>>(in, out);
}

/// How the backward pass is cut, by sizes alone.
struct BackwardPlan {
  int vocabulary = 0;  ///< 16 or 32 rows in registers; 0: any size
  int stride = 0;      ///< threads that have all columns
  int threads = kThreads;
  std::int64_t blocks = 1, parts = 1;
};

template <typename T>
BackwardPlan plan_of(const TokenLossInputs<T>& in) {
  BackwardPlan plan;
  const std::int64_t size = in.vocabulary * in.width;
  if (in.vocabulary <= 16 && in.width <= 2 * kMostThreads) plan.vocabulary = 16;
  if (in.vocabulary > 16 && in.vocabulary <= 32 && in.width <= kMostThreads) plan.vocabulary = 32;
  std::int64_t groups = 1;
  if (plan.vocabulary > 0) {
    plan.stride = static_cast<int>(ceil_div(ceil_div(in.width, 32 / plan.vocabulary), 32) * 32);
    plan.threads = std::max(kThreads, plan.stride);
    groups = plan.threads / plan.stride;
  }
  const std::int64_t tiles = ceil_div(in.tokens, plan.vocabulary > 0 ? kTile : kSmallTile);
  const std::int64_t most = std::max<std::int64_t>(1, std::min<std::int64_t>(132 * 4, kMostSums / (size * groups)));
  plan.blocks = std::clamp<std::int64_t>(tiles, 1, most);
  plan.parts = plan.blocks * groups;
  return plan;
}

template <int kVector, int kVocabulary, typename T>
void launch_backward(const TokenLossInputs<T>& in, const TokenLossGradients<T>& out, const BackwardPlan& plan,
                     float* dweight, Stream stream) {
  const std::int64_t bytes = weight_bytes(in, kVocabulary);
  allow_shared(backward<T, kVector, kVocabulary>, bytes);
  backward<T, kVector, kVocabulary>
      <<<static_cast<unsigned>(plan.blocks), plan.threads, static_cast<unsigned>(bytes), stream>>>(in, out, plan.stride,
                                                                                                   dweight);
}

/// How many sums of dweight it leaves.
template <typename T>
std::int64_t launch_any_backward(const TokenLossInputs<T>& in, const TokenLossGradients<T>& out, float* dweight,
                                 Stream stream) {
  if constexpr (std::is_same_v<T, BFloat16>) {
    if (token_loss_bf16::serves(in, out.dhidden)) {
      token_loss_bf16::launch_backward(in, out, dweight, stream);
      return token_loss_bf16::backward_blocks(in.tokens);
    }
  }
  const BackwardPlan plan = plan_of(in);
  const bool vectors = vectors_fit<T>(4, in.width, {in.hidden});
  if (plan.vocabulary == 16) {
    vectors ? launch_backward<4, 16>(in, out, plan, dweight, stream)
            : launch_backward<1, 16>(in, out, plan, dweight, stream);
  } else if (plan.vocabulary == 32) {
    vectors ? launch_backward<4, 32>(in, out, plan, dweight, stream)
            : launch_backward<1, 32>(in, out, plan, dweight, stream);
  } else {
    const std::int64_t bytes = in.vocabulary * kSmallTile * static_cast<std::int64_t>(sizeof(float));
    allow_shared(backward_of_any_size<T>, bytes);
    backward_of_any_size<T>
        <<<static_cast<unsigned>(plan.blocks), kThreads, static_cast<unsigned>(bytes), stream>>>(in, out, dweight);
  }
  return plan.parts;
}

}  // namespace

template <typename T>
void token_loss(const TokenLossInputs<T>& in, const TokenLossOutputs<T>& out, Stream stream) {
  check(in, out);
  if (in.tokens == 0) return;
  if constexpr (std::is_same_v<T, BFloat16>) {
    if (token_loss_bf16::serves(in, nullptr)) {
      token_loss_bf16::launch_forward(in, out, stream);
      return check_launch("token_loss");
    }
  }
  const std::int64_t bytes = weight_bytes(in, ceil_div(in.vocabulary, kChunk) * kChunk);
  if (bytes > kMostShared) {
    launch_forward<1, false>(in, out, 0, stream);
  } else if (vectors_fit<T>(4, in.width, {in.hidden})) {
    launch_forward<4, true>(in, out, bytes, stream);
  } else {
    launch_forward<1, true>(in, out, bytes, stream);
  }
  check_launch("token_loss");
}

template <typename T>
std::int64_t token_loss_backward_workspace(const TokenLossInputs<T>& in) {
  require(in.tokens >= 0 && in.width >= 1 && in.vocabulary >= 1, "token_loss: sizes out of range");
  return std::max(plan_of(in).parts, token_loss_bf16::backward_blocks(in.tokens)) * weight_bytes(in, in.vocabulary);
}

template <typename T>
void token_loss_backward(const TokenLossInputs<T>& in, const TokenLossGradients<T>& gradients, void* workspace,
                         Stream stream) {
  check(in, gradients);
  require(workspace != nullptr, "token_loss: the backward pass has no workspace");
  auto* const dweight = static_cast<float*>(workspace);
  const std::int64_t parts = launch_any_backward(in, gradients, dweight, stream);
  check_launch("token_loss_backward");
  sum_rows<float>({{dweight, in.vocabulary * in.width, gradients.dweight}}, parts, stream);
  check_launch("token_loss_backward");
}

#define DNAMAMBA_INSTANTIATE(T)                                                            \
  template void token_loss(const TokenLossInputs<T>&, const TokenLossOutputs<T>&, Stream); \
  template std::int64_t token_loss_backward_workspace(const TokenLossInputs<T>&);          \
  template void token_loss_backward(const TokenLossInputs<T>&, const TokenLossGradients<T>&, void*, Stream);
DNAMAMBA_INSTANTIATE(float)
DNAMAMBA_INSTANTIATE(BFloat16)
#undef DNAMAMBA_INSTANTIATE

}  // namespace dnamamba::kernels::cuda
