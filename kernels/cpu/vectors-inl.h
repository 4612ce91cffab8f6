// Pieces of vector code that the kernels share; compiled once per instruction set.
#if defined(DNAMAMBA_KERNELS_CPU_VECTORS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef DNAMAMBA_KERNELS_CPU_VECTORS_INL_H_
#undef DNAMAMBA_KERNELS_CPU_VECTORS_INL_H_
#else
#define DNAMAMBA_KERNELS_CPU_VECTORS_INL_H_
#endif

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <limits>

#include "hwy/contrib/math/math-inl.h"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace dnamamba::kernels::cpu::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

/// The first `count` (1 … lanes) values at `from`, zeros after them; reads nothing else.
template <class D, typename T = hn::TFromD<D>>
HWY_INLINE hn::Vec<D> load_part(D d, const T* from, std::int64_t count) {
  if (count >= static_cast<std::int64_t>(hn::Lanes(d))) return hn::LoadU(d, from);
#if HWY_TARGET == HWY_AVX3 || HWY_TARGET == HWY_AVX2
  return hn::MaskedLoad(hn::FirstN(d, static_cast<std::size_t>(count)), d, from);
#else
  HWY_ALIGN T lanes[HWY_MAX_BYTES / sizeof(T)] = {};
  for (std::int64_t i = 0; i < count; ++i) lanes[i] = from[i];
  return hn::Load(d, lanes);
#endif
}

/// Writes the first `count` (1 … lanes) values and nothing else.
template <class D, typename T = hn::TFromD<D>>
HWY_INLINE void store_part(D d, hn::Vec<D> v, T* to, std::int64_t count) {
  if (count >= static_cast<std::int64_t>(hn::Lanes(d))) return hn::StoreU(v, d, to);
#if HWY_TARGET == HWY_AVX3 || HWY_TARGET == HWY_AVX2
  hn::BlendedStore(v, hn::FirstN(d, static_cast<std::size_t>(count)), d, to);
#else
  HWY_ALIGN T lanes[HWY_MAX_BYTES / sizeof(T)];
  hn::Store(v, d, lanes);
  for (std::int64_t i = 0; i < count; ++i) to[i] = lanes[i];
#endif
}

/// Adds the lanes of `v` to sums kept in double.
template <class D, typename T = hn::TFromD<D>>
HWY_INLINE void add_to_double(D d, hn::Vec<D> v, double* sums) {
  HWY_ALIGN T lanes[HWY_MAX_BYTES / sizeof(T)];
  hn::Store(v, d, lanes);
  for (std::size_t i = 0; i < hn::Lanes(d); ++i) sums[i] += double{lanes[i]};
}

// 2^r = 1 + r * P(r) on |r| <= 1/2: minimax coefficients of P, lowest first. The leading 1 is exact, so that the error
// shrinks with r: factors close to 1, which are multiplied over thousands of tokens, are the most exact ones.
inline constexpr float kExp2Float[] = {0.6931472149680279f,    0.24022652782887738f,   0.05550310551013797f,
                                       0.0096176929729930623f, 0.0013406643902351759f, 0.00015594678161326619f};
inline constexpr double kExp2Double[] = {0.69314718055994569675,   0.24022650695910098007,   0.055504108664790394552,
                                         0.0096181291076070023796, 0.0013333558153439964747, 0.0001540353044157213033,
                                         1.5252727385193868197e-5, 1.3215442675329822143e-6, 1.0180647659234138888e-7,
                                         7.0725704128144235096e-9, 4.0780719295883366627e-10};

template <class D>
constexpr auto& exp2_coefficients() {
  if constexpr (sizeof(hn::TFromD<D>) == 4) {
    return kExp2Float;
  } else {
    return kExp2Double;
  }
}

