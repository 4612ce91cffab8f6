// Tiles of tokens for the passes of the scan over bf16 activations whose sums and products of vectors are done by
// tensor cores. States and their gradients stay in fp32; what is added to them is taken from numbers with 16 bits of
// significand, sums over lanes of products from numbers with 8.
//
// A warp is 16 channels and 16 states. Its lane 4 g + q has channels 2g and 2g + 1 and of each states 2q, 2q + 1, 8 +
// 2q and 9 + 2q: the places that lanes have in the sums of tensor cores, whose rows g and 8 + g are the two channels.
// Warps go from tile to tile by themselves.
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
inline constexpr int kTileShift = 3;
static_assert(kTensorTile == 1 << kTileShift);

/// What is read of a tile's tokens, and how.
struct TensorInputs {
  ScanGroup<BFloat16> group;
  SequenceRuns runs;
  const BFloat16* dy;
  int channel_blocks;
  int channels_at_once;  ///< that can be read: 8, 2 or 1
  bool whole_groups;     ///< B and C can be read eight at a time

  /// `written`: what a pass writes as it reads x.
  static TensorInputs of(const ScanGroup<BFloat16>& group, const SequenceRuns& runs, const BFloat16* dy,
                         std::initializer_list<const BFloat16*> written = {}) {
    const SelectiveScanInputs<BFloat16>& in = group.in;
    const auto fit = [&](int count) {
      return vectors_fit(count, in.channels, {in.x, in.delta, in.z, dy}) && vectors_fit(count, in.channels, written);
    };
    return {.group = group,
            .runs = runs,
            .dy = dy,
            .channel_blocks = static_cast<int>(ceil_div(in.channels, kTensorChannels)),
            .channels_at_once = fit(8)   ? 8
                                : fit(2) ? 2
                                         : 1,
            .whole_groups = states_fit(in, 8)};
  }
};

/// Of the tokens of a tile, for all lanes of a warp. Rows are so long that lanes read them from different banks,
/// almost.
struct WarpTile {
  static constexpr int kRow = 20;
  float dt[kTensorTile][kWarpChannels + 4];
  std::uint32_t dtx[kTensorTile][kRow], dy[kTensorTile][kRow];  // a number as the sum of a pair
  std::uint32_t B[kTensorTile][kRow], C[kTensorTile][kRow];     // the number twice
};

/// What comes for a warp's next tile.
struct ComingTile {
  std::uint32_t pairs[4][kTensorTile][kWarpChannels / 2];  // x, delta, z, dy
  uint4 states[32];                                        // of each lane: eight values of B or C
};

/// Where a lane stands.
struct TensorLane {
  int g, q, warp;
  int own;  ///< the first of its two channels of the block

  __device__ TensorLane() {
    const unsigned tid = threadIdx.x;
    g = static_cast<int>(tid % 32 / 4), q = static_cast<int>(tid % 4), warp = static_cast<int>(tid / 32);
    own = warp * kWarpChannels + 2 * g;
  }
};

/// Two numbers as sums of a pair each: its larger part first.
__device__ __forceinline__ uint2 split(float first, float second) {
  const std::uint32_t high = bf16_pair(first, second), low = bf16_pair(first - lower(high), second - upper(high));
  return {lower_halves(high, low), upper_halves(high, low)};
}

/// Where a block's run is in the arrays: of its first token, the block's first channel or the first state of the group.
/// Kept in shared memory and read again wherever it is needed, for registers are few.
struct RunBase {
  std::int64_t channels, states, tiles, sums;  ///< in [T, E], [T, N], [tiles, E], [channel blocks, T, 2, 16]
  int length, first_channel;
  int sign;  ///< of the step from token to token

  __device__ RunBase(const TensorInputs& in, int place) {
    const std::int64_t E = in.group.in.channels, block = blockIdx.x % in.channel_blocks;
    const Stretch run = stretch_at(in.runs, place);
    length = run.length, first_channel = static_cast<int>(block) * kTensorChannels, sign = in.runs.reverse ? -1 : 1;
    channels = run.first * E + first_channel;
    states = run.first * in.group.row + in.group.first_state;
    tiles = (static_cast<std::int64_t>(place) << (in.runs.shift - kTileShift)) * E + first_channel;
    sums = (block * in.runs.tokens + run.first) * 2 * kTensorStates;
  }
  /// How many of a lane's two channels exist.
  __device__ int channels_of(const TensorInputs& in, int own) const {
    return min(static_cast<int>(in.group.in.channels) - first_channel - own, 2);
  }
};

