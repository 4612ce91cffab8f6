#include "kernels/causal_conv1d.h"

#include "kernels/arguments.h"
#include "kernels/cuda/device.cuh"
#include "kernels/cuda/sequence_runs.cuh"
#include "kernels/cuda/sum_rows.cuh"
#include "kernels/cuda/vectors.cuh"

// A thread has a few neighbouring channels and walks along a run of tokens with the last K inputs in registers, so that
// an input is read once; K - 1 tokens at the ends of a run are read twice. Threads next to each other have channels
// next to each other. Backward, the gradient of an input is ready K - 1 tokens after it: it is written then.
namespace dnamamba::kernels::cuda {
namespace {

constexpr int kThreads = 256;
constexpr std::int64_t kResidentThreads = 132 * 3 * kThreads;  // of a large GPU

/// Tokens that are loaded together, a batch ahead of those that are computed: 32 bytes in flight of every thread,
/// forward, and 16 of each of two streams backward.
template <typename T, int kVector>
constexpr int kForwardBatch = std::min<int>(8, 32 / (sizeof(T) * kVector));
template <typename T, int kVector>
constexpr int kBackwardBatch = std::min<int>(8, 16 / (sizeof(T) * kVector));

/// The last kWidth rows, oldest first.
template <int kWidth, int kVector>
struct Window {
  float rows[kWidth][kVector];

  __device__ __forceinline__ void push(const float (&row)[kVector]) {
#pragma unroll
    for (int i = 0; i < kVector; ++i) {
#pragma unroll
      for (int k = 0; k + 1 < kWidth; ++k) rows[k][i] = rows[k + 1][i];
      rows[kWidth - 1][i] = row[i];
    }
  }
};

template <int kWidth, int kVector>
struct Taps {
  float weight[kVector][kWidth], bias[kVector];

  template <typename T>
  __device__ __forceinline__ Taps(const CausalConv1dInputs<T>& in, std::int64_t channel) {
#pragma unroll
    for (int i = 0; i < kVector; ++i) {
      bias[i] = in.bias == nullptr ? 0.0F : __ldg(in.bias + channel + i);
#pragma unroll
      for (int k = 0; k < kWidth; ++k) weight[i][k] = __ldg(in.weight + (channel + i) * kWidth + k);
    }
  }
  __device__ __forceinline__ float convolve(const Window<kWidth, kVector>& x, int i) const {
    float v = bias[i];
#pragma unroll
    for (int k = 0; k < kWidth; ++k) v = fmaf(weight[i][k], x.rows[k][i], v);
    return v;
  }
  /// What the last kWidth values pass back to the oldest input.
  __device__ __forceinline__ float transposed(const Window<kWidth, kVector>& dv, int i) const {
    float dx = 0;
#pragma unroll
    for (int k = 0; k < kWidth; ++k) dx = fmaf(weight[i][kWidth - 1 - k], dv.rows[k][i], dx);
    return dx;
  }
};

/// One input of the thread's channels: a token's, or at positions below 0 the initial state's.
template <int kVector, typename T>
__device__ __forceinline__ void load_input(const CausalConv1dInputs<T>& in, const Run& run, std::int64_t position,
                                           std::int64_t channel, float (&row)[kVector]) {
  if (position >= 0) {
    unpack(load_packed<kVector>(in.x + (run.row + run.step * position) * in.channels + channel), row);
    return;
  }
  const std::int64_t state = run.sequence * (in.width - 1) + in.width - 1 + position;
#pragma unroll
  for (int i = 0; i < kVector; ++i) {
    row[i] = in.initial_state == nullptr ? 0.0F : __ldg(in.initial_state + state * in.channels + channel + i);
  }
}

/// The inputs before the run, in the places from which the first push moves them on.
template <int kWidth, int kVector, typename T>
__device__ __forceinline__ Window<kWidth, kVector> inputs_before(const CausalConv1dInputs<T>& in, const Run& run,
                                                                 std::int64_t channel) {
  Window<kWidth, kVector> x;
#pragma unroll
  for (int k = 1; k < kWidth; ++k) load_input(in, run, run.first - kWidth + k, channel, x.rows[k]);
  return x;
}

/// Rows `step` apart.
template <int kTokens, int kVector, typename T>
__device__ __forceinline__ void load_tokens(const T* from, std::int64_t step, Packed<T, kVector> (&to)[kTokens]) {
#pragma unroll
  for (int t = 0; t < kTokens; ++t) to[t] = load_packed<kVector>(from + t * step);
}

template <int kTokens, typename T, int kWidth, int kVector>
__device__ __forceinline__ void forward_tokens(const Taps<kWidth, kVector>& taps, bool silu,
                                               const Packed<T, kVector> (&loaded)[kTokens], T* to, std::int64_t step,
                                               Window<kWidth, kVector>& x) {
#pragma unroll
  for (int t = 0; t < kTokens; ++t) {
    float row[kVector];
    unpack(loaded[t], row);
    x.push(row);
#pragma unroll
    for (int i = 0; i < kVector; ++i) {
      const float v = taps.convolve(x, i);
      const float s = sigmoid(v);
      row[i] = silu ? v * s : v;
    }
    store_values(row, to + t * step);
  }
}

/// The runs that a part walks over one after another, and where parts leave their sums.
struct Parts {
  SequenceRuns runs;
  std::int64_t count = 1, runs_of_part = 1;
  float *dweight = nullptr, *dbias = nullptr;  ///< [count, E, K] and [count, E]; backward

