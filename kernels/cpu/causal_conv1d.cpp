// Lanes are channels; tasks are stretches of tokens in the order of reading, so that whole rows are read and written.
// The K rows that an output needs are in the innermost cache, K - 1 of them since the last output.
#include "kernels/causal_conv1d.h"

#include <algorithm>

#include "kernels/arguments.h"
#include "kernels/cpu/denormals.h"
#include "kernels/cpu/partition.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/causal_conv1d.cpp"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
// After foreach_target:
#include "hwy/aligned_allocator.h"
#include "hwy/highway.h"
#include "kernels/cpu/dispatch.h"
#include "kernels/cpu/vectors-inl.h"

HWY_BEFORE_NAMESPACE();
namespace dnamamba::kernels::cpu::HWY_NAMESPACE {
namespace {

constexpr std::int64_t kLargestWidth = 64;
constexpr std::int64_t kStretch = 64;  // tokens that are worked on together

/// One sequence in the order of reading: position p >= 0 is a token, -(K-1) … -1 the initial state.
template <typename T>
struct Reading {
  const CausalConv1dInputs<T>& in;
  std::int64_t sequence;

  [[nodiscard]] std::int64_t begin() const { return in.ragged.offsets[sequence]; }
  [[nodiscard]] std::int64_t end() const { return in.ragged.offsets[sequence + 1]; }
  [[nodiscard]] std::int64_t length() const { return end() - begin(); }
  [[nodiscard]] std::int64_t row(std::int64_t p) const { return in.reverse ? end() - 1 - p : begin() + p; }
  /// Row j of this sequence's state in [S, K-1, E].
  [[nodiscard]] std::int64_t state_row(std::int64_t j) const { return sequence * (in.width - 1) + j; }
  /// The input at position p, [E]; null: zeros.
  [[nodiscard]] const T* input(std::int64_t p) const {
    if (p >= 0) return in.x + row(p) * in.x_step();
    return in.initial_state ? in.initial_state + state_row(p + in.width - 1) * in.channels : nullptr;
  }
};

/// Weights as [K, E], and what stands for a missing row. `in` may not move meanwhile.
template <typename T>
struct Weights {
  std::int64_t channels, width;
  hwy::AlignedFreeUniquePtr<T[]> memory;
  T *taps, *zeros;

