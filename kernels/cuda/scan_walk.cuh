// Walks over runs of tokens with the states in registers: a thread is one or two channels. B and C come through shared
// memory, activations straight from global memory, kAhead steps before they are used.
#pragma once
#include "kernels/cuda/neighbours.cuh"
#include "kernels/cuda/scan_steps.cuh"

namespace dnamamba::kernels::cuda {

inline constexpr int kWalkThreads = 64;
inline constexpr int kWalkTile = 16;  // tokens whose B and C are in shared memory

/// kStates: the states that a run ends with, from zeros. kOutputs: y, from the states that the run starts with.
/// kPartialOutputs: the same where there are more groups of states than one. kAggregate: kStates, the states before
/// every kSubRun tokens, and the gradient that flows out of the run's start when none flows into its end.
enum class Walk { kStates, kOutputs, kPartialOutputs, kAggregate };

template <typename T>
struct WalkArguments {
  ScanGroup<T> group;
  SequenceRuns runs;
  int channel_blocks;
  float* states;           ///< [places, E, NS] written by kStates and kAggregate, read by kOutputs
  float* step_sums;        ///< [places, E] sums of dt over the runs; not for kOutputs
  T* y;                    ///< kOutputs: [T, E]
  float* partial;          ///< kPartialOutputs: [T, E] the sum over the groups of states so far
  const T* dy;             ///< kAggregate: [T, E]
  float* sub_states;       ///< kAggregate: [places * length / kSubRun, E, NS]
  float* sub_step_sums;    ///< kAggregate: [places * length / kSubRun, E] sums of dt before
  float* state_gradients;  ///< kAggregate: [places, E, NS]
};

/// B and C of kWalkTile tokens in two buffers, the next ones on their way in registers.
template <typename T, int NS, bool kWithC>
struct TokenTiles {
  static constexpr int kEach = kWalkTile * NS / kWalkThreads;
  float B[2][kWalkTile][NS];
  float C[kWithC ? 2 : 1][kWithC ? kWalkTile : 1][NS];