  /// Calls walk(run) for the runs of a part, those of a sequence as one.
  template <typename Walk>
  __device__ __forceinline__ void for_each_run(std::int64_t part, Walk&& walk) const {
    const std::int64_t end = min((part + 1) * runs_of_part, runs.places());
#pragma unroll 1
    for (std::int64_t place = part * runs_of_part; place < end;) {
      const Run run = runs.from(place, end, place);
      if (run.exists()) walk(run);
    }
  }
};

template <int kWidth, int kVector, typename T>
__device__ __forceinline__ void forward_run(const CausalConv1dInputs<T>& in, const CausalConv1dOutputs<T>& out,
                                            const Taps<kWidth, kVector>& taps, const Run& run, std::int64_t channel) {
  constexpr int kBatch = kForwardBatch<T, kVector>;
  Window<kWidth, kVector> x = inputs_before<kWidth, kVector>(in, run, channel);
  const std::int64_t step = run.step * in.channels;
  std::int64_t at = (run.row + run.step * run.first) * in.channels + channel;
  std::int64_t left = run.last - run.first;
  // A batch ahead.
  Packed<T, kVector> batch[kBatch], next[kBatch];
  if (left >= kBatch) load_tokens(in.x + at, step, next);
#pragma unroll 1
  for (; left >= kBatch; left -= kBatch, at += kBatch * step) {
#pragma unroll
    for (int t = 0; t < kBatch; ++t) batch[t] = next[t];
    if (left >= 2 * kBatch) load_tokens(in.x + at + kBatch * step, step, next);
    forward_tokens(taps, in.silu, batch, out.y + at, step, x);
  }
#pragma unroll 1
  for (; left > 0; --left, at += step) {
    Packed<T, kVector> token[1];
    load_tokens(in.x + at, step, token);
    forward_tokens(taps, in.silu, token, out.y + at, step, x);
  }
  if (out.final_state == nullptr || !run.ends_the_sequence()) return;
  float* const state = out.final_state + run.sequence * (kWidth - 1) * in.channels + channel;
#pragma unroll
  for (int k = 1; k < kWidth; ++k) {
#pragma unroll
    for (int i = 0; i < kVector; ++i) state[(k - 1) * in.channels + i] = x.rows[k][i];
  }
}

template <typename T, int kWidth, int kVector>
__global__ void __launch_bounds__(kThreads, 3)
    forward(const __grid_constant__ CausalConv1dInputs<T> in, const __grid_constant__ CausalConv1dOutputs<T> out,
            const __grid_constant__ Parts parts) {
  const std::int64_t id = static_cast<std::int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  const std::int64_t vectors = in.channels / kVector, part = id / vectors;
  if (part >= parts.count) return;
  const std::int64_t channel = (id - part * vectors) * kVector;
  const Taps<kWidth, kVector> taps(in, channel);
  parts.for_each_run(part, [&](const Run& run) { forward_run(in, out, taps, run, channel); });
}

/// dv = dy * slope of silu at v, for the newest token of the window.
template <int kWidth, int kVector>
__device__ __forceinline__ void value_gradient(const Taps<kWidth, kVector>& taps, bool silu,
                                               const Window<kWidth, kVector>& x, float (&dv)[kVector]) {
#pragma unroll
  for (int i = 0; i < kVector; ++i) {
    const float v = taps.convolve(x, i);
    const float s = sigmoid(v);
    const float slope = s * fmaf(v, 1.0F - s, 1.0F);
    dv[i] = silu ? dv[i] * slope : dv[i];
  }
}

/// A thread's part of dweight and dbias.
template <int kWidth, int kVector>
struct Sums {
  float weight[kVector][kWidth] = {}, bias[kVector] = {};

