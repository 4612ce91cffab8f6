// Tokens of weight other than 0 are gathered into batches of 64; of those, logits are computed eight tokens at a time
// with the vocabulary in lanes. A batch's logits and gradients live in buffers of the task.
#include "kernels/token_loss.h"

#include <algorithm>
#include <cmath>

#include "kernels/arguments.h"
#include "kernels/cpu/partial_sums.h"
#include "kernels/cpu/partition.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/token_loss.cpp"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
// After foreach_target:
#include "hwy/aligned_allocator.h"
#include "hwy/highway.h"
#include "kernels/cpu/dispatch.h"
#include "kernels/cpu/vectors-inl.h"

HWY_BEFORE_NAMESPACE();
namespace dnamamba::kernels::cpu::HWY_NAMESPACE {
namespace {

constexpr std::int64_t kBatch = 64;
constexpr std::int64_t kAtOnce = 8;  // rows that share what is loaded of the other matrix

/// What a task holds.
template <typename T>
struct Batch {
  std::int64_t width, vocabulary, padded;  // padded: vocabulary in whole blocks
  hwy::AlignedFreeUniquePtr<T[]> memory;
  T* transposed;  ///< [D, padded] the weight
  T* logits;      ///< [kBatch, padded]; backward: their gradients
  T* dweight;     ///< [V, D] sums of the batch
  std::int64_t count = 0;
  std::int64_t tokens[kBatch];

