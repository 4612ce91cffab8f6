// The backward pass over runs of bf16 activations, from the last tile to the first, on tensor cores: what
// scan_backward.cuh says, laid out as tensor_tile.cuh says. Warps meet to add up dB and dC.
#pragma once
#include <new>

#include "kernels/cuda/tensor_tile.cuh"

namespace dnamamba::kernels::cuda {

struct TensorBackwardArguments {
  TensorInputs inputs;
  BackwardMemory<BFloat16> memory;
};

struct TensorBackwardShared {
  static constexpr int kSaved = 4;  // tokens of a tile whose states are in shared memory, not in registers
  WarpTile tile[kTensorWarps];
  ComingTile coming[kTensorWarps];
  float2 sums[2][kTensorWarps][2][kTensorStates][kTensorTile / 2];  // of two tiles: dB and dC
  // What threads keep for themselves: states of tokens, states before the next tile, what the last steps of a tile
  // need.
  float4 saved[kSaved][2][kTensorThreads];
  float4 start[2][kTensorThreads];
  float4 dt_slope[kTensorThreads], dA[2][kTensorThreads];
  uint2 x[kTensorThreads];
  float2 dbias[kTensorThreads];
  float skip[kTensorChannels], bias[kTensorChannels];
  RunBase run;
};
static_assert(4 * (sizeof(TensorBackwardShared) + 1024) <= 228 * 1024, "four blocks fit");

/// Numbers of two channels at two tokens, [2 c + i], where lanes have the sums of tensor cores.
using OfTwo = float[4];

/// Where there are more groups of states: adds the sums over those before, and leaves the sum.
__device__ __forceinline__ void add_groups(const TensorBackwardArguments& p, const TensorLane& lane, const RunBase& run,
                                           int first, int tokens, int plane, OfTwo& sums) {
  const int E = static_cast<int>(p.inputs.group.in.channels);
  const std::int64_t plane_at = plane * p.inputs.runs.tokens * E + run.channels;
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const int t = 2 * lane.q + i % 2, c = i / 2;
    if (t >= tokens || c >= run.channels_of(p.inputs, lane.own)) continue;
    float& sum = p.memory.partial[plane_at + (run.sign * (first + t) * E + lane.own + c)];
    if (p.inputs.group.first_state > 0) sums[i] += sum;
    sum = sums[i];
  }
}

__device__ __forceinline__ void store_two(const TensorBackwardArguments& p, const TensorLane& lane, const RunBase& run,
                                          int first, int tokens, const OfTwo& values, BFloat16* to) {
  const int E = static_cast<int>(p.inputs.group.in.channels);
  BFloat16* at = to + run.channels + (run.sign * (first + 2 * lane.q) * E + lane.own);
#pragma unroll
  for (int i = 0; i < 2; ++i, at += run.sign * E) {
    const int there = 2 * lane.q + i < tokens ? run.channels_of(p.inputs, lane.own) : 0;
    if (p.inputs.channels_at_once > 1) {
      if (there > 0) *reinterpret_cast<std::uint32_t*>(at) = bf16_pair(values[i], values[2 + i]);
    } else {
      if (there > 0) store(values[i], at);
      if (there > 1) store(values[2 + i], at + 1);
    }
  }
}

/// That of channel c in a pair.
__device__ __forceinline__ float of_channel(std::uint32_t pair, int c) {
  return c == 0 ? lower(pair) : upper(pair);
}

__device__ __forceinline__ void store_dz(const TensorBackwardArguments& p, const TensorLane& lane, int first,
                                         int tokens, const TensorBackwardShared& s, const OfTwo& Ch) {
  const float2 skip = *reinterpret_cast<const float2*>(&s.skip[lane.own]);
  OfTwo dz;
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    std::uint32_t pairs[4];
#pragma unroll
    for (int k = 0; k < 4; ++k) pairs[k] = s.coming[lane.warp].pairs[k][2 * lane.q + i][lane.g];
#pragma unroll
    for (int c = 0; c < 2; ++c) {
      const float x = of_channel(pairs[0], c), z = of_channel(pairs[2], c), dy = of_channel(pairs[3], c);
      const float open = sigmoid(z), y = fmaf(c == 0 ? skip.x : skip.y, x, Ch[2 * c + i]);
      dz[2 * c + i] = dy * y * (open * fmaf(z, 1.0F - open, 1.0F));
    }
  }
  store_two(p, lane, s.run, first, tokens, dz, p.memory.out.dz);
}