  __device__ __forceinline__ void add(const Window<kWidth, kVector>& x, const float (&dv)[kVector]) {
#pragma unroll
    for (int i = 0; i < kVector; ++i) {
      bias[i] += dv[i];
#pragma unroll
      for (int k = 0; k < kWidth; ++k) weight[i][k] = fmaf(dv[i], x.rows[k][i], weight[i][k]);
    }
  }
};

/// A thread's walk along runs, backward.
template <typename T, int kWidth, int kVector>
struct BackwardWalk {
  static constexpr int kBatch = kBackwardBatch<T, kVector>;
  const CausalConv1dInputs<T>& in;
  const CausalConv1dGradients<T>& out;
  std::int64_t channel;
  Taps<kWidth, kVector> taps;
  Sums<kWidth, kVector> sums;
  Window<kWidth, kVector> x, dv;

  __device__ __forceinline__ BackwardWalk(const CausalConv1dInputs<T>& in, const CausalConv1dGradients<T>& out,
                                          std::int64_t channel)
      : in(in), out(out), channel(channel), taps(in, channel) {}

  __device__ __forceinline__ void walk(const Run& run) {
    x = inputs_before<kWidth, kVector>(in, run, channel);
    dv = {};
    std::int64_t p = run.first;
    for (; p < run.first + kWidth - 1; ++p) token(run, p);
    if (p + kBatch <= run.last) p = batches(run, p);
    // Past the run's end go on what its last inputs wait for.
    for (; p < run.last + kWidth - 1; ++p) token(run, p);
  }

  /// Positions from p on, kBatch at a time, all of this run, as are the inputs whose gradients they complete. The first
  /// position that is left.
  __device__ __forceinline__ std::int64_t batches(const Run& run, std::int64_t p) {
    const std::int64_t step = run.step * in.channels;
    std::int64_t at = (run.row + run.step * p) * in.channels + channel;
    Packed<T, kVector> xs[kBatch], dys[kBatch], next_xs[kBatch], next_dys[kBatch];
    load_tokens(in.x + at, step, next_xs), load_tokens(out.dy + at, step, next_dys);
#pragma unroll 1
    for (; p + kBatch <= run.last; p += kBatch, at += kBatch * step) {
#pragma unroll
      for (int t = 0; t < kBatch; ++t) xs[t] = next_xs[t], dys[t] = next_dys[t];
      if (p + 2 * kBatch <= run.last) {
        load_tokens(in.x + at + kBatch * step, step, next_xs), load_tokens(out.dy + at + kBatch * step, step, next_dys);
      }
      batch(xs, dys, step, out.dx + (at - (kWidth - 1) * step));
    }
    return p;
  }

