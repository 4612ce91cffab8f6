// Tiles of tokens for the passes of the scan over bf16 activations whose sums and products of vectors are done by tensor
// cores. States and their gradients stay in fp32; what is added to them is taken from numbers with 16 bits of
// significand, sums over lanes of products from numbers with 8.
//
// A warp is 16 channels and 16 states. Its lane 4 g + q has channels 2g and 2g + 1 and of each states 2q, 2q + 1, 8 + 2q
// and 9 + 2q: the places that lanes have in the sums of tensor cores, whose rows g and 8 + g are the two channels. Warps
// go from tile to tile by themselves.
#pragma once
#include "kernels/cuda/scan_steps.cuh"
#include "kernels/cuda/tensor_cores.cuh"
#include "kernels/cuda/vectors.cuh"

namespace dnamamba::kernels::cuda {

inline constexpr int kTensorTile = kSubRun<BFloat16>;  // tokens: the columns of a product
inline constexpr int kTensorStates = 16;
inline constexpr int kTensorWarps = 4;  // of a block
inline constexpr int kTensorThreads = 32 * kTensorWarps;
inline constexpr int kWarpChannels = 16;
inline constexpr int kTensorChannels = kWarpChannels * kTensorWarps;
static_assert(kTensorTile == 8);

/// What is read of a tile's tokens, and how.
struct TensorInputs {
  ScanGroup<BFloat16> group;
  SequenceRuns runs;
  const BFloat16* dy;
  int channel_blocks;
  bool pairs;         ///< channels can be read two at a time
  bool whole_groups;  ///< B and C can be read eight at a time

  /// The other two pointers are those of what a pass writes like x.
  static TensorInputs of(const ScanGroup<BFloat16>& group, const SequenceRuns& runs, const BFloat16* dy,
                         std::initializer_list<const BFloat16*> written = {}) {
    const SelectiveScanInputs<BFloat16>& in = group.in;
    return {.group = group,
            .runs = runs,
            .dy = dy,
            .channel_blocks = static_cast<int>(ceil_div(in.channels, kTensorChannels)),
            .pairs = vectors_fit(2, in.channels, {in.x, in.delta, in.z, dy}) && vectors_fit(2, in.channels, written),
            .whole_groups = vectors_fit(8, in.states, {in.B, in.C})};
  }
};

/// Of the tokens of a tile, for all lanes of a warp. Rows are so long that lanes read them from different banks.
struct WarpTile {
  static constexpr int kRow = 24;
  float dt[kTensorTile][kWarpChannels + 4];
  std::uint32_t dtx[kTensorTile][kRow], dy[kTensorTile][kRow];  // a number as the sum of a pair
  std::uint32_t B[kTensorTile][kRow], C[kTensorTile][kRow];     // the number twice
};

/// What comes for the next tile; each thread has its own.
struct ComingTile {
  std::uint32_t pairs[4][2][kTensorThreads];  // x, delta, z, dy of two channels at two tokens
  uint4 states[kTensorThreads];               // eight values of B or C
};

/// Where a lane stands, and what is its own.
struct TensorLane {
  int g, q, warp;
  int own, e;    ///< the first of its two channels: of the block, of all
  int channels;  ///< how many of the two exist
  int sign;      ///< of the step from token to token