  explicit Weights(const CausalConv1dInputs<T>& in)
      : channels(in.channels),
        width(in.width),
        memory(hwy::AllocateAligned<T>(static_cast<std::size_t>((width + 1) * channels))),
        taps(memory.get()),
        zeros(memory.get() + width * channels) {
    for (std::int64_t k = 0; k < width; ++k) {
      for (std::int64_t e = 0; e < channels; ++e) taps[k * channels + e] = in.weight[e * width + k];
    }
    std::fill_n(zeros, channels, T{0});
  }
};

/// bias + sum over k of weight[k] * rows[k], for `count` channels, or the vector of them, at e. kWidth 0: any.
template <int kWidth, class D, typename T = hn::TFromD<D>>
HWY_INLINE hn::Vec<D> convolve(D d, const CausalConv1dInputs<T>& in, const Weights<T>& weights, const T* const* rows,
                               std::int64_t e, std::int64_t count) {
  const std::int64_t width = kWidth > 0 ? kWidth : in.width;
  auto v = in.bias ? load_part(d, in.bias + e, count) : hn::Zero(d);
  for (std::int64_t k = 0; k < width; ++k) {
    v = hn::MulAdd(load_part(d, weights.taps + k * in.channels + e, count), load_part(d, rows[k] + e, count), v);
  }
  return v;
}

template <typename T>
HWY_INLINE void gather_rows(const Reading<T>& reading, const Weights<T>& weights, std::int64_t position,
                            const T** rows) {
  for (std::int64_t k = 0; k < weights.width; ++k) {
    const T* const row = reading.input(position - (weights.width - 1) + k);
    rows[k] = row ? row : weights.zeros;
  }
}

/// The outputs of kCount vectors of channels at e. kCount 1: also of fewer channels than a vector has.
template <int kWidth, int kCount, class D, typename T = hn::TFromD<D>>
HWY_INLINE void forward_vectors(D d, const CausalConv1dInputs<T>& in, const Weights<T>& weights, const T* const* rows,
                                std::int64_t e, T* y) {
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  const std::int64_t count = kCount > 1 ? lanes : in.channels - e;
  hn::Vec<D> v[kCount];
  HWY_UNROLL(4)
  for (int j = 0; j < kCount; ++j) v[j] = convolve<kWidth>(d, in, weights, rows, e + j * lanes, count);
  if (in.silu) silu<kCount>(d, v);
  HWY_UNROLL(4)
  for (int j = 0; j < kCount; ++j) store_part(d, v[j], y + e + j * lanes, count);
}

template <int kWidth, class D, typename T = hn::TFromD<D>>
HWY_NOINLINE void forward_stretch(D d, const Reading<T>& reading, const Weights<T>& weights, std::int64_t first,
                                  std::int64_t last, T* y) {
  const CausalConv1dInputs<T>& in = reading.in;
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  const T* rows[kLargestWidth];
  for (std::int64_t p = first; p < last; ++p) {
    gather_rows(reading, weights, p, rows);
    T* const to = y + reading.row(p) * in.channels;
    std::int64_t e = 0;
    for (; e + 4 * lanes <= in.channels; e += 4 * lanes) forward_vectors<kWidth, 4>(d, in, weights, rows, e, to);
    for (; e < in.channels; e += lanes) forward_vectors<kWidth, 1>(d, in, weights, rows, e, to);
  }
}

/// Gradient of the convolution's value (before silu) at position p.
template <int kWidth, class D, typename T = hn::TFromD<D>>
HWY_INLINE void value_gradient(D d, const Reading<T>& reading, const Weights<T>& weights, const T* dy,
                               const T* const* rows, std::int64_t p, T* dv) {
  const CausalConv1dInputs<T>& in = reading.in;
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  const T* const from = dy + reading.row(p) * in.channels;
  for (std::int64_t e = 0; e < in.channels; e += lanes) {
    auto gradient = load_part(d, from + e, in.channels - e);
    if (in.silu) {
      const auto v = convolve<kWidth>(d, in, weights, rows, e, in.channels - e);
      gradient = hn::Mul(gradient, silu_slope_from(d, v, sigmoid(d, v)));
    }
    store_part(d, gradient, dv + e, in.channels - e);
  }
}

/// What a task of the backward pass holds.
template <typename T>
struct BackwardBuffers {
  Weights<T> weights;
  hwy::AlignedFreeUniquePtr<T[]> memory;
  T* dv;    ///< [kStretch + K - 1, E]
  T* sums;  ///< [K + 1, E]: dweight of this stretch, then dbias