  __device__ __forceinline__ void batch(const Packed<T, kVector> (&xs)[kBatch], const Packed<T, kVector> (&dys)[kBatch],
                                        std::int64_t step, T* dx) {
#pragma unroll
    for (int t = 0; t < kBatch; ++t, dx += step) {
      float row[kVector];
      unpack(xs[t], row);
      x.push(row);
      unpack(dys[t], row);
      value_gradient(taps, in.silu, x, row);
      sums.add(x, row);
      dv.push(row);
      if (out.dx == nullptr) continue;
#pragma unroll
      for (int i = 0; i < kVector; ++i) row[i] = taps.transposed(dv, i);
      store_values(row, dx);
    }
  }

  /// One position: also those beyond the run's end, and beyond the sequence's.
  __device__ __forceinline__ void token(const Run& run, std::int64_t p) {
    float row[kVector] = {};
    if (p < run.length) {
      const std::int64_t at = (run.row + run.step * p) * in.channels + channel;
      unpack(load_packed<kVector>(in.x + at), row);
      x.push(row);
      unpack(load_packed<kVector>(out.dy + at), row);
      value_gradient(taps, in.silu, x, row);
      if (p < run.last) sums.add(x, row);
    }
    dv.push(row);
    store(run, p);
  }

  /// Writes the gradient that position p completes, if it is this run's: of an input, or of the initial state.
  __device__ __forceinline__ void store(const Run& run, std::int64_t p) {
    const std::int64_t input = p - (kWidth - 1);
    if (input < run.first && (run.first > 0 || out.dinitial_state == nullptr)) return;
    if (input >= 0 && out.dx == nullptr) return;
    const std::int64_t states = run.sequence * (kWidth - 1);
    float row[kVector];
#pragma unroll
    for (int i = 0; i < kVector; ++i) {
      row[i] = taps.transposed(dv, i);
      if (p >= run.length && out.dfinal_state != nullptr) {
        row[i] += __ldg(out.dfinal_state + (states + p - run.length) * in.channels + channel + i);
      }
      if (input < 0) out.dinitial_state[(states + p) * in.channels + channel + i] = row[i];
    }
    if (input >= 0) store_values(row, out.dx + (run.row + run.step * input) * in.channels + channel);
  }
};

template <typename T, int kWidth, int kVector>
__global__ void __launch_bounds__(kThreads, 3)
    backward(const __grid_constant__ CausalConv1dInputs<T> in, const __grid_constant__ CausalConv1dGradients<T> out,
             const __grid_constant__ Parts parts) {
  const std::int64_t id = static_cast<std::int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  const std::int64_t vectors = in.channels / kVector, part = id / vectors;
  if (part >= parts.count) return;
  const std::int64_t channel = (id - part * vectors) * kVector;
  BackwardWalk<T, kWidth, kVector> walk(in, out, channel);
  parts.for_each_run(part, [&](const Run& run) { walk.walk(run); });
  const std::int64_t to = part * in.channels + channel;
#pragma unroll
  for (int i = 0; i < kVector; ++i) {
    parts.dbias[to + i] = walk.sums.bias[i];
#pragma unroll
    for (int k = 0; k < kWidth; ++k) parts.dweight[(to + i) * kWidth + k] = walk.sums.weight[i][k];
  }
}

// Any width: a thread has a channel, and the last K inputs in a ring in shared memory.

constexpr int kRingThreads = 32;

/// Rows of shared memory in which every thread has a place of its own.
struct Ring {
  float* own;
  __device__ Ring(float* memory, int index, int width) : own(memory + index * width * kRingThreads + threadIdx.x) {}
  __device__ float& operator[](int row) const { return own[row * kRingThreads]; }
};

__device__ __forceinline__ int after(int row, int width) {
  return row + 1 == width ? 0 : row + 1;
}

/// Fills the rows from 0 on with the inputs before the run: one fewer than there are rows.
template <typename T>
__device__ void load_inputs_before(const CausalConv1dInputs<T>& in, const Run& run, std::int64_t channel, Ring x) {
  const int before = static_cast<int>(in.width) - 1;
  for (int k = 0; k < before; ++k) {
    float value[1];
    load_input(in, run, run.first - before + k, channel, value);
    x[k] = value[0];
  }
}

/// The value at the position whose input is in row `at`, the newest.
__device__ __forceinline__ float convolve(Ring weight, Ring x, int at, int width, float bias) {
  float v = bias;
  int row = at;
  for (int k = 0; k < width; ++k) {
    row = after(row, width);  // behind the newest is the oldest
    v = fmaf(weight[k], x[row], v);
  }
  return v;
}

template <typename T>
__device__ void forward_run_of_any_width(const CausalConv1dInputs<T>& in, const CausalConv1dOutputs<T>& out,
                                         const Run& run, std::int64_t channel, Ring weight, Ring x) {
  const int width = static_cast<int>(in.width);
  const float bias = in.bias == nullptr ? 0.0F : in.bias[channel];
  load_inputs_before(in, run, channel, x);
  int at = width - 1;
  for (std::int64_t p = run.first; p < run.last; ++p) {
    const std::int64_t to = (run.row + run.step * p) * in.channels + channel;
    x[at] = load(in.x + to);
    const float v = convolve(weight, x, at, width, bias);
    store(in.silu ? v * sigmoid(v) : v, out.y + to);
    at = after(at, width);
  }
  if (out.final_state == nullptr || !run.ends_the_sequence()) return;
  for (int k = 1; k < width; ++k) {
    at = after(at, width);  // `at` itself is the input before those of the state
    out.final_state[(run.sequence * (width - 1) + k - 1) * in.channels + channel] = x[at];
  }
}

template <typename T>
__global__ void forward_of_any_width(const __grid_constant__ CausalConv1dInputs<T> in,
                                     const __grid_constant__ CausalConv1dOutputs<T> out,
                                     const __grid_constant__ Parts parts) {
  extern __shared__ float memory[];
  const int width = static_cast<int>(in.width);
  const Ring weight(memory, 0, width), x(memory, 1, width);
  const std::int64_t id = static_cast<std::int64_t>(blockIdx.x) * kRingThreads + threadIdx.x;
  const std::int64_t part = id / in.channels, channel = id - part * in.channels;
  if (part >= parts.count) return;
  for (int k = 0; k < width; ++k) weight[k] = in.weight[channel * width + k];
  parts.for_each_run(part, [&](const Run& run) { forward_run_of_any_width(in, out, run, channel, weight, x); });
}

/// As BackwardWalk.
template <typename T>
struct RingWalk {
  const CausalConv1dInputs<T>& in;
  const CausalConv1dGradients<T>& out;
  std::int64_t channel;
  int width;
  Ring weight, x, dv, dweight;
  float bias, dbias = 0;