/// 2^r for |r| <= 1/2, of kCount vectors in place. Step by step for all of them: a processor that looks a hundred
/// operations ahead would wait for one long chain after the other.
template <int kCount, class D>
HWY_INLINE void exp2_near_zero(D d, hn::Vec<D>* r) {
  constexpr auto& coefficients = exp2_coefficients<D>();
  constexpr std::size_t kLast = std::size(coefficients) - 1;
  hn::Vec<D> p[kCount];
  HWY_UNROLL(8)
  for (int j = 0; j < kCount; ++j)
    p[j] = hn::MulAdd(hn::Set(d, coefficients[kLast]), r[j], hn::Set(d, coefficients[kLast - 1]));
  HWY_UNROLL(16)
  for (std::size_t i = 2; i <= kLast; ++i) {
    HWY_UNROLL(8)
    for (int j = 0; j < kCount; ++j) p[j] = hn::MulAdd(p[j], r[j], hn::Set(d, coefficients[kLast - i]));
  }
  HWY_UNROLL(8)
  for (int j = 0; j < kCount; ++j) r[j] = hn::MulAdd(p[j], r[j], hn::Set(d, hn::TFromD<D>{1}));
}

/// What the caller knows of the exponents: above -1/2; above the least one of normal numbers; nothing.
enum class Exponents { kSmall, kNormal, kAny };

template <typename T>
Exponents exponents_above(T least) {
  if (least > T(-0.5)) return Exponents::kSmall;
  return least > static_cast<T>(std::numeric_limits<T>::min_exponent) ? Exponents::kNormal : Exponents::kAny;
}

/// x[j] = 2^(scale * x[j]) for products <= 0 and kCount vectors: relative error below 2^-23 (float) and 2^-52 (double);
/// 0 below the normal range. Same bits whatever the caller knows, but less work.
template <Exponents kExponents, int kCount, class D>
HWY_INLINE void exp2_of_product(D d, hn::Vec<D> scale, hn::Vec<D>* x) {
  if constexpr (kExponents == Exponents::kSmall) {
    HWY_UNROLL(8)
    for (int j = 0; j < kCount; ++j) x[j] = hn::Mul(scale, x[j]);
    exp2_near_zero<kCount>(d, x);
  } else {
    using T = hn::TFromD<D>;
    constexpr int kMantissaBits = std::numeric_limits<T>::digits - 1;
    constexpr T kMagic = T(1.5) * static_cast<T>(std::int64_t{1} << kMantissaBits);
    const hn::RebindToSigned<D> di;
    // Adding 1.5 * 2^bits leaves the nearest integer in the lowest bits.
    const hn::Vec<D> magic = hn::Set(d, kMagic);
    const hn::Vec<D> least = hn::Set(d, kMagic + static_cast<T>(std::numeric_limits<T>::min_exponent));
    hn::Vec<D> shifted[kCount];
    HWY_UNROLL(8)
    for (int j = 0; j < kCount; ++j) shifted[j] = hn::MulAdd(scale, x[j], magic);
    HWY_UNROLL(8)
    for (int j = 0; j < kCount; ++j) x[j] = hn::MulSub(scale, x[j], hn::Sub(shifted[j], magic));
    exp2_near_zero<kCount>(d, x);
    HWY_UNROLL(8)
    for (int j = 0; j < kCount; ++j) {
      const auto exponent = hn::ShiftLeft<kMantissaBits>(hn::BitCast(di, shifted[j]));
      x[j] = hn::BitCast(d, hn::Add(hn::BitCast(di, x[j]), exponent));
      if constexpr (kExponents == Exponents::kAny) x[j] = hn::IfThenZeroElse(hn::Lt(shifted[j], least), x[j]);
    }
  }
}
template <class D>
HWY_INLINE hn::Vec<D> exp2_of_product(D d, hn::Vec<D> scale, hn::Vec<D> x) {
  exp2_of_product<Exponents::kAny, 1>(d, scale, &x);
  return x;
}

/// e^x for x <= 0, of kCount vectors in place: relative error below 2^-22 (float); below the normal range, and for NaN,
/// a number next to 0.
template <int kCount, class D>
HWY_INLINE void exp_of_negative(D d, hn::Vec<D>* x) {
  if constexpr (sizeof(hn::TFromD<D>) == 4) {
    // log2(e) in two parts: the product keeps its last bits, however large x is.
    const auto log2e = hn::Set(d, 1.44269502F), rest = hn::Set(d, 1.92596299e-8F);
    const auto magic = hn::Set(d, 12582912.0F);  // 1.5 * 2^23 leaves the nearest integer in the lowest bits
    const hn::RebindToSigned<D> di;
    hn::Vec<D> shifted[kCount];
    HWY_UNROLL(8)
    for (int j = 0; j < kCount; ++j) {
      x[j] = hn::Max(x[j], hn::Set(d, -87.0F));
      shifted[j] = hn::MulAdd(x[j], log2e, magic);
      x[j] = hn::MulAdd(x[j], rest, hn::MulSub(x[j], log2e, hn::Sub(shifted[j], magic)));
    }
    exp2_near_zero<kCount>(d, x);
    HWY_UNROLL(8)
    for (int j = 0; j < kCount; ++j) {
      const auto exponent = hn::ShiftLeft<23>(hn::BitCast(di, shifted[j]));
      x[j] = hn::BitCast(d, hn::Add(hn::BitCast(di, x[j]), exponent));
    }
  } else {
    for (int j = 0; j < kCount; ++j) x[j] = hn::Exp(d, x[j]);
  }
}
template <class D>
HWY_INLINE hn::Vec<D> exp_of_negative(D d, hn::Vec<D> x) {
  exp_of_negative<1>(d, &x);
  return x;
}