  Batch(const TokenLossInputs<T>& in, bool backward)
      : width(in.width),
        vocabulary(in.vocabulary),
        padded(round_up(in.vocabulary, kBlockBytes / static_cast<std::int64_t>(sizeof(T)))) {
    const std::int64_t size = (width + kBatch) * padded + (backward ? vocabulary * width : 0);
    memory = hwy::AllocateAligned<T>(static_cast<std::size_t>(size));
    std::fill_n(memory.get(), size, T{0});
    transposed = memory.get();
    logits = transposed + width * padded;
    dweight = logits + kBatch * padded;
    for (std::int64_t v = 0; v < vocabulary; ++v) {
      for (std::int64_t i = 0; i < width; ++i) transposed[i * padded + v] = in.weight[v * width + i];
    }
  }
};

template <typename T>
T weight_of(const TokenLossInputs<T>& in, std::int64_t t) {
  return in.token_weights ? static_cast<T>(in.token_weights[t]) : T{1};
}

/// Logits of kRows tokens of the batch for one vector of the vocabulary.
template <int kRows, class D, typename T = hn::TFromD<D>>
HWY_INLINE void logits_of(D d, const TokenLossInputs<T>& in, const Batch<T>& batch, std::int64_t first,
                          std::int64_t v) {
  const T* hidden[kRows];
  hn::Vec<D> sums[kRows];
  for (int j = 0; j < kRows; ++j) {
    hidden[j] = in.hidden + batch.tokens[first + j] * in.width;
    sums[j] = hn::Zero(d);
  }
  for (std::int64_t i = 0; i < in.width; ++i) {
    const auto weight = hn::Load(d, batch.transposed + i * batch.padded + v);
    HWY_UNROLL(8)
    for (int j = 0; j < kRows; ++j) sums[j] = hn::MulAdd(weight, hn::Set(d, hidden[j][i]), sums[j]);
  }
  for (int j = 0; j < kRows; ++j) hn::Store(sums[j], d, batch.logits + (first + j) * batch.padded + v);
}

template <class D, typename T = hn::TFromD<D>>
HWY_NOINLINE void compute_logits(D d, const TokenLossInputs<T>& in, const Batch<T>& batch) {
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  for (std::int64_t v = 0; v < in.vocabulary; v += lanes) {
    std::int64_t first = 0;
    for (; first + kAtOnce <= batch.count; first += kAtOnce) logits_of<kAtOnce>(d, in, batch, first, v);
    for (; first < batch.count; ++first) logits_of<1>(d, in, batch, first, v);
  }
}

/// Subtracts the largest of the logits and returns log of the sum of their exponentials, which go to `exponentials` if
/// wanted.
template <class D, typename T = hn::TFromD<D>>
HWY_INLINE T log_sum(D d, T* logits, std::int64_t vocabulary, T* sum, bool keep_exponentials) {
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  const T largest = *std::max_element(logits, logits + vocabulary);
  auto sums = hn::Zero(d);
  for (std::int64_t v = 0; v < vocabulary; v += lanes) {
    const auto shifted = hn::Sub(hn::Load(d, logits + v), hn::Set(d, largest));
    auto e = hn::Exp(d, shifted);
    if (vocabulary - v < lanes) {
      e = hn::IfThenElseZero(hn::FirstN(d, static_cast<std::size_t>(vocabulary - v)), e);
    }
    sums = hn::Add(sums, e);
    hn::Store(keep_exponentials ? e : shifted, d, logits + v);
  }
  *sum = hn::GetLane(hn::SumOfLanes(d, sums));
  return std::log(*sum);
}

template <class D, typename T = hn::TFromD<D>>
void losses_of_batch(D d, const TokenLossInputs<T>& in, const Batch<T>& batch, T* loss) {
  compute_logits(d, in, batch);
  for (std::int64_t i = 0; i < batch.count; ++i) {
    const std::int64_t t = batch.tokens[i];
    T* const logits = batch.logits + i * batch.padded;
    T sum = 0;
    const T log_of_sum = log_sum(d, logits, in.vocabulary, &sum, /*keep_exponentials=*/false);
    loss[t] = weight_of(in, t) * (log_of_sum - logits[in.targets[t]]);
  }
}

/// Logits become their gradients: weight * dloss * (softmax - [v is the target]).
template <class D, typename T = hn::TFromD<D>>
void logit_gradients(D d, const TokenLossInputs<T>& in, const Batch<T>& batch, const T* dloss) {
  compute_logits(d, in, batch);
  for (std::int64_t i = 0; i < batch.count; ++i) {
    const std::int64_t t = batch.tokens[i];
    T* const logits = batch.logits + i * batch.padded;
    T sum = 0;
    log_sum(d, logits, in.vocabulary, &sum, /*keep_exponentials=*/true);
    const T factor = weight_of(in, t) * dloss[t];
    for (std::int64_t v = 0; v < in.vocabulary; ++v) {
      logits[v] = factor * (logits[v] / sum - (v == in.targets[t] ? T{1} : T{0}));
    }
  }
}

template <class D, typename T = hn::TFromD<D>>
HWY_NOINLINE void hidden_gradients(D d, const TokenLossInputs<T>& in, const Batch<T>& batch, T* dhidden) {
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  for (std::int64_t i = 0; i < batch.count; ++i) {
    const T* const dlogits = batch.logits + i * batch.padded;
    for (std::int64_t c = 0; c < in.width; c += lanes) {
      const std::int64_t left = in.width - c;
      auto sum = hn::Zero(d);
      for (std::int64_t v = 0; v < in.vocabulary; ++v) {
        sum = hn::MulAdd(hn::Set(d, dlogits[v]), load_part(d, in.weight + v * in.width + c, left), sum);
      }
      store_part(d, sum, dhidden + batch.tokens[i] * in.width + c, left);
    }
  }
}

/// dweight of kRows rows of the vocabulary for one vector of the width.
template <int kRows, class D, typename T = hn::TFromD<D>>
HWY_INLINE void weight_gradients_of(D d, const TokenLossInputs<T>& in, const Batch<T>& batch, std::int64_t v,
                                    std::int64_t c) {
  hn::Vec<D> sums[kRows];
  for (int j = 0; j < kRows; ++j) sums[j] = hn::Zero(d);
  for (std::int64_t i = 0; i < batch.count; ++i) {
    const T* const dlogits = batch.logits + i * batch.padded + v;
    const auto hidden = load_part(d, in.hidden + batch.tokens[i] * in.width + c, in.width - c);
    HWY_UNROLL(8)
    for (int j = 0; j < kRows; ++j) sums[j] = hn::MulAdd(hidden, hn::Set(d, dlogits[j]), sums[j]);
  }
  for (int j = 0; j < kRows; ++j) store_part(d, sums[j], batch.dweight + (v + j) * in.width + c, in.width - c);
}

template <class D, typename T = hn::TFromD<D>>
HWY_NOINLINE void weight_gradients(D d, const TokenLossInputs<T>& in, const Batch<T>& batch, double* total) {
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  for (std::int64_t c = 0; c < in.width; c += lanes) {
    std::int64_t v = 0;
    for (; v + kAtOnce <= in.vocabulary; v += kAtOnce) weight_gradients_of<kAtOnce>(d, in, batch, v, c);
    for (; v < in.vocabulary; ++v) weight_gradients_of<1>(d, in, batch, v, c);
  }
  for (std::int64_t i = 0; i < in.vocabulary * in.width; ++i) total[i] += double{batch.dweight[i]};
}

/// Calls body() whenever the batch is full, and for the rest; skip(t) for the tokens that don't count.
template <typename T, class Skip, class Body>
void for_each_batch(const TokenLossInputs<T>& in, Batch<T>& batch, std::int64_t first, std::int64_t last, Skip&& skip,
                    Body&& body) {
  batch.count = 0;
  for (std::int64_t t = first; t < last; ++t) {
    if (weight_of(in, t) == 0) {
      skip(t);
      continue;
    }
    batch.tokens[batch.count++] = t;
    if (batch.count < kBatch) continue;
    body();
    batch.count = 0;
  }
  if (batch.count > 0) body();
}

template <typename T>
void forward_part(const TokenLossInputs<T>& in, T* loss, std::int64_t first, std::int64_t last) {
  const hn::ScalableTag<T> d;
  Batch<T> batch(in, /*backward=*/false);
  for_each_batch(
      in, batch, first, last, [&](std::int64_t t) { loss[t] = 0; }, [&] { losses_of_batch(d, in, batch, loss); });
}

/// total: [V, D], sums of dweight.
template <typename T>
void backward_part(const TokenLossInputs<T>& in, const TokenLossGradients<T>& out, std::int64_t first,
                   std::int64_t last, double* total) {
  const hn::ScalableTag<T> d;
  Batch<T> batch(in, /*backward=*/true);
  std::fill_n(total, in.vocabulary * in.width, 0.0);
  const auto skip = [&](std::int64_t t) {
    if (out.dhidden) std::fill_n(out.dhidden + t * in.width, in.width, T{0});
  };
  for_each_batch(in, batch, first, last, skip, [&] {
    logit_gradients(d, in, batch, out.dloss);
    if (out.dhidden) hidden_gradients(d, in, batch, out.dhidden);
    if (out.dweight) weight_gradients(d, in, batch, total);
  });
}

void forward_float(const TokenLossInputs<float>& in, float* loss, std::int64_t first, std::int64_t last) {
  forward_part(in, loss, first, last);
}
void forward_double(const TokenLossInputs<double>& in, double* loss, std::int64_t first, std::int64_t last) {
  forward_part(in, loss, first, last);
}
void backward_float(const TokenLossInputs<float>& in, const TokenLossGradients<float>& out, std::int64_t first,
                    std::int64_t last, double* total) {
  backward_part(in, out, first, last, total);
}
void backward_double(const TokenLossInputs<double>& in, const TokenLossGradients<double>& out, std::int64_t first,
                     std::int64_t last, double* total) {
  backward_part(in, out, first, last, total);
}

}  // namespace
}  // namespace dnamamba::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace dnamamba::kernels::cpu {
namespace {

DNAMAMBA_DISPATCH(forward);
DNAMAMBA_DISPATCH(backward);

constexpr std::int64_t kTokens = 512;  // of a task, at least

template <typename T>
Partition backward_parts(const TokenLossInputs<T>& in) {
  return Partition::of(in.tokens, kTokens, 32);
}

}  // namespace

