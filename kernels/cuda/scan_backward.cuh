// The backward pass over runs of tokens, from the last kSubRun tokens to the first. With g[t] the gradient of h[t] and
// `flow` = a[t+1] g[t+1]:
//   g = dy C + flow;  flow' = a g;  dB += g dt x;  dC += dy h[t];  dA += dt flow' h[t-1];
//   dx = dt sum(g B) + D dy;  ddt = sum(A flow' h[t-1]) + x sum(g B)
// A thread is a channel and 8 states. Forwards over kSubRun tokens it keeps the states before every kTile of them in
// shared memory; then, tile by tile from the last, it computes these states again, into registers, and goes back.
#pragma once
#include "kernels/cuda/lane_sums.cuh"
#include "kernels/cuda/neighbours.cuh"
#include "kernels/cuda/scan_steps.cuh"

namespace dnamamba::kernels::cuda {

inline constexpr int kBackwardChannels = 64;  // of a block
inline constexpr int kTile = 4;

template <typename T>
struct BackwardArguments {
  ScanGroup<T> group;
  SequenceRuns runs;
  int channel_blocks;
  bool pairs;  ///< channels can be read two at a time
  BackwardMemory<T> memory;
};

template <typename T, int kHalves>
struct BackwardShared {
  static constexpr int NS = 8 * kHalves, kThreads = kBackwardChannels * kHalves, kWarps = kThreads / 32;
  static constexpr int kSub = kSubRun<T>;
  float dt[kSub][kBackwardChannels], dtx[kSub][kBackwardChannels], dy[kSub][kBackwardChannels];
  float B[kSub][NS], C[kSub][NS];
  float4 starts[kSub / kTile][2][kThreads];
  float sums[2][2][kTile][kWarps][32];  // of two tiles: dB and dC
};

/// Step sizes and gated gradients of all channels of the block, kChannels neighbours at a time.
template <int kChannels, typename T, int kHalves>
__device__ __forceinline__ void load_steps(const BackwardArguments<T>& p, const Stretch& run, int sub, int block,
                                           BackwardShared<T, kHalves>& s) {
  using Values = Neighbours<T, kChannels>;
  constexpr int kSub = kSubRun<T>;
  constexpr int kColumns = kBackwardChannels / kChannels, kRows = BackwardShared<T, kHalves>::kThreads / kColumns;
  const SelectiveScanInputs<T>& in = p.group.in;
  const int E = static_cast<int>(in.channels), column = static_cast<int>(threadIdx.x) % kColumns * kChannels;
  const int e = block * kBackwardChannels + column, tokens = run.length - sub * kSub;
  const bool gated = in.z != nullptr, real = e < E;
  float bias[kChannels] = {};
  if (real && in.delta_bias != nullptr) {
#pragma unroll
    for (int c = 0; c < kChannels; ++c) bias[c] = in.delta_bias[e + c];
  }
  int t = static_cast<int>(threadIdx.x) / kColumns;
  const std::int64_t step = p.runs.reverse ? -E : E;
  std::int64_t at = run.first * E + (sub * kSub + t) * step + e;
#pragma unroll 4
  for (int i = 0; i < kSub / kRows; ++i, t += kRows, at += kRows * step) {
    Values x, delta, z, dy;
    const bool there = real && t < tokens;
    if (there) {
      x = *reinterpret_cast<const Values*>(in.x + at);
      delta = *reinterpret_cast<const Values*>(in.delta + at);
      z = *reinterpret_cast<const Values*>((gated ? in.z : in.x) + at);
      dy = *reinterpret_cast<const Values*>(p.memory.out.dy + at);
    }
#pragma unroll
    for (int c = 0; c < kChannels; ++c) {
      const float dt = there ? step_size<T>(delta.at(c) + bias[c]) : 0.0F, z_now = z.at(c);
      s.dt[t][column + c] = dt;
      s.dtx[t][column + c] = dt * x.at(c);
      s.dy[t][column + c] = dy.at(c) * (gated ? z_now * sigmoid(z_now) : 1.0F);
    }
  }
}

/// B and C.
template <typename T, int kHalves>
__device__ __forceinline__ void load_tokens(const BackwardArguments<T>& p, const Stretch& run, int sub,
                                            BackwardShared<T, kHalves>& s) {
  using Shared = BackwardShared<T, kHalves>;
  constexpr int kSub = Shared::kSub;
  const int n = static_cast<int>(threadIdx.x) % Shared::NS, state = p.group.first_state + n;
  const int tokens = run.length - sub * kSub;
  const bool real = state < p.group.in.states;
  constexpr int kRows = Shared::kThreads / Shared::NS;
  const std::int64_t row = p.group.row, step = p.runs.reverse ? -row : row;
  int t = static_cast<int>(threadIdx.x) / Shared::NS;
  std::int64_t at = run.first * row + (sub * kSub + t) * step + state;
#pragma unroll
  for (int i = 0; i < kSub / kRows; ++i, t += kRows, at += kRows * step) {
    s.B[t][n] = real && t < tokens ? load(p.group.in.B + at) : 0.0F;
    s.C[t][n] = real && t < tokens ? load(p.group.in.C + at) : 0.0F;
  }
}

template <typename T, int kHalves, bool kPartial>
__global__ void __launch_bounds__(BackwardShared<T, kHalves>::kThreads, 6 / kHalves)
    backward(const BackwardArguments<T> p) {
  using Shared = BackwardShared<T, kHalves>;
  using Sums = LaneSums<32 / kHalves>;
  constexpr int NS = Shared::NS, kThreads = Shared::kThreads, kWarps = Shared::kWarps, kSub = Shared::kSub;
  constexpr int kWarpChannels = 32 / kHalves, kOwnTokens = kTile / kHalves;
  extern __shared__ __align__(16) unsigned char memory[];
  Shared& s = *reinterpret_cast<Shared*>(memory);
  const SelectiveScanInputs<T>& in = p.group.in;
  const std::int64_t place = blockIdx.x / p.channel_blocks, T_all = p.runs.tokens;
  const int block = static_cast<int>(blockIdx.x % p.channel_blocks);
  const int E = static_cast<int>(in.channels), N = static_cast<int>(in.states);
  const int tid = static_cast<int>(threadIdx.x), warp = tid / 32, lane = tid % 32;
  const int half = lane / kWarpChannels, own = warp * kWarpChannels + lane % kWarpChannels;
  const int e = block * kBackwardChannels + own;
  const bool active = e < E;
  const Stretch run = stretch_at(p.runs, place);
  const int sign = p.runs.reverse ? -1 : 1;

  float A2[8], flow[8], dA[8], dbias = 0;
#pragma unroll
  for (int j = 0; j < 8; ++j) A2[j] = active ? p.group.A2(e, half * 8 + j) : 0.0F, dA[j] = 0, flow[j] = 0;
  if (active && run.length > 0) {
    const float* const from = p.memory.state_gradients + (place * E + e) * NS + half * 8;
#pragma unroll
    for (int j = 0; j < 8; ++j) flow[j] = from[j];
  }
  const float skip = active && in.D != nullptr && p.group.last ? in.D[e] : 0.0F;
  const int step = sign * E;
  const bool gated = in.z != nullptr && p.memory.out.dz != nullptr;
  // Which of the tile's sums this thread adds up: dB or dC (tid / NS / kTile) of a token and a state.
  const int sum_token = tid / NS % kTile, sum_at = Sums::to_read(tid % NS % 8, tid % NS / 8);
  float* const token_sum = p.memory.token_sums + ((block * T_all + run.first) * 2 + tid / NS / kTile) * NS + tid % NS;

  for (int sub = (run.length - 1) / kSub; sub >= 0 && run.length > 0; --sub) {
    const int tokens = min(kSub, run.length - sub * kSub);
    const std::int64_t own_at = (run.first + static_cast<std::int64_t>(sign) * sub * kSub) * E + e;

    if (p.pairs) {
      load_steps<2>(p, run, sub, block, s);
    } else {
      load_steps<1>(p, run, sub, block, s);
    }
    load_tokens(p, run, sub, s);
    __syncthreads();

    // Forwards, for the states before each tile.
    const int tiles = (tokens + kTile - 1) / kTile;
    float h[8];
#pragma unroll
    for (int j = 0; j < 8; ++j) h[j] = 0;
    if (active) {
      const std::int64_t sub_at = (place * (p.runs.size() / kSub) + sub) * E + e;
      const float* const start = p.memory.sub_states + sub_at * NS + half * 8;
#pragma unroll
      for (int j = 0; j < 8; ++j) h[j] = start[j];
    }
    for (int tile = 0; tile < tiles; ++tile) {
      s.starts[tile][0][tid] = make_float4(h[0], h[1], h[2], h[3]);
      s.starts[tile][1][tid] = make_float4(h[4], h[5], h[6], h[7]);
      if (tile + 1 == tiles) break;
#pragma unroll
      for (int k = 0; k < kTile; ++k) {
        const int t = tile * kTile + k;
        const float dt = s.dt[t][own], dtx = s.dtx[t][own];
#pragma unroll
        for (int j = 0; j < 8; j += 4) {
          float B[4];
          load_four(&s.B[t][half * 8 + j], B);
#pragma unroll
          for (int i = 0; i < 4; ++i) h[j + i] = fmaf(exp2_fast(dt * A2[j + i]), h[j + i], dtx * B[i]);
        }
      }
    }

    for (int tile = tiles - 1; tile >= 0; --tile) {
      float before[kTile][8], a[kTile][8], Ch[kTile], gB[kTile], Aflow[kTile];
      float(*const sums)[kTile][kWarps][32] = s.sums[tile & 1];
      T x_of[kOwnTokens], dy_of[kOwnTokens], z_of[kOwnTokens];
      const int first_token = tile * kTile + (kHalves == 2 ? half * kOwnTokens : 0);
      const std::int64_t first_at = own_at + static_cast<std::int64_t>(first_token) * step;
      const int own_tokens = active ? min(tokens - first_token, kOwnTokens) : 0;
#pragma unroll
      for (int i = 0; i < kOwnTokens; ++i) {
        const std::int64_t at = first_at + static_cast<std::int64_t>(i * step);
        if (i >= own_tokens) break;
        x_of[i] = *at_element(in.x, at);
        if (gated) dy_of[i] = *at_element(p.memory.out.dy, at), z_of[i] = *at_element(in.z, at);
      }
      {
        const float4 low = s.starts[tile][0][tid], high = s.starts[tile][1][tid];
        h[0] = low.x, h[1] = low.y, h[2] = low.z, h[3] = low.w;
        h[4] = high.x, h[5] = high.y, h[6] = high.z, h[7] = high.w;
      }
#pragma unroll
      for (int k = 0; k < kTile; ++k) {
        const int t = tile * kTile + k;
        const float dt = s.dt[t][own], dtx = s.dtx[t][own], dy = s.dy[t][own];
        float products[8];
        Ch[k] = 0;
#pragma unroll
        for (int j = 0; j < 8; j += 4) {
          float B[4], C[4];
          load_four(&s.B[t][half * 8 + j], B), load_four(&s.C[t][half * 8 + j], C);
#pragma unroll
          for (int i = 0; i < 4; ++i) {
            const int n = j + i;
            before[k][n] = h[n];
            a[k][n] = exp2_fast(dt * A2[n]);
            h[n] = fmaf(a[k][n], h[n], dtx * B[i]);
            Ch[k] = fmaf(h[n], C[i], Ch[k]);
            products[n] = dy * h[n];
          }
        }
        Sums::add(products, sums[1][k][warp]);
      }
#pragma unroll
      for (int k = kTile - 1; k >= 0; --k) {
        const int t = tile * kTile + k;
        const float dt = s.dt[t][own], dtx = s.dtx[t][own], dy = s.dy[t][own];
        float products[8];
        gB[k] = 0, Aflow[k] = 0;
#pragma unroll
        for (int j = 0; j < 8; j += 4) {
          float B[4], C[4];
          load_four(&s.B[t][half * 8 + j], B), load_four(&s.C[t][half * 8 + j], C);
#pragma unroll
          for (int i = 0; i < 4; ++i) {
            const int n = j + i;
            const float g = fmaf(dy, C[i], flow[n]);
            gB[k] = fmaf(g, B[i], gB[k]);
            products[n] = g * dtx;
            flow[n] = a[k][n] * g;
            const float flow_h = flow[n] * before[k][n];
            dA[n] = fmaf(dt, flow_h, dA[n]);
            Aflow[k] = fmaf(A2[n], flow_h, Aflow[k]);
          }
        }
        Sums::add(products, sums[0][k][warp]);
      }

      // The two halves of a channel's states: each takes the sums of half of the tokens.
      if constexpr (kHalves == 2) {
        const auto share = [&](float(&of)[kTile]) {
#pragma unroll
          for (int i = 0; i < kOwnTokens; ++i) {
            const float given = __shfl_xor_sync(~0U, half != 0 ? of[i] : of[i + kOwnTokens], kWarpChannels);
            of[i] = (half != 0 ? of[i + kOwnTokens] : of[i]) + given;
          }
        };
        share(gB), share(Aflow), share(Ch);
      }
#pragma unroll
      for (int i = 0; i < kOwnTokens; ++i) {
        if (i >= own_tokens) break;
        const std::int64_t at = first_at + static_cast<std::int64_t>(i * step);
        if constexpr (kPartial) {
          float* const to = p.memory.partial + at;
          const std::int64_t plane = T_all * E;
          if (p.group.first_state > 0) gB[i] += to[0], Aflow[i] += to[plane], Ch[i] += to[2 * plane];
          to[0] = gB[i], to[plane] = Aflow[i], to[2 * plane] = Ch[i];
          if (!p.group.last) continue;
        }
        constexpr float kLn2 = 0.6931471805599453F;
        const int t = first_token + i;
        const float dt = s.dt[t][own], dy = s.dy[t][own], x = widened(x_of[i]);
        const float ddelta = fmaf(x, gB[i], kLn2 * Aflow[i]) * step_slope(dt);
        store(fmaf(dt, gB[i], skip * dy), at_element(p.memory.out.dx, at));
        store(ddelta, at_element(p.memory.out.ddelta, at));
        dbias += ddelta;
        if (gated) {
          const float z = widened(z_of[i]), open = sigmoid(z);
          const float slope = open * fmaf(z, 1.0F - open, 1.0F);
          store(widened(dy_of[i]) * fmaf(skip, x, Ch[i]) * slope, at_element(p.memory.out.dz, at));
        }
      }
      __syncthreads();
      static_assert(2 * kTile * NS == kThreads, "a thread sums for one token and state, dB or dC");
      if (tile * kTile + sum_token < tokens) {
        const float* const parts = &sums[0][0][0][0] + tid / NS * (kWarps * 32) + sum_at;
        float sum = 0;
#pragma unroll
        for (int w = 0; w < kWarps; ++w) sum += parts[w * 32];
        token_sum[static_cast<std::int64_t>(sign * (sub * kSub + tile * kTile + sum_token)) * (2 * NS)] = sum;
      }
    }
  }

  if constexpr (kHalves == 2) {
    dbias += __shfl_xor_sync(~0U, dbias, kWarpChannels);
  }
  if (!active) return;
  const std::int64_t own_place = place * E + e;
#pragma unroll
  for (int j = 0; j < 8; ++j) {
    const int n = p.group.first_state + half * 8 + j;
    if (n < N) p.memory.dA[own_place * N + n] = dA[j];
  }
  if (half == 0 && p.group.last) p.memory.dbias[own_place] = dbias;
}

/// dB and dC of a group of states: the sums over the blocks of channels.
template <typename T, int NS>
__global__ void sum_channel_blocks(const ScanGroup<T> group, const float* token_sums, int channel_blocks,
                                   std::int64_t tokens, T* dB, T* dC) {
  const std::int64_t count = tokens * 2 * NS, i = static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i >= count) return;
  const int n = static_cast<int>(i % NS), state = group.first_state + n;
  T* const to = i / NS % 2 == 0 ? dB : dC;
  if (state >= group.in.states || to == nullptr) return;
  float sum = 0;
  for (int block = 0; block < channel_blocks; ++block) sum += token_sums[block * count + i];
  store(sum, to + i / (2 * NS) * group.in.states + state);
}

}  // namespace dnamamba::kernels::cuda