// log(1 + e) / e on [0, 1]: minimax coefficients, lowest first; relative error 5e-9 before rounding.
inline constexpr float kLog1pFloat[] = {0.9999999952871872F,    -0.49999902422265091F,  0.33329962403038715F,
                                        -0.24954133517025776F,  0.19675938545645855F,   -0.1530559052160926F,
                                        0.1060365141551105F,    -0.056959500036969612F, 0.019851444146131108F,
                                        -0.0032440211359797411F};

/// log(1 + e) + more, for e in [0, 1]; relative error of the logarithm below 2^-22 (float).
template <class D>
HWY_INLINE hn::Vec<D> add_log1p(D d, hn::Vec<D> e, hn::Vec<D> more) {
  if constexpr (sizeof(hn::TFromD<D>) == 4) {
    constexpr std::size_t kLast = std::size(kLog1pFloat) - 1;
    hn::Vec<D> p = hn::Set(d, kLog1pFloat[kLast]);
    for (std::size_t i = kLast; i-- > 0;) p = hn::MulAdd(p, e, hn::Set(d, kLog1pFloat[i]));
    return hn::MulAdd(p, e, more);
  } else {
    return hn::Add(more, hn::Log1p(d, e));
  }
}

/// 1 / q: of floats an estimate and one step of Newton's, which take a fifth of a division's time.
template <class D>
HWY_INLINE hn::Vec<D> reciprocal(D d, hn::Vec<D> q) {
  const auto one = hn::Set(d, hn::TFromD<D>{1});
  if constexpr (sizeof(hn::TFromD<D>) == 4) {
    const auto estimate = hn::ApproximateReciprocal(q);
    return hn::MulAdd(estimate, hn::NegMulAdd(q, estimate, one), estimate);
  } else {
    return hn::Div(one, q);
  }
}

/// sigmoid(v) from e = exp(-|v|): never divides by a large number.
template <class D>
HWY_INLINE hn::Vec<D> sigmoid_from(D d, hn::Vec<D> v, hn::Vec<D> e) {
  const hn::Vec<D> one = hn::Set(d, hn::TFromD<D>{1});
  return hn::Mul(hn::IfThenElse(hn::Lt(v, hn::Zero(d)), e, one), reciprocal(d, hn::Add(one, e)));
}
template <class D>
HWY_INLINE hn::Vec<D> sigmoid(D d, hn::Vec<D> v) {
  return sigmoid_from(d, v, exp_of_negative(d, hn::Neg(hn::Abs(v))));
}
/// v sigmoid(v), of kCount vectors in place.
template <int kCount, class D>
HWY_INLINE void silu(D d, hn::Vec<D>* v) {
  hn::Vec<D> e[kCount];
  HWY_UNROLL(8)
  for (int j = 0; j < kCount; ++j) e[j] = hn::Neg(hn::Abs(v[j]));
  exp_of_negative<kCount>(d, e);
  HWY_UNROLL(8)
  for (int j = 0; j < kCount; ++j) v[j] = hn::Mul(v[j], sigmoid_from(d, v[j], e[j]));
}
template <class D>
HWY_INLINE hn::Vec<D> silu(D d, hn::Vec<D> v) {
  silu<1>(d, &v);
  return v;
}
/// silu's derivative, given s = sigmoid(v).
template <class D>
HWY_INLINE hn::Vec<D> silu_slope_from(D d, hn::Vec<D> v, hn::Vec<D> s) {
  const hn::Vec<D> one = hn::Set(d, hn::TFromD<D>{1});
  return hn::Mul(s, hn::MulAdd(v, hn::Sub(one, s), one));
}