  struct Coming {
    float B[kEach], C[kWithC ? kEach : 1];
  };
  __device__ static void fetch(const ScanGroup<T>& group, const Stretch& run, bool reverse, int tile, Coming& coming) {
#pragma unroll
    for (int j = 0; j < kEach; ++j) {
      const int i = static_cast<int>(threadIdx.x) + j * kWalkThreads, token = tile * kWalkTile + i / NS;
      const std::int64_t row = reverse ? run.first - token : run.first + token;
      coming.B[j] = token < run.length ? group.token_value(group.in.B, row, i % NS) : 0.0F;
      if constexpr (kWithC) coming.C[j] = token < run.length ? group.token_value(group.in.C, row, i % NS) : 0.0F;
    }
  }
  __device__ void put(int tile, const Coming& coming) {
#pragma unroll
    for (int j = 0; j < kEach; ++j) {
      const int i = static_cast<int>(threadIdx.x) + j * kWalkThreads;
      (&B[tile & 1][0][0])[i] = coming.B[j];
      if constexpr (kWithC) (&C[tile & 1][0][0])[i] = coming.C[j];
    }
  }
};

template <int NS>
__device__ __forceinline__ void store_states(const float (&from)[NS], float* to) {
#pragma unroll
  for (int n = 0; n < NS; n += 4) {
    *reinterpret_cast<float4*>(to + n) = make_float4(from[n], from[n + 1], from[n + 2], from[n + 3]);
  }
}
template <int NS>
__device__ __forceinline__ void load_states(const float* from, float (&to)[NS]) {
#pragma unroll
  for (int n = 0; n < NS; n += 4) {
    const float4 four = *reinterpret_cast<const float4*>(from + n);
    to[n] = four.x, to[n + 1] = four.y, to[n + 2] = four.z, to[n + 3] = four.w;
  }
}

/// Blocks that a multiprocessor holds at least: what registers there are for it.
template <int NS, int kChannels, Walk kWalk>
inline constexpr int kWalkBlocks = NS* kChannels*(kWalk == Walk::kAggregate ? 2 : 1) > 16 ? 8 : 10;

template <typename T, int NS, int kChannels, Walk kWalk>
__global__ void __launch_bounds__(kWalkThreads, kWalkBlocks<NS, kChannels, kWalk>) walk(const WalkArguments<T> p) {
  constexpr bool kPartial = kWalk == Walk::kPartialOutputs, kOutputs = kWalk == Walk::kOutputs || kPartial;
  constexpr bool kAggregate = kWalk == Walk::kAggregate;
  constexpr bool kWithC = kWalk != Walk::kStates;
  constexpr int kAhead = 4;
  using Values = Neighbours<T, kChannels>;
  using Tiles = TokenTiles<T, NS, kWithC>;
  __shared__ __align__(16) Tiles tiles;
  const SelectiveScanInputs<T>& in = p.group.in;
  const std::int64_t place = blockIdx.x / p.channel_blocks;
  const Stretch run = stretch_at(p.runs, place);
  if (run.length == 0) return;
  const int E = static_cast<int>(in.channels);
  const int own =
      (static_cast<int>(blockIdx.x) % p.channel_blocks * kWalkThreads + static_cast<int>(threadIdx.x)) * kChannels;
  const bool active = own < E;
  const int e = active ? own : E - kChannels;  // threads without a channel repeat the last ones, and write nothing
  const std::int64_t at = run.first * E + e;
  const int step = p.runs.reverse ? -E : E;

  float A2[kChannels][NS], h[kChannels][NS], bias[kChannels], skip[kChannels], dt_sum[kChannels];
  float decay[kAggregate ? NS : 1], g[kAggregate ? NS : 1];
#pragma unroll
  for (int c = 0; c < kChannels; ++c) {
    bias[c] = in.delta_bias != nullptr ? in.delta_bias[e + c] : 0.0F;
    skip[c] = kOutputs && in.D != nullptr && p.group.last ? in.D[e + c] : 0.0F;
    dt_sum[c] = 0;
#pragma unroll
    for (int n = 0; n < NS; ++n) A2[c][n] = p.group.A2(e + c, n), h[c][n] = 0;
    if constexpr (kOutputs) load_states(p.states + (place * E + e + c) * NS, h[c]);
  }
  if constexpr (kAggregate) {
#pragma unroll
    for (int n = 0; n < NS; ++n) decay[n] = 1, g[n] = 0;
  }

  // Where there is no gate, x is read in its place.
  const bool gated = in.z != nullptr;
  const T *x_next = in.x + at, *delta_next = in.delta + at, *z_next = (gated ? in.z : in.x) + at;
  const T* dy_next = kAggregate ? p.dy + at : nullptr;
  Values x[kAhead], delta[kAhead], z[kAhead], dy[kAhead];
  int fetched = 0;
  const auto fetch = [&](int k) {
    if (fetched++ < run.length) {
      x[k] = *reinterpret_cast<const Values*>(x_next);
      delta[k] = *reinterpret_cast<const Values*>(delta_next);
      if constexpr (kWithC) z[k] = *reinterpret_cast<const Values*>(z_next);
      if constexpr (kAggregate) dy[k] = *reinterpret_cast<const Values*>(dy_next);
    }
    x_next += step, delta_next += step;
    if constexpr (kWithC) z_next += step;
    if constexpr (kAggregate) dy_next += step;
  };
#pragma unroll
  for (int k = 0; k < kAhead; ++k) fetch(k);
  T* y_next = kOutputs ? p.y + at : nullptr;
  typename Tiles::Coming coming;
  Tiles::fetch(p.group, run, p.runs.reverse, 0, coming);
  tiles.put(0, coming);

  for (int tile = 0; tile * kWalkTile < run.length; ++tile) {
    __syncthreads();  // the tile is there, and no one reads the other buffer any more
    const bool more = (tile + 1) * kWalkTile < run.length;
    if (more) Tiles::fetch(p.group, run, p.runs.reverse, tile + 1, coming);
    if constexpr (kAggregate) {
      if (active && tile % (kSubRun / kWalkTile) == 0) {
        const std::int64_t sub = (place * (p.runs.size() / kSubRun) + tile / (kSubRun / kWalkTile)) * E + e;
        store_states(h[0], p.sub_states + sub * NS);
        p.sub_step_sums[sub] = dt_sum[0];
      }
    }
    const int tokens = min(kWalkTile, run.length - tile * kWalkTile);
#pragma unroll 1
    for (int i0 = 0; i0 < tokens; i0 += kAhead) {
#pragma unroll
      for (int k = 0; k < kAhead; ++k) {
        const bool there = i0 + k < tokens;
        float dt[kChannels], dtx[kChannels], y[kChannels], gate[kChannels], dy_now[kChannels];
#pragma unroll
        for (int c = 0; c < kChannels; ++c) {
          const float x_now = x[k].at(c);
          dt[c] = there ? step_size<T>(delta[k].at(c) + bias[c]) : 0.0F;
          dtx[c] = dt[c] * x_now;
          dt_sum[c] += dt[c];
          y[c] = skip[c] * x_now;
          if constexpr (kWithC) {
            const float z_now = z[k].at(c);
            gate[c] = gated ? z_now * sigmoid(z_now) : 1.0F;
          }
          if constexpr (kAggregate) dy_now[c] = there ? dy[k].at(c) * gate[c] : 0.0F;
        }
        fetch(k);
#pragma unroll
        for (int n = 0; n < NS; n += 4) {
          float B[4], C[4] = {};
          load_four(&tiles.B[tile & 1][i0 + k][n], B);
          if constexpr (kWithC) load_four(&tiles.C[tile & 1][i0 + k][n], C);
#pragma unroll
          for (int c = 0; c < kChannels; ++c) {
#pragma unroll
            for (int j = 0; j < 4; ++j) {
              const float a = exp2_fast(dt[c] * A2[c][n + j]);
              h[c][n + j] = fmaf(a, h[c][n + j], dtx[c] * B[j]);
              if constexpr (kOutputs) y[c] = fmaf(h[c][n + j], C[j], y[c]);
              if constexpr (kAggregate) {
                decay[n + j] *= a;
                g[n + j] = fmaf(decay[n + j], dy_now[c] * C[j], g[n + j]);
              }
            }
          }
        }
        if constexpr (kPartial) {
          float* const sum = p.partial + (y_next - p.y);
#pragma unroll
          for (int c = 0; c < kChannels; ++c) {
            if (!there || !active) break;
            if (p.group.first_state > 0) y[c] += sum[c];
            sum[c] = y[c];
          }
        }
        if constexpr (kOutputs) {
          if (there && active && (!kPartial || p.group.last)) {
            Values out;
#pragma unroll
            for (int c = 0; c < kChannels; ++c) y[c] *= gate[c];
            out.set(y);
            *reinterpret_cast<Values*>(y_next) = out;
          }
          y_next += step;
        }
      }
    }
    if (more) tiles.put(tile + 1, coming);
  }
  if constexpr (!kOutputs) {
    if (!active) return;
#pragma unroll
    for (int c = 0; c < kChannels; ++c) {
      store_states(h[c], p.states + (place * E + e + c) * NS);
      p.step_sums[place * E + e + c] = dt_sum[c];
    }
    if constexpr (kAggregate) store_states(g, p.state_gradients + (place * E + e) * NS);
  }
}

template <typename T, int NS, int kChannels, Walk kWalk>
void launch_walk(WalkArguments<T> p, Stream stream) {
  p.channel_blocks = static_cast<int>(ceil_div(p.group.in.channels, kWalkThreads * kChannels));
  const std::int64_t blocks = p.runs.places() * p.channel_blocks;
  if (blocks == 0) return;
  walk<T, NS, kChannels, kWalk><<<static_cast<unsigned>(blocks), kWalkThreads, 0, stream>>>(p);
  check_launch("selective_scan");
}

}  // namespace dnamamba::kernels::cuda