  __device__ RingWalk(const CausalConv1dInputs<T>& in, const CausalConv1dGradients<T>& out, std::int64_t channel,
                      float* memory)
      : in(in),
        out(out),
        channel(channel),
        width(static_cast<int>(in.width)),
        weight(memory, 0, width),
        x(memory, 1, width),
        dv(memory, 2, width),
        dweight(memory, 3, width),
        bias(in.bias == nullptr ? 0.0F : in.bias[channel]) {
    for (int k = 0; k < width; ++k) {
      weight[k] = in.weight[channel * width + k];
      dweight[k] = 0;
    }
  }

  __device__ void walk(const Run& run) {
    load_inputs_before(in, run, channel, x);
    for (int k = 0; k < width; ++k) dv[k] = 0;
    int at = width - 1;
    for (std::int64_t p = run.first; p < run.last + width - 1; ++p) {
      dv[at] = p < run.length ? value_gradient(run, p, at) : 0.0F;
      store_gradient(run, p, at);
      at = after(at, width);
    }
  }

  __device__ float value_gradient(const Run& run, std::int64_t p, int at) {
    const std::int64_t from = (run.row + run.step * p) * in.channels + channel;
    x[at] = load(in.x + from);
    float gradient = load(out.dy + from);
    if (in.silu) {
      const float v = convolve(weight, x, at, width, bias), s = sigmoid(v);
      gradient *= s * fmaf(v, 1.0F - s, 1.0F);
    }
    if (p >= run.last) return gradient;
    dbias += gradient;
    int row = at;
    for (int k = 0; k < width; ++k) {
      row = after(row, width);
      dweight[k] = fmaf(gradient, x[row], dweight[k]);
    }
    return gradient;
  }