template <typename T>
void token_loss(const TokenLossInputs<T>& in, const TokenLossOutputs<T>& out, const ParallelFor& parallel) {
  check(in, out);
  check_targets(in);
  const auto run = forward_for(T{});
  parallel(ceil_div(in.tokens, kTokens), [&](std::int64_t first, std::int64_t last) {
    run(in, out.loss, first * kTokens, std::min(last * kTokens, in.tokens));
  });
}

template <typename T>
std::int64_t token_loss_backward_workspace(const TokenLossInputs<T>& in) {
  require(in.tokens >= 0 && in.width >= 1 && in.vocabulary >= 1, "token_loss: sizes out of range");
  Workspace counted(nullptr);
  counted.take<double>(backward_parts(in).parts * in.vocabulary * in.width);
  return counted.bytes();
}

template <typename T>
void token_loss_backward(const TokenLossInputs<T>& in, const TokenLossGradients<T>& gradients, void* workspace,
                         const ParallelFor& parallel) {
  check(in, gradients);
  check_targets(in);
  require(workspace != nullptr, "token_loss: the backward pass has no workspace");
  const Partition parts = backward_parts(in);
  const std::int64_t size = in.vocabulary * in.width;
  double* const sums = Workspace(workspace).take<double>(parts.parts * size);
  const auto run = backward_for(T{});
  parallel(parts.parts, [&](std::int64_t first, std::int64_t last) {
    for (std::int64_t part = first; part < last; ++part) {
      run(in, gradients, parts.begin(part), parts.begin(part + 1), sums + part * size);
    }
  });
  sum_parts<double>(sums, parts.parts, size, gradients.dweight, parallel);
}

#define DNAMAMBA_INSTANTIATE(T)                                                                        \
  template void token_loss(const TokenLossInputs<T>&, const TokenLossOutputs<T>&, const ParallelFor&); \
  template std::int64_t token_loss_backward_workspace(const TokenLossInputs<T>&);                      \
  template void token_loss_backward(const TokenLossInputs<T>&, const TokenLossGradients<T>&, void*, const ParallelFor&);
DNAMAMBA_INSTANTIATE(float)
DNAMAMBA_INSTANTIATE(double)
#undef DNAMAMBA_INSTANTIATE

}  // namespace dnamamba::kernels::cpu
#endif  // HWY_ONCE