  explicit BackwardBuffers(const CausalConv1dInputs<T>& in)
      : weights(in),
        memory(hwy::AllocateAligned<T>(static_cast<std::size_t>((kStretch + 2 * in.width) * in.channels))),
        dv(memory.get()),
        sums(dv + (kStretch + in.width - 1) * in.channels) {}
};

/// Gradient of the input at position p, or of the initial state where p < 0: what the outputs p … p + K - 1 pass back,
/// of which dv holds those from `dv_first` on, and the final state.
template <class D, typename T = hn::TFromD<D>>
HWY_INLINE void input_gradient(D d, const Reading<T>& reading, const CausalConv1dGradients<T>& out,
                               const BackwardBuffers<T>& buffers, std::int64_t dv_first, std::int64_t p, T* to) {
  const CausalConv1dInputs<T>& in = reading.in;
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  const std::int64_t L = reading.length();
  const std::int64_t first = std::max<std::int64_t>(p, 0);
  const std::int64_t last = std::min(p + in.width, L);
  const std::int64_t state = p - (L - (in.width - 1));
  const T* const passed =
      out.dfinal_state != nullptr && state >= 0 ? out.dfinal_state + reading.state_row(state) * in.channels : nullptr;
  for (std::int64_t e = 0; e < in.channels; e += lanes) {
    const std::int64_t count = in.channels - e;
    auto sum = passed ? load_part(d, passed + e, count) : hn::Zero(d);
    for (std::int64_t t = first; t < last; ++t) {
      const auto tap = load_part(d, buffers.weights.taps + (in.width - 1 - (t - p)) * in.channels + e, count);
      sum = hn::MulAdd(tap, load_part(d, buffers.dv + (t - dv_first) * in.channels + e, count), sum);
    }
    store_part(d, sum, to + e, count);
  }
}

/// Adds position p's part of dweight and dbias.
template <int kWidth, class D, typename T = hn::TFromD<D>>
HWY_INLINE void add_weight_gradient(D d, const BackwardBuffers<T>& buffers, const T* const* rows, const T* dv) {
  const std::int64_t E = buffers.weights.channels;
  const std::int64_t width = kWidth > 0 ? kWidth : buffers.weights.width;
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  for (std::int64_t e = 0; e < E; e += lanes) {
    const std::int64_t count = E - e;
    const auto gradient = load_part(d, dv + e, count);
    for (std::int64_t k = 0; k < width; ++k) {
      T* const sum = buffers.sums + k * E + e;
      store_part(d, hn::MulAdd(gradient, load_part(d, rows[k] + e, count), load_part(d, sum, count)), sum, count);
    }
    T* const sum = buffers.sums + width * E + e;
    store_part(d, hn::Add(gradient, load_part(d, sum, count)), sum, count);
  }
}

/// Positions [first, last) of a sequence; their sums are added to `total` ([K + 1, E]).
template <int kWidth, class D, typename T = hn::TFromD<D>>
HWY_NOINLINE void backward_stretch(D d, const Reading<T>& reading, const CausalConv1dGradients<T>& out,
                                   const BackwardBuffers<T>& buffers, std::int64_t first, std::int64_t last,
                                   double* total) {
  const CausalConv1dInputs<T>& in = reading.in;
  const T* rows[kLargestWidth];
  const std::int64_t sums = (in.width + 1) * in.channels;
  std::fill_n(buffers.sums, sums, T{0});
  for (std::int64_t p = first; p < std::min(last + in.width - 1, reading.length()); ++p) {
    T* const dv = buffers.dv + (p - first) * in.channels;
    gather_rows(reading, buffers.weights, p, rows);
    value_gradient<kWidth>(d, reading, buffers.weights, out.dy, rows, p, dv);
    if (p < last) add_weight_gradient<kWidth>(d, buffers, rows, dv);
  }
  for (std::int64_t p = first; out.dx != nullptr && p < last; ++p) {
    input_gradient(d, reading, out, buffers, first, p, out.dx + reading.row(p) * in.channels);
  }
  for (std::int64_t i = 0; i < sums; ++i) total[i] += double{buffers.sums[i]};
}

/// dinitial_state of one sequence.
template <class D, typename T = hn::TFromD<D>>
HWY_NOINLINE void initial_state_gradient(D d, const Reading<T>& reading, const CausalConv1dGradients<T>& out,
                                         const BackwardBuffers<T>& buffers) {
  const CausalConv1dInputs<T>& in = reading.in;
  const T* rows[kLargestWidth];
  for (std::int64_t p = 0; p < std::min(in.width - 1, reading.length()); ++p) {
    gather_rows(reading, buffers.weights, p, rows);
    value_gradient<0>(d, reading, buffers.weights, out.dy, rows, p, buffers.dv + p * in.channels);
  }
  for (std::int64_t j = 0; j < in.width - 1; ++j) {
    T* const to = out.dinitial_state + reading.state_row(j) * in.channels;
    input_gradient(d, reading, out, buffers, 0, j - (in.width - 1), to);
  }
}

/// Calls body.operator()<kWidth>() with the width as a constant where it is a usual one.
template <class Body>
void for_width(std::int64_t width, Body&& body) {
  if (width == 2) return body(std::integral_constant<int, 2>{});
  if (width == 3) return body(std::integral_constant<int, 3>{});
  if (width == 4) return body(std::integral_constant<int, 4>{});
  body(std::integral_constant<int, 0>{});
}

/// Calls body(reading, first, last) for the stretches that the flat positions [first, last) are made of. A flat
/// position is a position in a sequence plus the lengths of those before it.
template <typename T, class Body>
void for_each_stretch(const CausalConv1dInputs<T>& in, std::int64_t first, std::int64_t last, Body&& body) {
  const std::int64_t* const offsets = in.ragged.offsets;
  std::int64_t sequence = std::upper_bound(offsets, offsets + in.ragged.sequences + 1, first) - offsets - 1;
  while (first < last) {
    while (offsets[sequence + 1] <= first) ++sequence;
    const std::int64_t end = std::min({last, offsets[sequence + 1], first + kStretch});
    body(Reading<T>{in, sequence}, first - offsets[sequence], end - offsets[sequence]);
    first = end;
  }
}

template <typename T>
void forward_part(const CausalConv1dInputs<T>& in, T* y, std::int64_t first, std::int64_t last) {
  const hn::ScalableTag<T> d;
  const Weights<T> weights(in);
  for_width(in.width, [&](auto width) {
    for_each_stretch(in, first, last, [&](const Reading<T>& reading, std::int64_t from, std::int64_t to) {
      forward_stretch<decltype(width)::value>(d, reading, weights, from, to, y);
    });
  });
}

template <typename T>
void backward_part(const CausalConv1dInputs<T>& in, const CausalConv1dGradients<T>& out, std::int64_t first,
                   std::int64_t last, double* total) {
  const FlushDenormals flush;
  const hn::ScalableTag<T> d;
  const BackwardBuffers<T> buffers(in);
  std::fill_n(total, (in.width + 1) * in.channels, 0.0);
  for_width(in.width, [&](auto width) {
    for_each_stretch(in, first, last, [&](const Reading<T>& reading, std::int64_t from, std::int64_t to) {
      backward_stretch<decltype(width)::value>(d, reading, out, buffers, from, to, total);
    });
  });
}

template <typename T>
void initial_states(const CausalConv1dInputs<T>& in, const CausalConv1dGradients<T>& out, std::int64_t first,
                    std::int64_t last) {
  const FlushDenormals flush;
  const hn::ScalableTag<T> d;
  const BackwardBuffers<T> buffers(in);
  for (std::int64_t s = first; s < last; ++s) initial_state_gradient(d, Reading<T>{in, s}, out, buffers);
}

void forward_float(const CausalConv1dInputs<float>& in, float* y, std::int64_t first, std::int64_t last) {
  forward_part(in, y, first, last);
}
void forward_double(const CausalConv1dInputs<double>& in, double* y, std::int64_t first, std::int64_t last) {
  forward_part(in, y, first, last);
}
void backward_float(const CausalConv1dInputs<float>& in, const CausalConv1dGradients<float>& out, std::int64_t first,
                    std::int64_t last, double* total) {
  backward_part(in, out, first, last, total);
}
void backward_double(const CausalConv1dInputs<double>& in, const CausalConv1dGradients<double>& out, std::int64_t first,
                     std::int64_t last, double* total) {
  backward_part(in, out, first, last, total);
}
void initial_states_float(const CausalConv1dInputs<float>& in, const CausalConv1dGradients<float>& out,
                          std::int64_t first, std::int64_t last) {
  initial_states(in, out, first, last);
}
void initial_states_double(const CausalConv1dInputs<double>& in, const CausalConv1dGradients<double>& out,
                           std::int64_t first, std::int64_t last) {
  initial_states(in, out, first, last);
}

}  // namespace
}  // namespace dnamamba::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace dnamamba::kernels::cpu {
namespace {

DNAMAMBA_DISPATCH(forward);
DNAMAMBA_DISPATCH(backward);
DNAMAMBA_DISPATCH(initial_states);

constexpr std::int64_t kTokens = 256;  // of a task, at least

template <typename T>
Partition backward_parts(const CausalConv1dInputs<T>& in) {
  return Partition::of(in.ragged.tokens(), kTokens, 64);
}

/// The last K-1 inputs of a sequence; what it is too short for comes from the end of its initial state.
template <typename T>
void store_final_state(const CausalConv1dInputs<T>& in, std::int64_t sequence, T* final_state) {
  const std::int64_t begin = in.ragged.offsets[sequence];
  const std::int64_t end = in.ragged.offsets[sequence + 1];
  const std::int64_t rows = in.width - 1;
  for (std::int64_t j = 0; j < rows; ++j) {
    T* const to = final_state + (sequence * rows + j) * in.channels;
    const std::int64_t position = end - begin - rows + j;
    if (position >= 0) {
      std::copy_n(in.x + (in.reverse ? end - 1 - position : begin + position) * in.x_step(), in.channels, to);
    } else if (in.initial_state) {
      std::copy_n(in.initial_state + (sequence * rows + rows + position) * in.channels, in.channels, to);
    } else {
      std::fill_n(to, in.channels, T{0});
    }
  }
}

/// dweight and dbias of a channel, summed over the parts in order.
template <typename T>
void sum_parts(const CausalConv1dInputs<T>& in, const double* sums, std::int64_t parts, std::int64_t e,
               const CausalConv1dGradients<T>& out) {
  const auto total = [&](std::int64_t k) {
    double sum = 0;
    for (std::int64_t part = 0; part < parts; ++part) sum += sums[(part * (in.width + 1) + k) * in.channels + e];
    return static_cast<T>(sum);
  };
  for (std::int64_t k = 0; out.dweight != nullptr && k < in.width; ++k) out.dweight[e * in.width + k] = total(k);
  if (out.dbias) out.dbias[e] = total(in.width);
}

}  // namespace

