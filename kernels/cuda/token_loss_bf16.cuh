// token_loss of bf16 activations on tensor cores, for vocabularies of up to 16. A warp computes the logits of 16
// tokens, its lane 4 g + q those of tokens g and 8 + g, of the rows 2q, 2q + 1, 8 + 2q and 9 + 2q of the weight.
// Weights and the gradients of logits enter products as sums of two bf16 numbers, 16 bits of significand. Backward, a
// block has 64 tokens in shared memory; once it has the gradients of their logits, each warp takes some columns: of
// dhidden, and of dweight, whose sums stay in registers over all the tiles of a block.
#pragma once
#include <algorithm>

#include "kernels/cuda/tensor_cores.cuh"
#include "kernels/cuda/vectors.cuh"
#include "kernels/token_loss.h"

namespace dnamamba::kernels::cuda {

/// A target that is no row of the weight spoils what is multiplied by this.
__device__ __forceinline__ float not_a_number_unless(bool fine) {
  return fine ? 1.0F : __int_as_float(0x7fffffff);
}

}  // namespace dnamamba::kernels::cuda

namespace dnamamba::kernels::cuda::token_loss_bf16 {

inline constexpr int kRows = 16;  // of the weight, with zeros behind the last
inline constexpr int kWarpTokens = 16;
inline constexpr int kWarps = 4;
inline constexpr int kThreads = 32 * kWarps;
inline constexpr int kTile = kWarps * kWarpTokens;
inline constexpr int kSlice = 32;       // columns that a warp takes at a time
inline constexpr int kMostWidth = 512;  // the sums of dweight are in registers
inline constexpr int kWeightGap = 32;   // values between the rows of the weight: from other banks
inline constexpr int kHiddenGap = 8;    // and between tokens
inline constexpr int kMostBlocks = 132 * 3;

/// Whether the sizes and addresses are those that are served here.
inline bool serves(const TokenLossInputs<BFloat16>& in, const BFloat16* dhidden) {
  return in.vocabulary <= kRows && in.width <= kMostWidth && in.width % kSlice == 0 &&
         vectors_fit<BFloat16>(8, in.width, {in.hidden, dhidden});
}

/// The weight as sums of two bf16 numbers, in shared memory: [kRows, width + kWeightGap] of the larger parts, and again
/// of what is left.
struct SplitWeight {
  const BFloat16* parts;
  int row;  ///< from a row to the next

  __device__ SplitWeight(const TokenLossInputs<BFloat16>& in, unsigned char* memory)
      : parts(reinterpret_cast<BFloat16*>(memory)), row(static_cast<int>(in.width) + kWeightGap) {
    auto* const to = reinterpret_cast<BFloat16*>(memory);
    const int width = static_cast<int>(in.width);
    for (int i = static_cast<int>(threadIdx.x); i < kRows * width; i += static_cast<int>(blockDim.x)) {
      const int v = i / width, column = i % width;
      const float value = v < in.vocabulary ? in.weight[i] : 0.0F;
      store(value, to + v * row + column);
      store(value - widened(to[v * row + column]), to + (kRows + v) * row + column);
    }
  }
  static constexpr __host__ __device__ int bytes(std::int64_t width) {
    return 2 * kRows * (static_cast<int>(width) + kWeightGap) * static_cast<int>(sizeof(BFloat16));
  }
  /// Eight values of row v: of the larger parts, or of the others.
  __device__ __forceinline__ uint4 eight(int part, int v, int column) const {
    return *reinterpret_cast<const uint4*>(parts + (part * kRows + v) * row + column);
  }
};

/// hidden · weightᵀ of a warp's 16 tokens. `first` and `second` are the rows of hidden of tokens g and 8 + g, null for
/// zeros. The columns are summed in an order in which a lane reads eight neighbours.
template <typename Read>
__device__ __forceinline__ void logits_of(const BFloat16* first, const BFloat16* second, const SplitWeight& weight,
                                          int width, Read&& read, float (&logits)[2][4]) {
  const int g = static_cast<int>(threadIdx.x) % 32 / 4, own = static_cast<int>(threadIdx.x) % 4 * 8;
#pragma unroll 4
  for (int column = own; column < width; column += kSlice) {
    const uint4 low = first != nullptr ? read(first + column) : uint4{};
    const uint4 high = second != nullptr ? read(second + column) : uint4{};
    const std::uint32_t rows[2][4] = {{low.x, high.x, low.y, high.y}, {low.z, high.z, low.w, high.w}};
#pragma unroll
    for (int half = 0; half < 2; ++half) {
#pragma unroll
      for (int part = 0; part < 2; ++part) {
        const uint4 values = weight.eight(part, 8 * half + g, column);
        multiply_add(logits[half], rows[0], {values.x, values.y});
        multiply_add(logits[half], rows[1], {values.z, values.w});
      }
    }
  }
}

/// Over the four lanes that have a token's logits.
__device__ __forceinline__ float most_of_four(float value) {
  value = fmaxf(value, __shfl_xor_sync(~0U, value, 1));
  return fmaxf(value, __shfl_xor_sync(~0U, value, 2));
}
__device__ __forceinline__ float sum_over_four(float value) {
  value += __shfl_xor_sync(~0U, value, 1);
  return value + __shfl_xor_sync(~0U, value, 2);
}

/// What a lane knows of one of its two tokens.
struct LaneToken {
  float weight = 0;  ///< 0: it does not count
  int target = 0;