/// Sends for what a tile needs: 8 tokens of the run from `first` on, of which `tokens` exist.
__device__ __forceinline__ void fetch_tile(const TensorInputs& p, const TensorLane& lane, const RunBase& run, int first,
                                           int tokens, ComingTile& coming) {
  const SelectiveScanInputs<BFloat16>& in = p.group.in;
  const int E = static_cast<int>(in.channels), N = static_cast<int>(in.states);
  const unsigned tid = threadIdx.x % 32;
  const int token = static_cast<int>(tid % 16 / 2), half = static_cast<int>(tid % 2);
  const BFloat16* const z = in.z != nullptr ? in.z : in.x;
  if (p.channels_at_once == 8) {  // half a warp an array
    const int own = kWarpChannels * lane.warp + 8 * half;
    const std::int64_t at = run.channels + (run.sign * (first + token) * E + own);
    const bool there = token < tokens && run.channels_of(p, own) > 0;
    std::uint32_t* const to = &coming.pairs[tid / 16][token][4 * half];
    copy_async<16>(to, (tid < 16 ? in.x : in.delta) + at, there);
    copy_async<16>(to + 2 * kTensorTile * (kWarpChannels / 2), (tid < 16 ? z : p.dy) + at, there);
  } else {
    const std::int64_t at = run.channels + (run.sign * (first + 2 * lane.q) * E + lane.own);
#pragma unroll 1
    for (int i = 0; i < 2; ++i) {
      const int there = 2 * lane.q + i < tokens ? run.channels_of(p, lane.own) : 0;
#pragma unroll
      for (int k = 0; k < 4; ++k) {
        std::uint32_t& to = coming.pairs[k][2 * lane.q + i][lane.g];
        const BFloat16* const two = (k == 0 ? in.x : k == 1 ? in.delta : k == 2 ? z : p.dy) + at + i * run.sign * E;
        if (p.channels_at_once == 2) {
          copy_async<4>(&to, two, there > 0);
        } else {
          const std::uint32_t even = there > 0 ? two[0].bits : 0U, odd = there > 1 ? two[1].bits : 0U;
          to = even | odd << 16;
        }
      }
    }
  }
  const bool there = token < tokens;
  const int left = N - p.group.first_state - 8 * half;  // states
  const BFloat16* const eight =
      (tid < 16 ? in.B : in.C) + run.states + (run.sign * (first + token) * static_cast<int>(p.group.row) + 8 * half);
  if (p.whole_groups) {
    copy_async<16>(&coming.states[tid], eight, there && left > 0);
  } else {
    auto* const to = reinterpret_cast<std::uint16_t*>(&coming.states[tid]);
#pragma unroll 1
    for (int n = 0; n < 8; ++n) to[n] = there && n < left ? eight[n].bits : std::uint16_t{0};
  }
}

/// From what has come to step sizes, gated gradients, B and C for the warp. Returns the slopes d dt / d delta of the
/// lane's two channels at its two tokens: {first token: e, e + 1; second}.
__device__ __forceinline__ float4 unfold_tile(const TensorInputs& p, const TensorLane& lane, int tokens, int channels,
                                              const float2& bias, const ComingTile& coming, WarpTile& tile) {
  const unsigned tid = threadIdx.x;
  const bool gated = p.group.in.z != nullptr;
  float slopes[2][2];
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    const int t = 2 * lane.q + i, there = t < tokens ? channels : 0;
    std::uint32_t pairs[4];
#pragma unroll
    for (int k = 0; k < 4; ++k) pairs[k] = coming.pairs[k][t][lane.g];
    float dt[2], dtx[2], dy_gated[2];
#pragma unroll
    for (int c = 0; c < 2; ++c) {
      const auto of = [&](std::uint32_t pair) { return c == 0 ? lower(pair) : upper(pair); };
      const Step step = step_and_slope<BFloat16>(of(pairs[1]) + (c == 0 ? bias.x : bias.y));
      dt[c] = c < there ? step.size : 0.0F;
      dtx[c] = dt[c] * of(pairs[0]);
      slopes[i][c] = c < there ? step.slope : 0.0F;  // behind the end dt is 0, not its gradient
      const float z = of(pairs[2]), dy = of(pairs[3]);
      dy_gated[c] = gated ? dy * z * sigmoid(z) : dy;
    }
    *reinterpret_cast<float2*>(&tile.dt[t][2 * lane.g]) = make_float2(dt[0], dt[1]);
    *reinterpret_cast<uint2*>(&tile.dtx[t][2 * lane.g]) = split(dtx[0], dtx[1]);
    *reinterpret_cast<uint2*>(&tile.dy[t][2 * lane.g]) = split(dy_gated[0], dy_gated[1]);
  }
  const uint4 eight = coming.states[tid % 32];
  const auto twice = [](std::uint32_t first, std::uint32_t second) {
    return uint4{lower_halves(first, first), upper_halves(first, first), lower_halves(second, second),
                 upper_halves(second, second)};
  };
  auto* const to = reinterpret_cast<uint4*>(&(tid % 32 < 16 ? tile.B : tile.C)[tid % 16 / 2][tid % 2 * 8]);
  to[0] = twice(eight.x, eight.y), to[1] = twice(eight.z, eight.w);
  return make_float4(slopes[0][0], slopes[0][1], slopes[1][0], slopes[1][1]);
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

/// Four numbers of a thread by four, in memory.
__device__ __forceinline__ void keep(const float (&four)[4], float4& to) {
  to = make_float4(four[0], four[1], four[2], four[3]);
}
__device__ __forceinline__ void take(const float4& from, float (&four)[4]) {
  four[0] = from.x, four[1] = from.y, four[2] = from.z, four[3] = from.w;
}

}  // namespace dnamamba::kernels::cuda
