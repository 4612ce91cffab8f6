// Walks over runs of tokens with the states in registers: a thread is one or two channels. What is read comes through
// shared memory, a tile of tokens ahead.
#pragma once
#include "kernels/cuda/neighbours.cuh"
#include "kernels/cuda/scan_steps.cuh"
#include "kernels/cuda/vectors.cuh"

namespace dnamamba::kernels::cuda {

inline constexpr int kWalkThreads = 64;
/// Tokens of a tile.
template <typename T, int kChannels>
inline constexpr int kWalkTile = 32 / (static_cast<int>(sizeof(T)) * kChannels);

/// kStates: the states that a run ends with, from zeros. kOutputs: y, from the states that the run starts with.
/// kPartialOutputs: the same where there are more groups of states than one. kAggregate, from the states that the run
/// starts with: the states before every kSubRun tokens, the gradient that flows out of the run's start when none flows
/// into its end, and that of D.
enum class Walk { kStates, kOutputs, kPartialOutputs, kAggregate };

template <typename T>
struct WalkArguments {
  ScanGroup<T> group;
  SequenceRuns runs;
  int channel_blocks;
  bool vectors;            ///< B and C can be read several states at a time
  int bytes;               ///< of activations that can be read at a time
  float* states;           ///< [places, E, NS] written by kStates, read by kOutputs; not for kAggregate
  float* step_sums;        ///< [places, E] sums of dt over the runs; not for kOutputs
  T* y;                    ///< kOutputs: [T, E]
  float* partial;          ///< kPartialOutputs: [T, E] the sum over the groups of states so far
  const T* dy;             ///< kAggregate: [T, E]
  float* sub_states;       ///< kAggregate: [places * length / kSubRun, E, NS], see store_sub_states
  RunStarts starts;        ///< kAggregate
  float* state_gradients;  ///< kAggregate: [places, E, NS]
  float* dD;               ///< kAggregate: [places, E] the gradient of D
};

/// B and C of kTokens tokens in two buffers, the next ones on their way in registers: each thread has a few
/// neighbouring states of one token.
template <typename T, int NS, int kTokens, bool kWithC>
struct TokenTiles {
  static constexpr int kEach = kTokens * NS / kWalkThreads;
  float B[2][kTokens][NS];
  float C[kWithC ? 2 : 1][kWithC ? kTokens : 1][NS];

  struct Coming {
    Packed<T, kEach> B, C;
  };
  /// `vectors`: kEach states lie together in memory, and all or none of them exist.
  __device__ static void fetch(const ScanGroup<T>& group, const Stretch& run, bool reverse, bool vectors, int tile,
                               Coming& coming) {
    const int i = static_cast<int>(threadIdx.x) * kEach, token = tile * kTokens + i / NS;
    const int state = group.first_state + i % NS, N = static_cast<int>(group.in.states);
    const std::int64_t at = (reverse ? run.first - token : run.first + token) * group.row + state;
    const auto read = [&](const T* matrix) {
      if (vectors) return load_packed<kEach>(matrix + at);
      float each[kEach];
#pragma unroll
      for (int j = 0; j < kEach; ++j) each[j] = state + j < N ? load(matrix + at + j) : 0.0F;
      return pack(each, matrix);
    };
    coming = {};
    if (token >= run.length || state >= N) return;
    coming.B = read(group.in.B);
    if constexpr (kWithC) coming.C = read(group.in.C);
  }
  __device__ void put(int tile, const Coming& coming) {
    const int i = static_cast<int>(threadIdx.x) * kEach;
    float each[kEach];
    unpack(coming.B, each);
    put(each, &B[tile & 1][0][0] + i);
    if constexpr (kWithC) {
      unpack(coming.C, each);
      put(each, &C[tile & 1][0][0] + i);
    }
  }

 private:
  __device__ static void put(const float (&from)[kEach], float* to) {
    store_packed(pack(from, to), to);
  }
};

/// Activations of kTokens tokens in two buffers.
template <typename T, int kArrays, int kTokens, int kColumns>
struct ActivationTiles {
  T of[2][kArrays][kTokens][kColumns];

  /// Sends for rows `step` apart, of which the first `rows` and of them the first `columns` values exist; `bytes` can
  /// be read at a time.
  __device__ void fetch(const T* const (&from)[kArrays], std::int64_t step, int rows, int columns, int bytes,
                        int tile) {
    if (bytes == 16) {
      fetch_by<16>(from, step, rows, columns, of[tile & 1]);
    } else if (bytes == 8) {
      fetch_by<8>(from, step, rows, columns, of[tile & 1]);
    } else {
      fetch_by<kColumns / kWalkThreads* static_cast<int>(sizeof(T))>(from, step, rows, columns, of[tile & 1]);
    }
  }