/// softplus(v) = log(1 + exp(v)), v itself above 20 and where it is NaN; its slope goes to *slope when kSlope.
template <bool kSlope, class D>
HWY_INLINE hn::Vec<D> softplus(D d, hn::Vec<D> v, hn::Vec<D>* slope) {
  using T = hn::TFromD<D>;
  const hn::Vec<D> e = exp_of_negative(d, hn::Neg(hn::Abs(v)));
  const hn::Vec<D> soft = add_log1p(d, e, hn::Max(v, hn::Zero(d)));
  const auto curved = hn::Le(v, hn::Set(d, T{20}));
  if constexpr (kSlope) *slope = hn::IfThenElse(curved, sigmoid_from(d, v, e), hn::Set(d, T{1}));
  return hn::IfThenElse(curved, soft, v);
}

/// softplus(v), but at least `least` and at most `most`; NaN stays NaN. Where a limit holds, the slope is 0.
template <bool kSlope, class D>
HWY_INLINE hn::Vec<D> limited_softplus(D d, hn::Vec<D> v, hn::Vec<D> least, hn::Vec<D> most, hn::Vec<D>* slope) {
  const hn::Vec<D> soft = softplus<kSlope>(d, v, slope);
  const auto below = hn::Lt(soft, least), above = hn::Gt(soft, most);  // a NaN is neither
  if constexpr (kSlope) *slope = hn::IfThenZeroElse(hn::Or(below, above), *slope);
  return hn::IfThenElse(below, least, hn::IfThenElse(above, most, soft));
}

#if HWY_TARGET != HWY_SCALAR
/// Sums of the lanes of kBlockLanes rows of a 128-bit block (4 floats or 2 doubles) at once, by transposing while
/// adding.
template <class D, typename T = hn::TFromD<D>>
HWY_INLINE void store_lane_sums(D d, const T* rows, std::int64_t stride, T* to) {
  const auto add_pair = [d](hn::Vec<D> a, hn::Vec<D> b)
                            HWY_ATTR { return hn::Add(hn::InterleaveLower(d, a, b), hn::InterleaveUpper(d, a, b)); };
  hn::Vec<D> sums = add_pair(hn::Load(d, rows), hn::Load(d, rows + stride));
  if constexpr (sizeof(T) == 4) {
    // Lanes of a pair are a b a b in each block of 128 bits; the two pairs as 64-bit lanes give a b c d.
    const hn::Vec<D> other = add_pair(hn::Load(d, rows + 2 * stride), hn::Load(d, rows + 3 * stride));
    const hn::Repartition<double, D> d64;
    const auto low = hn::InterleaveLower(d64, hn::BitCast(d64, sums), hn::BitCast(d64, other));
    const auto high = hn::InterleaveUpper(d64, hn::BitCast(d64, sums), hn::BitCast(d64, other));
    sums = hn::Add(hn::BitCast(d, low), hn::BitCast(d, high));
  }
  HWY_ALIGN T lanes[HWY_MAX_BYTES / sizeof(T)];
  hn::Store(sums, d, lanes);
  const hn::Full128<T> block;
  auto total = hn::Load(block, lanes);
  for (std::size_t i = hn::Lanes(block); i < hn::Lanes(d); i += hn::Lanes(block)) {
    total = hn::Add(total, hn::Load(block, lanes + i));
  }
  hn::StoreU(total, block, to);
}
#endif

/// to[i] = sum of the lanes of the vector at rows + i * stride, for i below count.
template <class D, typename T = hn::TFromD<D>>
HWY_INLINE void sum_lanes(D d, const T* rows, std::int64_t stride, std::int64_t count, T* to) {
  std::int64_t i = 0;
#if HWY_TARGET != HWY_SCALAR
  constexpr std::int64_t kAtOnce = 16 / sizeof(T);
  for (; i + kAtOnce <= count; i += kAtOnce) store_lane_sums(d, rows + i * stride, stride, to + i);
#endif
  for (; i < count; ++i) to[i] = hn::GetLane(hn::SumOfLanes(d, hn::Load(d, rows + i * stride)));
}

}  // namespace dnamamba::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif  // toggle