template <typename T>
void causal_conv1d(const CausalConv1dInputs<T>& in, const CausalConv1dOutputs<T>& out, const ParallelFor& parallel) {
  check(in, out);
  const auto run = forward_for(T{});
  const std::int64_t tokens = in.ragged.tokens();
  parallel(ceil_div(tokens, kTokens), [&](std::int64_t first, std::int64_t last) {
    run(in, out.y, first * kTokens, std::min(last * kTokens, tokens));
  });
  if (out.final_state == nullptr) return;
  parallel(in.ragged.sequences, [&](std::int64_t first, std::int64_t last) {
    for (std::int64_t s = first; s < last; ++s) store_final_state(in, s, out.final_state);
  });
}

template <typename T>
std::int64_t causal_conv1d_backward_workspace(const CausalConv1dInputs<T>& in) {
  check(in);
  Workspace counted(nullptr);
  counted.take<double>(backward_parts(in).parts * (in.width + 1) * in.channels);
  return counted.bytes();
}

template <typename T>
void causal_conv1d_backward(const CausalConv1dInputs<T>& in, const CausalConv1dGradients<T>& gradients, void* workspace,
                            const ParallelFor& parallel) {
  check(in, gradients);
  require(workspace != nullptr, "causal_conv1d: the backward pass has no workspace");
  const Partition parts = backward_parts(in);
  const std::int64_t sums_of_part = (in.width + 1) * in.channels;
  double* const sums = Workspace(workspace).take<double>(parts.parts * sums_of_part);
  const auto run = backward_for(T{});
  parallel(parts.parts, [&](std::int64_t first, std::int64_t last) {
    for (std::int64_t part = first; part < last; ++part) {
      run(in, gradients, parts.begin(part), parts.begin(part + 1), sums + part * sums_of_part);
    }
  });
  parallel(in.channels, [&](std::int64_t first, std::int64_t last) {
    for (std::int64_t e = first; e < last; ++e) sum_parts(in, sums, parts.parts, e, gradients);
  });
  if (gradients.dinitial_state == nullptr || in.width == 1) return;
  const auto run_states = initial_states_for(T{});
  parallel(in.ragged.sequences, [&](std::int64_t first, std::int64_t last) { run_states(in, gradients, first, last); });
}

#define DNAMAMBA_INSTANTIATE(T)                                                                                 \
  template void causal_conv1d(const CausalConv1dInputs<T>&, const CausalConv1dOutputs<T>&, const ParallelFor&); \
  template std::int64_t causal_conv1d_backward_workspace(const CausalConv1dInputs<T>&);                         \
  template void causal_conv1d_backward(const CausalConv1dInputs<T>&, const CausalConv1dGradients<T>&, void*,    \
                                       const ParallelFor&);
DNAMAMBA_INSTANTIATE(float)
DNAMAMBA_INSTANTIATE(double)
#undef DNAMAMBA_INSTANTIATE

}  // namespace dnamamba::kernels::cpu
#endif  // HWY_ONCE