  __device__ LaneToken(const TokenLossInputs<BFloat16>& in, std::int64_t token) {
    if (token >= in.tokens) return;
    weight = in.token_weights == nullptr ? 1.0F : in.token_weights[token];
    if (weight != 0) target = in.targets[token];
  }
};

/// The logits of a token in a lane: -infinity behind the vocabulary. NaN stays where fmax would drop it: by the sum.
struct TokenLogits {
  float of[4];
  float largest, sum;  ///< of exp(logit - largest)

  /// `which`: 0 for token g, 1 for token 8 + g.
  __device__ __forceinline__ TokenLogits(const float (&logits)[2][4], int which, int vocabulary) {
#pragma unroll
    for (int i = 0; i < 4; ++i) of[i] = row(i) < vocabulary ? logits[i / 2][2 * which + i % 2] : -__builtin_huge_valf();
    largest = most_of_four(fmaxf(fmaxf(of[0], of[1]), fmaxf(of[2], of[3])));
    float own = 0;
#pragma unroll
    for (int i = 0; i < 4; ++i) own += exponential(i);
    sum = sum_over_four(own);
  }
  __device__ __forceinline__ static int row(int i) {
    return i / 2 * 8 + static_cast<int>(threadIdx.x) % 4 * 2 + i % 2;
  }
  __device__ __forceinline__ float exponential(int i) const {
    return exp2_fast((of[i] - largest) * kLog2E);
  }
};

__global__ void __launch_bounds__(kThreads) forward(const __grid_constant__ TokenLossInputs<BFloat16> in,
                                                    const __grid_constant__ TokenLossOutputs<BFloat16> out) {
  extern __shared__ __align__(16) unsigned char memory[];
  const SplitWeight weight(in, memory);
  __syncthreads();
  const int width = static_cast<int>(in.width), vocabulary = static_cast<int>(in.vocabulary);
  const int lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) / 32, g = lane / 4;
  const auto read = [](const BFloat16* from) { return __ldg(reinterpret_cast<const uint4*>(from)); };
  const std::int64_t step = static_cast<std::int64_t>(gridDim.x) * kTile;
  for (std::int64_t first = static_cast<std::int64_t>(blockIdx.x) * kTile + warp * kWarpTokens; first < in.tokens;
       first += step) {
    const LaneToken own[2] = {{in, first + g}, {in, first + g + 8}};
    const auto row = [&](int k) { return own[k].weight != 0 ? in.hidden + (first + g + 8 * k) * in.width : nullptr; };
    float logits[2][4] = {};
    logits_of(row(0), row(1), weight, width, read, logits);
#pragma unroll
    for (int k = 0; k < 2; ++k) {
      const TokenLogits of(logits, k, vocabulary);
      float target = 0;
#pragma unroll
      for (int i = 0; i < 4; ++i) target += TokenLogits::row(i) == own[k].target ? of.of[i] : 0.0F;
      target = sum_over_four(target);
      const std::int64_t token = first + g + 8 * k;
      if (lane % 4 != 0 || token >= in.tokens) continue;
      const float loss = (logf(of.sum) - (target - of.largest)) * not_a_number_unless(own[k].target < vocabulary);
      out.loss[token] = own[k].weight == 0 ? 0.0F : own[k].weight * loss;
    }
  }
}