/// Gradients of x and delta; adds to that of the bias.
__device__ __forceinline__ void store_dx(const TensorBackwardArguments& p, const TensorLane& lane, int first,
                                         int tokens, TensorBackwardShared& s, const OfTwo& gB, const OfTwo& Aflow) {
  const unsigned tid = threadIdx.x;
  const WarpTile& tile = s.tile[lane.warp];
  const float4 slope = s.dt_slope[tid];
  const uint2 x_pairs = s.x[tid];
  const float2 skip = *reinterpret_cast<const float2*>(&s.skip[lane.own]);
  OfTwo dx, ddelta;
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    const float2 dt = *reinterpret_cast<const float2*>(&tile.dt[2 * lane.q + i][2 * lane.g]);
    const uint2 dy_pairs = *reinterpret_cast<const uint2*>(&tile.dy[2 * lane.q + i][2 * lane.g]);
#pragma unroll
    for (int c = 0; c < 2; ++c) {
      constexpr float kLn2 = 0.6931471805599453F;
      const std::uint32_t dy_parts = c == 0 ? dy_pairs.x : dy_pairs.y;
      const float dy = lower(dy_parts) + upper(dy_parts), x = of_channel(i == 0 ? x_pairs.x : x_pairs.y, c);
      const int k = 2 * c + i;
      dx[k] = fmaf(c == 0 ? dt.x : dt.y, gB[k], (c == 0 ? skip.x : skip.y) * dy);
      ddelta[k] =
          fmaf(x, gB[k], kLn2 * Aflow[k]) * (i == 0 ? (c == 0 ? slope.x : slope.y) : (c == 0 ? slope.z : slope.w));
    }
  }
  store_two(p, lane, s.run, first, tokens, dx, p.memory.out.dx);
  store_two(p, lane, s.run, first, tokens, ddelta, p.memory.out.ddelta);
  s.dbias[tid].x += ddelta[0] + ddelta[1], s.dbias[tid].y += ddelta[2] + ddelta[3];
}

template <bool kPartial>
__global__ void __launch_bounds__(kTensorThreads, 4) backward_bf16(const TensorBackwardArguments p) {
  using Shared = TensorBackwardShared;
  constexpr int NS = kTensorStates, kTile = kTensorTile, kSaved = Shared::kSaved, kInRegisters = kTile - kSaved;
  extern __shared__ __align__(16) unsigned char memory[];
  Shared& s = *reinterpret_cast<Shared*>(memory);
  const TensorInputs& in = p.inputs;
  const int place = static_cast<int>(blockIdx.x / in.channel_blocks);
  const int E = static_cast<int>(in.group.in.channels), N = static_cast<int>(in.group.in.states);
  const unsigned tid = threadIdx.x;
  const TensorLane lane;
  const int g = lane.g, q = lane.q;
  WarpTile& w = s.tile[lane.warp];
  if (tid == 0) new (&s.run) RunBase(in, place);
  __syncthreads();
  const int length = s.run.length;

  // [b][2 c + j]: of channel e + c, state 8 b + 2 q + j.
  float A2[2][4], flow[2][4];
  s.dbias[tid] = make_float2(0, 0);
  const int e = s.run.first_channel + lane.own, channels = s.run.channels_of(in, lane.own);
#pragma unroll
  for (int c = 0; c < 2; ++c) {
    const bool there = c < channels;
    const SelectiveScanInputs<BFloat16>& of = in.group.in;
    s.skip[lane.own + c] = there && of.D != nullptr && in.group.last ? of.D[e + c] : 0.0F;  // four lanes the same
    s.bias[lane.own + c] = there && of.delta_bias != nullptr ? of.delta_bias[e + c] : 0.0F;
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int n = i / 2 * 8 + 2 * q + i % 2;
      const std::int64_t at = (static_cast<std::int64_t>(place) * E + e + c) * NS + n;
      A2[i / 2][2 * c + i % 2] = there ? in.group.A2(e + c, n) : 0.0F;
      flow[i / 2][2 * c + i % 2] = there && length > 0 ? p.memory.state_gradients[at] : 0.0F;
    }
    s.dA[c][tid] = make_float4(0, 0, 0, 0);
  }
  const auto fetch = [&](int tile) {
    fetch_tile(in, lane, s.run, tile * kTile, length - tile * kTile, s.coming[lane.warp]);
    const std::int64_t own = s.run.tiles + (tile * E + lane.own);
    const int there = s.run.channels_of(in, lane.own);
    const float* const start = p.memory.sub_states + own * NS + 4 * q;
    copy_async<16>(&s.start[0][tid], start, there > 0);
    copy_async<16>(&s.start[1][tid], start + NS, there > 1);
  };
  const int tiles = (length + kTile - 1) / kTile;
  if (tiles > 0) fetch(tiles - 1);