  __device__ void store_gradient(const Run& run, std::int64_t p, int at) {
    const std::int64_t input = p - (width - 1);
    if (input < run.first && (run.first > 0 || out.dinitial_state == nullptr)) return;
    if (input >= 0 && out.dx == nullptr) return;
    float dx = 0;
    int row = at;
    for (int k = width - 1; k >= 0; --k) {
      row = after(row, width);
      dx = fmaf(weight[k], dv[row], dx);
    }
    const std::int64_t states = run.sequence * (width - 1);
    if (p >= run.length && out.dfinal_state != nullptr) {
      dx += out.dfinal_state[(states + p - run.length) * in.channels + channel];
    }
    if (input >= 0) {
      store(dx, out.dx + (run.row + run.step * input) * in.channels + channel);
    } else {
      out.dinitial_state[(states + p) * in.channels + channel] = dx;
    }
  }
};

template <typename T>
__global__ void backward_of_any_width(const __grid_constant__ CausalConv1dInputs<T> in,
                                      const __grid_constant__ CausalConv1dGradients<T> out,
                                      const __grid_constant__ Parts parts) {
  extern __shared__ float memory[];
  const std::int64_t id = static_cast<std::int64_t>(blockIdx.x) * kRingThreads + threadIdx.x;
  const std::int64_t part = id / in.channels, channel = id - part * in.channels;
  if (part >= parts.count) return;
  RingWalk<T> walk(in, out, channel, memory);
  parts.for_each_run(part, [&](const Run& run) { walk.walk(run); });
  parts.dbias[id] = walk.dbias;
  for (int k = 0; k < walk.width; ++k) parts.dweight[id * walk.width + k] = walk.dweight[k];
}

// Launches.

bool has_registers_for(std::int64_t width) {
  return width >= 2 && width <= 4;
}

/// Calls body.template operator()<kWidth>() for a width that has_registers_for.
template <typename Body>
void for_width(std::int64_t width, Body&& body) {
  if (width == 2) return body.template operator()<2>();
  if (width == 3) return body.template operator()<3>();
  body.template operator()<4>();
}

/// As many parts as a large GPU works on at once, `threads_of_token` threads each, or fewer where there are few tokens.
/// By sizes alone.
Parts parts_of(const Ragged& ragged, bool reverse, std::int64_t threads_of_token) {
  constexpr int kShift = 4;
  Parts parts{.runs = runs_of(ragged, kShift, reverse)};
  const std::int64_t places = parts.runs.places();
  parts.runs_of_part = ceil_div(places, std::max<std::int64_t>(1, kResidentThreads / threads_of_token));
  parts.count = places == 0 ? 0 : ceil_div(places, parts.runs_of_part);
  return parts;
}

template <typename T>
Parts backward_parts_of(const CausalConv1dInputs<T>& in) {
  Parts parts = parts_of(in.ragged, in.reverse, ceil_div(in.channels, 2));
  parts.count = many_rows(std::max<std::int64_t>(1, parts.count));
  parts.runs_of_part = std::max<std::int64_t>(1, parts.runs_of_part);
  return parts;
}

unsigned blocks_for(std::int64_t threads, int threads_of_block) {
  return static_cast<unsigned>(ceil_div(threads, threads_of_block));
}

template <int kVector, typename T>
void launch_forward(const CausalConv1dInputs<T>& in, const CausalConv1dOutputs<T>& out, Stream stream) {
  const Parts parts = parts_of(in.ragged, in.reverse, in.channels / kVector);
  const unsigned blocks = blocks_for(parts.count * (in.channels / kVector), kThreads);
  for_width(in.width,
            [&]<int kWidth>() { forward<T, kWidth, kVector><<<blocks, kThreads, 0, stream>>>(in, out, parts); });
}

template <int kVector, typename T>
void launch_backward(const CausalConv1dInputs<T>& in, const CausalConv1dGradients<T>& out, const Parts& parts,
                     Stream stream) {
  const unsigned blocks = blocks_for(parts.count * (in.channels / kVector), kThreads);
  for_width(in.width,
            [&]<int kWidth>() { backward<T, kWidth, kVector><<<blocks, kThreads, 0, stream>>>(in, out, parts); });
}

/// Bytes of shared memory for this many rings.
unsigned ring_bytes(int rings, std::int64_t width) {
  return static_cast<unsigned>(rings * width * kRingThreads * sizeof(float));
}

template <typename T>
void launch_any_backward(const CausalConv1dInputs<T>& in, const CausalConv1dGradients<T>& out, const Parts& parts,
                         Stream stream) {
  if (!has_registers_for(in.width)) {
    const unsigned blocks = blocks_for(parts.count * in.channels, kRingThreads);
    backward_of_any_width<T><<<blocks, kRingThreads, ring_bytes(4, in.width), stream>>>(in, out, parts);
  } else if (vectors_fit<T>(2, in.channels, {in.x, out.dy, out.dx})) {
    launch_backward<2>(in, out, parts, stream);
  } else {
    launch_backward<1>(in, out, parts, stream);
  }
}

}  // namespace

template <typename T>
void causal_conv1d(const CausalConv1dInputs<T>& in, const CausalConv1dOutputs<T>& out, Stream stream) {
  check(in, out);
  if (in.ragged.sequences == 0) return;
  if (!has_registers_for(in.width)) {
    const Parts parts = parts_of(in.ragged, in.reverse, in.channels);
    const unsigned blocks = blocks_for(parts.count * in.channels, kRingThreads);
    forward_of_any_width<T><<<blocks, kRingThreads, ring_bytes(2, in.width), stream>>>(in, out, parts);
  } else if (vectors_fit<T>(4, in.channels, {in.x, out.y})) {
    launch_forward<4>(in, out, stream);
  } else if (vectors_fit<T>(2, in.channels, {in.x, out.y})) {
    launch_forward<2>(in, out, stream);
  } else {
    launch_forward<1>(in, out, stream);
  }
  check_launch("causal_conv1d");
}

template <typename T>
std::int64_t causal_conv1d_backward_workspace(const CausalConv1dInputs<T>& in) {
  check(in);
  const std::int64_t rows = backward_parts_of(in).count + kRowGroups;
  return rows * (in.width + 1) * in.channels * static_cast<std::int64_t>(sizeof(float));
}

template <typename T>
void causal_conv1d_backward(const CausalConv1dInputs<T>& in, const CausalConv1dGradients<T>& gradients, void* workspace,
                            Stream stream) {
  check(in, gradients);
  require(workspace != nullptr, "causal_conv1d: the backward pass has no workspace");
  Parts parts = backward_parts_of(in);
  const std::int64_t weights = in.channels * in.width;
  parts.dweight = static_cast<float*>(workspace);
  parts.dbias = parts.dweight + parts.count * weights;
  float* const scratch = parts.dbias + parts.count * in.channels;
  launch_any_backward(in, gradients, parts, stream);
  check_launch("causal_conv1d_backward");
  sum_many_rows<float>({parts.dweight, weights, gradients.dweight}, {parts.dbias, in.channels, gradients.dbias},
                       parts.count, scratch, stream);
  check_launch("causal_conv1d_backward");
}

#define DNAMAMBA_INSTANTIATE(T)                                                                     \
  template void causal_conv1d(const CausalConv1dInputs<T>&, const CausalConv1dOutputs<T>&, Stream); \
  template std::int64_t causal_conv1d_backward_workspace(const CausalConv1dInputs<T>&);             \
  template void causal_conv1d_backward(const CausalConv1dInputs<T>&, const CausalConv1dGradients<T>&, void*, Stream);
DNAMAMBA_INSTANTIATE(float)
DNAMAMBA_INSTANTIATE(BFloat16)
#undef DNAMAMBA_INSTANTIATE

}  // namespace dnamamba::kernels::cuda