/// Gradients of the logits of a warp's tokens, as the first factor of products: as sums of two parts, tokens by rows of
/// the weight, and the other way around.
struct LogitGradients {
  uint4 by_token[kWarps][2][32], by_row[kWarps][2][32];

  __device__ __forceinline__ void put(int warp, const float (&of)[2][4]) {
    const int lane = static_cast<int>(threadIdx.x) % 32;
    float left[2][4];
#pragma unroll
    for (int i = 0; i < 8; ++i) left[i / 4][i % 4] = of[i / 4][i % 4];
#pragma unroll
    for (int part = 0; part < 2; ++part) {
      // Token g: rows 2q, 2q + 1; token 8 + g: the same; token g: rows 8 + 2q, 9 + 2q; token 8 + g: the same.
      std::uint32_t pairs[4];
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        float(&two)[4] = left[i / 2];
        pairs[i] = bf16_pair(two[i % 2 * 2], two[i % 2 * 2 + 1]);
        two[i % 2 * 2] -= lower(pairs[i]), two[i % 2 * 2 + 1] -= upper(pairs[i]);
      }
      by_token[warp][part][lane] = {pairs[0], pairs[1], pairs[2], pairs[3]};
      by_row[warp][part][lane] = {transposed(pairs[0]), transposed(pairs[2]), transposed(pairs[1]),
                                  transposed(pairs[3])};
    }
  }
};

/// Two matrices of 8 x 8 values, transposed: lane i below 16 says where row i % 8 of matrix i / 8 is.
__device__ __forceinline__ void load_transposed(const BFloat16* row, std::uint32_t (&to)[2]) {
  const auto at = static_cast<std::uint32_t>(__cvta_generic_to_shared(row));
  asm volatile("ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {%0, %1}, [%2];" : "=r"(to[0]), "=r"(to[1]) : "r"(at));
}

/// A warp's columns: slices of kSlice, kWarps apart.
template <int kSlices>
struct WarpColumns {
  static constexpr int kBlocks = kSlice / 8;  // of eight columns
  float dweight[kSlices][kBlocks][4] = {};
  // Rows of the weight by columns, of the larger parts and of what is left. The blocks of a slice take its columns in
  // turns, two by two: so a lane has eight neighbours of a token's dhidden.
  std::uint32_t weight[kSlices][kBlocks][2][2];

  __device__ WarpColumns(const SplitWeight& from, int warp, int width) {
    const int g = static_cast<int>(threadIdx.x) % 32 / 4, q = static_cast<int>(threadIdx.x) % 4;
#pragma unroll
    for (int s = 0; s < kSlices; ++s) {
#pragma unroll
      for (int b = 0; b < kBlocks; ++b) {
        const int column = min((warp + s * kWarps) * kSlice, width - kSlice) + g / 2 * 8 + 2 * b + g % 2;
#pragma unroll
        for (int part = 0; part < 2; ++part) {
          const BFloat16* const at = from.parts + (part * kRows + 2 * q) * from.row + column;
          weight[s][b][part][0] = at[0].bits | std::uint32_t{at[from.row].bits} << 16;
          weight[s][b][part][1] = at[8 * from.row].bits | std::uint32_t{at[9 * from.row].bits} << 16;
        }
      }
    }
  }