  __device__ explicit TensorLane(const TensorInputs& in) {
    const unsigned tid = threadIdx.x;
    g = static_cast<int>(tid % 32 / 4), q = static_cast<int>(tid % 4), warp = static_cast<int>(tid / 32);
    own = warp * kWarpChannels + 2 * g;
    e = static_cast<int>(blockIdx.x % in.channel_blocks) * kTensorChannels + own;
    channels = min(static_cast<int>(in.group.in.channels) - e, 2);
    sign = in.runs.reverse ? -1 : 1;
  }
};

/// Two numbers as sums of a pair each: its larger part first.
__device__ __forceinline__ uint2 split(float first, float second) {
  const std::uint32_t high = bf16_pair(first, second), low = bf16_pair(first - lower(high), second - upper(high));
  return {lower_halves(high, low), upper_halves(high, low)};
}

/// Sends for what a tile needs: 8 tokens from `row` on, of which `tokens` exist.
__device__ __forceinline__ void fetch_tile(const TensorInputs& p, const TensorLane& lane, std::int64_t row, int tokens,
                                           ComingTile& coming) {
  const SelectiveScanInputs<BFloat16>& in = p.group.in;
  const unsigned tid = threadIdx.x;
  const int E = static_cast<int>(in.channels), N = static_cast<int>(in.states);
  const BFloat16* const from[4] = {in.x, in.delta, in.z != nullptr ? in.z : in.x, p.dy};
  const std::int64_t at = row * E + (lane.sign * 2 * lane.q * E + lane.e);
  if (p.pairs) {
#pragma unroll
    for (int k = 0; k < 4; ++k) {
      const BFloat16* const own = from[k] + at;
      copy_async<4>(&coming.pairs[k][0][tid], own, 2 * lane.q < tokens && lane.channels > 0);
      copy_async<4>(&coming.pairs[k][1][tid], own + lane.sign * E, 2 * lane.q + 1 < tokens && lane.channels > 0);
    }
  } else {
#pragma unroll
    for (int k = 0; k < 4; ++k) {
#pragma unroll 1
      for (int i = 0; i < 2; ++i) {
        const int there = 2 * lane.q + i < tokens ? lane.channels : 0;
        const BFloat16* const two = from[k] + at + i * lane.sign * E;
        const std::uint32_t first = there > 0 ? two[0].bits : 0U, second = there > 1 ? two[1].bits : 0U;
        coming.pairs[k][i][tid] = first | second << 16;
      }
    }
  }
  const int token = static_cast<int>(tid % 16 / 2), state = p.group.first_state + static_cast<int>(tid % 2 * 8);
  const BFloat16* const eight = (tid % 32 < 16 ? in.B : in.C) + (row * N + (lane.sign * token * N + state));
  if (p.whole_groups) {
    copy_async<16>(&coming.states[tid], eight, token < tokens && state < N);
  } else {
    auto* const to = reinterpret_cast<std::uint16_t*>(&coming.states[tid]);
#pragma unroll 1
    for (int n = 0; n < 8; ++n) to[n] = token < tokens && state + n < N ? eight[n].bits : std::uint16_t{0};
  }
}

/// Of a lane's two channels at its two tokens, [token][channel].
struct Slopes {
  float dt[2][2];  ///< d dt / d delta
  float dz[2][2];  ///< the gradient of z over what the gate is multiplied with
};

/// From what has come to step sizes, gated gradients, B and C for the warp.
__device__ __forceinline__ Slopes unfold_tile(const TensorInputs& p, const TensorLane& lane, int tokens,
                                              const float2& bias, const ComingTile& coming, WarpTile& tile) {
  const unsigned tid = threadIdx.x;
  const bool gated = p.group.in.z != nullptr;
  Slopes slopes;
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    const int t = 2 * lane.q + i, there = t < tokens ? lane.channels : 0;
    std::uint32_t pairs[4];
#pragma unroll
    for (int k = 0; k < 4; ++k) pairs[k] = coming.pairs[k][i][tid];
    float dt[2], dtx[2], dy_gated[2];
#pragma unroll
    for (int c = 0; c < 2; ++c) {
      const auto of = [&](std::uint32_t pair) { return c == 0 ? lower(pair) : upper(pair); };
      const Step step = step_and_slope<BFloat16>(of(pairs[1]) + (c == 0 ? bias.x : bias.y));
      dt[c] = c < there ? step.size : 0.0F;
      dtx[c] = dt[c] * of(pairs[0]);
      slopes.dt[i][c] = c < there ? step.slope : 0.0F;  // behind the end dt is 0, not its gradient
      const float z = of(pairs[2]), dy = of(pairs[3]), open = sigmoid(z);
      dy_gated[c] = gated ? dy * z * open : dy;
      slopes.dz[i][c] = dy * open * fmaf(z, 1.0F - open, 1.0F);
    }
    *reinterpret_cast<float2*>(&tile.dt[t][2 * lane.g]) = make_float2(dt[0], dt[1]);
    *reinterpret_cast<uint2*>(&tile.dtx[t][2 * lane.g]) = split(dtx[0], dtx[1]);
    *reinterpret_cast<uint2*>(&tile.dy[t][2 * lane.g]) = split(dy_gated[0], dy_gated[1]);
  }
  const uint4 eight = coming.states[tid];
  const auto twice = [](std::uint32_t first, std::uint32_t second) {
    return uint4{lower_halves(first, first), upper_halves(first, first), lower_halves(second, second),
                 upper_halves(second, second)};
  };
  auto* const to = reinterpret_cast<uint4*>(&(tid % 32 < 16 ? tile.B : tile.C)[tid % 16 / 2][tid % 2 * 8]);
  to[0] = twice(eight.x, eight.y), to[1] = twice(eight.z, eight.w);
  return slopes;
}

/// One side of the products of four tokens' vectors: this lane has those of token first + q. To be taken for token k of
/// the four by masking the other lanes' states.
struct FourTokens {
  std::uint32_t channels[2], states[2];

  __device__ __forceinline__ FourTokens(const std::uint32_t (&numbers)[kTensorTile][WarpTile::kRow],
                                        const std::uint32_t (&of_states)[kTensorTile][WarpTile::kRow], int first,
                                        const TensorLane& lane) {
    const uint2 two = *reinterpret_cast<const uint2*>(&numbers[first + lane.q][2 * lane.g]);
    channels[0] = two.x, channels[1] = two.y;
    states[0] = of_states[first + lane.q][lane.g], states[1] = of_states[first + lane.q][8 + lane.g];
  }
  /// to = from + (vector of channels) (vector of states of half b)^T, of token k.
  __device__ __forceinline__ void add(float (&to)[4], const float (&from)[4], int b, int k, int q) const {
    multiply_add(to, from, channels, q == k ? states[b] : 0U);
  }
};

/// Over the four lanes of the same channels.
__device__ __forceinline__ float sum_of_four(float value) {
  value += __shfl_xor_sync(~0U, value, 1);
  return value + __shfl_xor_sync(~0U, value, 2);
}

/// Number of a tile among all places' tiles: 32 bits are enough, for 2^34 tokens' states are not held by any device.
__device__ __forceinline__ unsigned number_of_tile(const SequenceRuns& runs, int place, int tile) {
  static_assert(kTensorTile == 8);
  return (static_cast<unsigned>(place) << (runs.shift - 3)) + static_cast<unsigned>(tile);
}

/// Four numbers of a thread by four, in memory.
__device__ __forceinline__ void keep(const float (&four)[4], float4& to) {
  to = make_float4(four[0], four[1], four[2], four[3]);
}
__device__ __forceinline__ void take(const float4& from, float (&four)[4]) {
  four[0] = from.x, four[1] = from.y, four[2] = from.z, four[3] = from.w;
}

}  // namespace dnamamba::kernels::cuda