#pragma unroll 1
  for (int tile = tiles - 1; tile >= 0; --tile) {
    const int first = tile * kTile, tokens = length - first;
    wait_for_copies();
    __syncwarp();  // no one reads the last tile any more
    s.dt_slope[tid] = unfold_tile(in, lane, tokens, s.run.channels_of(in, lane.own),
                                  *reinterpret_cast<const float2*>(&s.bias[lane.own]), s.coming[lane.warp], w);
    s.x[tid] = {s.coming[lane.warp].pairs[0][2 * q][g], s.coming[lane.warp].pairs[0][2 * q + 1][g]};
    float h[2][4];
#pragma unroll
    for (int c = 0; c < 2; ++c) {
      float start[4];
      take(s.start[c][tid], start);
#pragma unroll
      for (int i = 0; i < 4; ++i) h[i / 2][2 * c + i % 2] = start[i];
    }
    __syncwarp();

    // Columns of this lane: token g's numbers, of channels and of states.
    const auto channel_column = [&](const std::uint32_t* of, std::uint32_t(&to)[2]) {
      const uint4 four = *reinterpret_cast<const uint4*>(of + 4 * q);
      to[0] = lower_halves(four.x, four.z), to[1] = lower_halves(four.y, four.w);
    };
    const auto state_column = [&](const std::uint32_t* of, std::uint32_t(&to)[2]) {
      const uint2 low = *reinterpret_cast<const uint2*>(of + 2 * q);
      const uint2 high = *reinterpret_cast<const uint2*>(of + 8 + 2 * q);
      to[0] = lower_halves(low.x, low.y), to[1] = lower_halves(high.x, high.y);
    };
    float kept[kInRegisters][2][4];  // a h[t-1]
    const auto sum_over_lanes = [&](const float(&of)[2][4], int t, const std::uint32_t(&over_states)[2],
                                    const std::uint32_t(&over_channels)[2], float(&of_channel)[4],
                                    float(&of_state)[4]) {
      const std::uint32_t rows[4] = {bf16_pair(of[0][0], of[0][1]), bf16_pair(of[0][2], of[0][3]),
                                     bf16_pair(of[1][0], of[1][1]), bf16_pair(of[1][2], of[1][3])};
      const std::uint32_t left[2] = {g == t ? over_states[0] : 0U, g == t ? over_states[1] : 0U};
      const std::uint32_t right[2] = {g == t ? over_channels[0] : 0U, g == t ? over_channels[1] : 0U};
      multiply_add(of_channel, rows, left);
      const std::uint32_t across[4] = {transposed(rows[0]), transposed(rows[2]), transposed(rows[1]),
                                       transposed(rows[3])};
      multiply_add(of_state, across, right);
    };

    auto& parts = s.sums[tile & 1];
    const auto put_parts = [&](int which, const float(&of_states)[4]) {
      parts[lane.warp][which][g][q] = make_float2(of_states[0], of_states[1]);
      parts[lane.warp][which][8 + g][q] = make_float2(of_states[2], of_states[3]);
    };

    std::uint32_t over_channels[2], over_states[2];
    channel_column(w.dy[g], over_channels), state_column(w.C[g], over_states);
    float dC[4] = {}, dB[4] = {};
    OfTwo Ch = {}, gB = {}, Aflow_sum = {};
#pragma unroll
    for (int four = 0; four < kTile; four += 4) {
      const FourTokens dtx_B(w.dtx, w.B, four, lane);
#pragma unroll
      for (int k = 0; k < 4; ++k) {
        const int t = four + k;
        const float2 dt = *reinterpret_cast<const float2*>(&w.dt[t][2 * g]);
#pragma unroll
        for (int b = 0; b < 2; ++b) {
          float a_now[4], kept_now[4];
#pragma unroll
          for (int i = 0; i < 4; ++i) {
            a_now[i] = exp2_fast((i < 2 ? dt.x : dt.y) * A2[b][i]);
            kept_now[i] = a_now[i] * h[b][i];
            if (t >= kSaved) kept[t - kSaved][b][i] = kept_now[i];
          }
          if (t < kSaved) keep(kept_now, s.saved[t][b][tid]);
          dtx_B.add(h[b], kept_now, b, k, q);
        }
        sum_over_lanes(h, t, over_states, over_channels, Ch, dC);
      }
    }
    if constexpr (kPartial) add_groups(p, lane, s.run, first, tokens, 2, Ch);
    if (p.memory.out.dz != nullptr && in.group.last) store_dz(p, lane, first, tokens, s, Ch);
    __syncwarp();  // what had come has been read
    if (tile > 0) fetch(tile - 1);

    float dA[2][4];
    take(s.dA[0][tid], dA[0]), take(s.dA[1][tid], dA[1]);
    channel_column(w.dtx[g], over_channels), state_column(w.B[g], over_states);
#pragma unroll
    for (int four = kTile - 4; four >= 0; four -= 4) {
      const FourTokens dy_C(w.dy, w.C, four, lane);
#pragma unroll
      for (int k = 3; k >= 0; --k) {
        const int t = four + k;
        const float2 dt = *reinterpret_cast<const float2*>(&w.dt[t][2 * g]);
        float gradient[2][4], Aflow[2] = {};
#pragma unroll
        for (int b = 0; b < 2; ++b) {
          float a_now[4], kept_now[4];
          if (t < kSaved) {
            take(s.saved[t][b][tid], kept_now);
          } else {
#pragma unroll
            for (int i = 0; i < 4; ++i) kept_now[i] = kept[t - kSaved][b][i];
          }
#pragma unroll
          for (int i = 0; i < 4; ++i) a_now[i] = exp2_fast((i < 2 ? dt.x : dt.y) * A2[b][i]);
          dy_C.add(gradient[b], flow[b], b, k, q);
#pragma unroll
          for (int i = 0; i < 4; ++i) {
            const float flow_h = gradient[b][i] * kept_now[i];
            flow[b][i] = a_now[i] * gradient[b][i];
            dA[b][i] = fmaf(i < 2 ? dt.x : dt.y, flow_h, dA[b][i]);
            Aflow[i / 2] = fmaf(A2[b][i], flow_h, Aflow[i / 2]);
          }
        }
        sum_over_lanes(gradient, t, over_states, over_channels, gB, dB);
        multiply_add_tf32(Aflow_sum, Aflow, g == t ? 1.0F : 0.0F);  // what is not finite here is so in dA too
      }
    }
    keep(dA[0], s.dA[0][tid]), keep(dA[1], s.dA[1][tid]);
    if constexpr (kPartial) {
      add_groups(p, lane, s.run, first, tokens, 0, gB);
      add_groups(p, lane, s.run, first, tokens, 1, Aflow_sum);
    }
    if (!kPartial || in.group.last) store_dx(p, lane, first, tokens, s, gB, Aflow_sum);

    put_parts(1, dC), put_parts(0, dB);
    __syncthreads();  // also: those of the tile before have been read
    static_assert(2 * NS * kTile / 2 == kTensorThreads, "a thread sums for one state and two tokens, dB or dC");
    const int pair = static_cast<int>(tid % (kTile / 2)), n = static_cast<int>(tid / (kTile / 2) % NS),
              which = static_cast<int>(tid / (kTile / 2 * NS));
    float2 sum = parts[0][which][n][pair];
#pragma unroll
    for (int i = 1; i < kTensorWarps; ++i) {
      const float2 part = parts[i][which][n][pair];
      sum.x += part.x, sum.y += part.y;
    }
    float* const to = p.memory.token_sums + s.run.sums + ((s.run.sign * (first + 2 * pair) * 2 + which) * NS + n);
    if (2 * pair < tokens) to[0] = sum.x;
    if (2 * pair + 1 < tokens) to[s.run.sign * 2 * NS] = sum.y;
  }

  float dA[2][4];
  take(s.dA[0][tid], dA[0]), take(s.dA[1][tid], dA[1]);
#pragma unroll
  for (int c = 0; c < 2; ++c) {
    const float dbias = sum_of_four(c == 0 ? s.dbias[tid].x : s.dbias[tid].y);
    if (c >= s.run.channels_of(in, lane.own)) continue;
    const std::int64_t own_place = static_cast<std::int64_t>(place) * E + s.run.first_channel + lane.own + c;
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int n = in.group.first_state + i / 2 * 8 + 2 * q + i % 2;
      if (n < N) p.memory.dA[own_place * N + n] = dA[i / 2][2 * c + i % 2];
    }
    if (q == 0 && in.group.last) p.memory.dbias[own_place] = dbias;
  }
}

}  // namespace dnamamba::kernels::cuda