  __device__ __forceinline__ void add_dweight(int s, const LogitGradients& gradients, const BFloat16* hidden, int row) {
    const int lane = static_cast<int>(threadIdx.x) % 32;
#pragma unroll
    for (int of = 0; of < kWarps; ++of) {
      const uint4 parts[2] = {gradients.by_row[of][0][lane], gradients.by_row[of][1][lane]};
#pragma unroll
      for (int b = 0; b < kBlocks; ++b) {
        std::uint32_t columns[2];
        load_transposed(hidden + (of * kWarpTokens + lane % 16) * row + 8 * b, columns);
#pragma unroll
        for (int part = 0; part < 2; ++part) {
          multiply_add(dweight[s][b], {parts[part].x, parts[part].y, parts[part].z, parts[part].w}, columns);
        }
      }
    }
  }

  /// Of the 16 tokens of one warp, from dhidden's row of the first and the slice's first column on.
  __device__ __forceinline__ void store_dhidden(int s, const LogitGradients& gradients, int of, BFloat16* dhidden,
                                                int width, std::int64_t tokens) {
    const int lane = static_cast<int>(threadIdx.x) % 32, g = lane / 4, q = lane % 4;
    const uint4 large = gradients.by_token[of][0][lane], small = gradients.by_token[of][1][lane];
    float sums[kBlocks][4] = {};
#pragma unroll
    for (int b = 0; b < kBlocks; ++b) {
      multiply_add(sums[b], {small.x, small.y, small.z, small.w}, weight[s][b][0]);
      multiply_add(sums[b], {large.x, large.y, large.z, large.w}, weight[s][b][1]);
      multiply_add(sums[b], {large.x, large.y, large.z, large.w}, weight[s][b][0]);
    }
#pragma unroll
    for (int k = 0; k < 2; ++k) {
      if (g + 8 * k >= tokens) continue;
      const uint4 eight = {bf16_pair(sums[0][2 * k], sums[0][2 * k + 1]), bf16_pair(sums[1][2 * k], sums[1][2 * k + 1]),
                           bf16_pair(sums[2][2 * k], sums[2][2 * k + 1]),
                           bf16_pair(sums[3][2 * k], sums[3][2 * k + 1])};
      *reinterpret_cast<uint4*>(dhidden + (g + 8 * k) * width + 8 * q) = eight;
    }
  }
};

/// Sends for the tokens of a tile; zeros in the place of those that don't count.
__device__ __forceinline__ void fetch(const TokenLossInputs<BFloat16>& in, std::int64_t first, const bool* counts,
                                      BFloat16* to, int row) {
  const int eights = static_cast<int>(in.width) / 8;
  for (int i = static_cast<int>(threadIdx.x); i < kTile * eights; i += kThreads) {
    const int token = i / eights, column = i % eights * 8;
    copy_async<16>(to + token * row + column, in.hidden + (first + (counts[token] ? token : 0)) * in.width + column,
                   counts[token]);
  }
}