 private:
  template <int kBytes>
  __device__ static void fetch_by(const T* const (&from)[kArrays], std::int64_t step, int rows, int columns,
                                  T (&to)[kArrays][kTokens][kColumns]) {
    constexpr int kValues = kBytes / static_cast<int>(sizeof(T)), kChunks = kColumns / kValues;
    const int column = static_cast<int>(threadIdx.x) % kChunks * kValues;
    static_assert(kWalkThreads % kChunks == 0 || kChunks % kWalkThreads == 0);
    constexpr int kRows = kWalkThreads / kChunks;
    int row = static_cast<int>(threadIdx.x) / kChunks;
    std::int64_t at = row * step + column;
#pragma unroll
    for (int i = 0; i < (kTokens + kRows - 1) / kRows; ++i, row += kRows, at += kRows * step) {
      if (kTokens % kRows != 0 && row >= kTokens) break;
      const bool there = row < rows && column < columns;
#pragma unroll
      for (int k = 0; k < kArrays; ++k) {
        if constexpr (kBytes >= 4) {
          copy_async<kBytes>(&to[k][row][column], at_element(from[k], at), there);
        } else {
          to[k][row][column] = there ? *at_element(from[k], at) : T{};
        }
      }
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

/// For bf16 in the order in which lanes of tensor cores have states (see tensor_tile.cuh): 0, 1, 8, 9, 2, 3, 10, 11, …
template <typename T, int NS>
__device__ __forceinline__ void store_sub_states(const float (&from)[NS], float* to) {
  if constexpr (std::is_same_v<T, BFloat16>) {
    static_assert(NS == 16);
#pragma unroll
    for (int q = 0; q < 4; ++q) {
      *reinterpret_cast<float4*>(to + 4 * q) =
          make_float4(from[2 * q], from[2 * q + 1], from[8 + 2 * q], from[9 + 2 * q]);
    }
  } else {
    store_states(from, to);
  }
}

/// Blocks that a multiprocessor holds at least: what registers there are for it.
template <int NS, int kChannels, Walk kWalk>
inline constexpr int kWalkBlocks = NS* kChannels*(kWalk == Walk::kAggregate ? 2 : 1) > 16 ? 8 : 10;

/// Whether the decay of a state is computed by multiply-adds: one of 16 where the special-function unit is what all
/// wait for. In the other walks it gains nothing.
template <Walk kWalk>
constexpr bool by_products(int state) {
  return kWalk == Walk::kStates && state % 16 == 15;
}

template <typename T, int NS, int kChannels, Walk kWalk>
__global__ void __launch_bounds__(kWalkThreads, kWalkBlocks<NS, kChannels, kWalk>) walk(const WalkArguments<T> p) {
  constexpr bool kPartial = kWalk == Walk::kPartialOutputs, kOutputs = kWalk == Walk::kOutputs || kPartial;
  constexpr bool kAggregate = kWalk == Walk::kAggregate;
  constexpr bool kWithC = kWalk != Walk::kStates;
  constexpr int kTokens = kWalkTile<T, kChannels>, kAtOnce = 4, kArrays = kAggregate ? 4 : kWithC ? 3 : 2;
  using Values = Neighbours<T, kChannels>;
  using Tiles = TokenTiles<T, NS, kTokens, kWithC>;
  using Activations = ActivationTiles<T, kArrays, kTokens, kWalkThreads * kChannels>;
  __shared__ __align__(16) Tiles tiles;
  __shared__ __align__(16) Activations activations;
  const SelectiveScanInputs<T>& in = p.group.in;
  const std::int64_t place = blockIdx.x / p.channel_blocks;
  const Stretch run = stretch_at(p.runs, place);
  const int E = static_cast<int>(in.channels);
  const int first_channel = static_cast<int>(blockIdx.x) % p.channel_blocks * kWalkThreads * kChannels;
  const int column = static_cast<int>(threadIdx.x) * kChannels, own = first_channel + column;
  const bool active = own < E;
  if (run.length == 0) {  // dD is summed over all places
    if (kAggregate && active) p.dD[place * E + own] = 0;
    return;
  }
  const int e = active ? own : E - kChannels;  // threads without a channel have the last ones, and write nothing
  const int step = p.runs.reverse ? -E : E;

  float A2[kChannels][NS], h[kChannels][NS], bias[kChannels], skip[kChannels], dt_sum[kChannels];
  float decay[kAggregate ? NS : 1], g[kAggregate ? NS : 1], dD = 0;
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
    const float* const start = p.starts.at(p.runs.at(place), E, e);
#pragma unroll
    for (int n = 0; n < NS; ++n) h[0][n] = n < p.starts.NS ? start[n] : 0.0F;
  }

  const bool gated = in.z != nullptr;
  const auto fetch = [&](int tile) {
    const std::int64_t at = run.first * E + static_cast<std::int64_t>(tile) * kTokens * step + first_channel;
    const T* const all[4] = {in.x + at, in.delta + at, (gated ? in.z : in.x) + at, kAggregate ? p.dy + at : nullptr};
    const T* from[kArrays];
#pragma unroll
    for (int k = 0; k < kArrays; ++k) from[k] = all[k];
    activations.fetch(from, step, run.length - tile * kTokens, E - first_channel, p.bytes, tile);
  };
  fetch(0);
  T* y_next = kOutputs ? p.y + run.first * E + e : nullptr;
  typename Tiles::Coming coming;
  Tiles::fetch(p.group, run, p.runs.reverse, p.vectors, 0, coming);
  tiles.put(0, coming);

  for (int tile = 0; tile * kTokens < run.length; ++tile) {
    wait_for_copies();
    __syncthreads();  // the tile is there, and no one reads the other buffer any more
    const bool more = (tile + 1) * kTokens < run.length;
    if (more) Tiles::fetch(p.group, run, p.runs.reverse, p.vectors, tile + 1, coming);
    if (more) fetch(tile + 1);
    const auto& values = activations.of[tile & 1];
    const int tokens = min(kTokens, run.length - tile * kTokens);
#pragma unroll 1
    for (int i0 = 0; i0 < tokens; i0 += kAtOnce) {
      if constexpr (kAggregate) {
        const int token = tile * kTokens + i0;
        if (active && token % kSubRun<T> == 0) {
          const std::int64_t sub = (place * (p.runs.size() / kSubRun<T>)+token / kSubRun<T>)*E + e;
          store_sub_states<T>(h[0], p.sub_states + sub * NS);
        }
      }
#pragma unroll
      for (int k = 0; k < kAtOnce; ++k) {
        const bool there = i0 + k < tokens;
        const auto value = [&](int array) { return *reinterpret_cast<const Values*>(&values[array][i0 + k][column]); };
        const Values x = value(0), delta = value(1);
        Values z, dy;
        if constexpr (kWithC) z = value(2);
        if constexpr (kAggregate) dy = value(3);
        float dt[kChannels], dtx[kChannels], y[kChannels], gate[kChannels], dy_now[kChannels];
#pragma unroll
        for (int c = 0; c < kChannels; ++c) {
          const float x_now = x.at(c);
          dt[c] = there ? step_size<T>(delta.at(c) + bias[c]) : 0.0F;
          dtx[c] = dt[c] * x_now;
          dt_sum[c] += dt[c];
          y[c] = skip[c] * x_now;
          if constexpr (kWithC) {
            const float z_now = z.at(c);
            gate[c] = gated ? z_now * sigmoid(z_now) : 1.0F;
          }
          if constexpr (kAggregate) {
            dy_now[c] = there ? dy.at(c) * gate[c] : 0.0F;
            dD = fmaf(dy_now[c], x_now, dD);
          }
        }
#pragma unroll
        for (int n = 0; n < NS; n += 4) {
          float B[4], C[4] = {};
          load_four(&tiles.B[tile & 1][i0 + k][n], B);
          if constexpr (kWithC) load_four(&tiles.C[tile & 1][i0 + k][n], C);
#pragma unroll
          for (int c = 0; c < kChannels; ++c) {
#pragma unroll
            for (int j = 0; j < 4; ++j) {
              const float exponent = dt[c] * A2[c][n + j];
              const float a = by_products<kWalk>(n + j) ? exp2_by_products(exponent) : exp2_fast(exponent);
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
      if constexpr (!kAggregate) store_states(h[c], p.states + (place * E + e + c) * NS);
      p.step_sums[place * E + e + c] = dt_sum[c];
    }
    if constexpr (kAggregate) {
      store_states(g, p.state_gradients + (place * E + e) * NS);
      p.dD[place * E + e] = dD;
    }
  }
}

template <typename T, int NS, int kChannels, Walk kWalk>
void launch_walk(WalkArguments<T> p, Stream stream) {
  const SelectiveScanInputs<T>& in = p.group.in;
  p.channel_blocks = static_cast<int>(ceil_div(in.channels, kWalkThreads * kChannels));
  p.vectors = states_fit(in, TokenTiles<T, NS, kWalkTile<T, kChannels>, true>::kEach);
  const auto fit = [&](int bytes) {
    return vectors_fit<T>(bytes / static_cast<int>(sizeof(T)), in.channels, {in.x, in.delta, in.z, p.dy});
  };
  p.bytes = fit(16) ? 16 : fit(8) ? 8 : 0;
  const std::int64_t blocks = p.runs.places() * p.channel_blocks;
  if (blocks == 0) return;
  walk<T, NS, kChannels, kWalk><<<static_cast<unsigned>(blocks), kWalkThreads, 0, stream>>>(p);
  check_launch("selective_scan");
}

}  // namespace dnamamba::kernels::cuda