/// dweight: [blocks, V, D].
template <int kSlices>
__global__ void __launch_bounds__(kThreads, kSlices == 4 ? 2 : 3)
    backward(const __grid_constant__ TokenLossInputs<BFloat16> in,
             const __grid_constant__ TokenLossGradients<BFloat16> out, float* dweight) {
  extern __shared__ __align__(16) unsigned char memory[];
  __shared__ LogitGradients gradients;
  __shared__ bool counts[kTile];
  const int width = static_cast<int>(in.width), vocabulary = static_cast<int>(in.vocabulary);
  const int warp = static_cast<int>(threadIdx.x) / 32, lane = static_cast<int>(threadIdx.x) % 32, g = lane / 4;
  const SplitWeight weight(in, memory);
  auto* const hidden = reinterpret_cast<BFloat16*>(memory + SplitWeight::bytes(width));
  const int row = width + kHiddenGap;
  __syncthreads();
  WarpColumns<kSlices> columns(weight, warp, width);
  const auto read = [](const BFloat16* from) { return *reinterpret_cast<const uint4*>(from); };

  const std::int64_t step = static_cast<std::int64_t>(gridDim.x) * kTile;
#pragma unroll 1
  for (std::int64_t first = static_cast<std::int64_t>(blockIdx.x) * kTile; first < in.tokens; first += step) {
    const std::int64_t own_first = first + warp * kWarpTokens + g;
    const LaneToken own[2] = {{in, own_first}, {in, own_first + 8}};
    if (lane % 4 == 0) {
      counts[warp * kWarpTokens + g] = own[0].weight != 0, counts[warp * kWarpTokens + g + 8] = own[1].weight != 0;
    }
    __syncthreads();  // no one reads the last tile any more
    fetch(in, first, counts, hidden, row);
    wait_for_copies();
    __syncthreads();
    float logits[2][4] = {}, dlogits[2][4];
    const BFloat16* const lane_row = hidden + (warp * kWarpTokens + g) * row;
    logits_of(lane_row, lane_row + 8 * row, weight, width, read, logits);
#pragma unroll
    for (int k = 0; k < 2; ++k) {
      const TokenLogits of(logits, k, vocabulary);
      float factor = 0;
      if (own[k].weight != 0) {
        factor = own[k].weight * out.dloss[own_first + 8 * k] * not_a_number_unless(own[k].target < vocabulary);
      }
      const float scale = 1.0F / of.sum;
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const float gradient =
            factor * (of.exponential(i) * scale - (TokenLogits::row(i) == own[k].target ? 1.0F : 0.0F));
        dlogits[i / 2][2 * k + i % 2] = own[k].weight == 0 ? 0.0F : gradient;
      }
    }
    gradients.put(warp, dlogits);
    __syncthreads();
#pragma unroll
    for (int s = 0; s < kSlices; ++s) {
      const int column = (warp + s * kWarps) * kSlice;
      if (column >= width) break;
      columns.add_dweight(s, gradients, hidden + column, row);
      if (out.dhidden == nullptr) continue;
#pragma unroll
      for (int of = 0; of < kWarps; ++of) {
        const std::int64_t at = first + of * kWarpTokens;
        columns.store_dhidden(s, gradients, of, out.dhidden + at * width + column, width, in.tokens - at);
      }
    }
  }

  float* const to = dweight + static_cast<std::int64_t>(blockIdx.x) * vocabulary * width;
#pragma unroll
  for (int s = 0; s < kSlices; ++s) {
    const int column = (warp + s * kWarps) * kSlice;
    if (column >= width) break;
#pragma unroll
    for (int b = 0; b < kSlice / 8; ++b) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const int v = g + i / 2 * 8;
        if (v < vocabulary) to[v * width + column + 8 * b + lane % 4 * 2 + i % 2] = columns.dweight[s][b][i];
      }
    }
  }
}

/// Blocks of the backward pass, each of which leaves sums of dweight.
inline std::int64_t backward_blocks(std::int64_t tokens) {
  return std::clamp<std::int64_t>(ceil_div(tokens, kTile), 1, kMostBlocks);
}

inline void launch_forward(const TokenLossInputs<BFloat16>& in, const TokenLossOutputs<BFloat16>& out, Stream stream) {
  const std::int64_t blocks = std::min<std::int64_t>(ceil_div(in.tokens, kTile), 132 * 4);
  const int bytes = SplitWeight::bytes(in.width);
  cudaFuncSetAttribute(forward, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes);
  forward<<<static_cast<unsigned>(blocks), kThreads, static_cast<unsigned>(bytes), stream>>>(in, out);
}

inline void launch_backward(const TokenLossInputs<BFloat16>& in, const TokenLossGradients<BFloat16>& out,
                            float* dweight, Stream stream) {
  const int bytes = SplitWeight::bytes(in.width) + kTile * (static_cast<int>(in.width) + kHiddenGap) * 2;
  const auto launch = [&](auto* kernel) {
    cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes);
    kernel<<<static_cast<unsigned>(backward_blocks(in.tokens)), kThreads, static_cast<unsigned>(bytes), stream>>>(
        in, out, dweight);
  };
  const std::int64_t slices = ceil_div(in.width, kSlice * kWarps);
  slices == 1 ? launch(backward<1>) : slices == 2 ? launch(backward<2>) : launch(backward<4>);
}

}  // namespace dnamamba::kernels::cuda::token_loss_bf16
