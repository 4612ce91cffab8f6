// Lanes are rows of a matrix or channels: no sum runs across lanes but those of the norms. A step is bound by the
// weights that it reads once; they lie in the order in which they are read, so that the processor fetches them ahead by
// itself.
#include "kernels/step.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <vector>

#include "kernels/arguments.h"
#include "kernels/cpu/denormals.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/step.cpp"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
// After foreach_target:
#include "hwy/highway.h"
#include "kernels/cpu/dispatch.h"
#include "kernels/cpu/vectors-inl.h"

HWY_BEFORE_NAMESPACE();
namespace dnamamba::kernels::cpu::HWY_NAMESPACE {
namespace {

using Tag = hn::CappedTag<float, kStepPanel>;
using Vector = hn::Vec<Tag>;
constexpr int kLanes = static_cast<int>(hn::MaxLanes(Tag()));
constexpr int kVectors = kStepPanel / kLanes;  // of a panel
constexpr int kSums = 4;  // of a row: columns k, k + 4, k + 8 …; hides the latency of an addition

/// The sums of a panel of rows, column k in sum k % kSums, added up as ((0 + 1) + (2 + 3)) whatever the vectors are.
struct PanelSums {
  Vector sums[kSums][kVectors];

  HWY_INLINE PanelSums() {
    for (auto& sum : sums)
      for (Vector& v : sum) v = hn::Zero(Tag());
  }
  HWY_INLINE void add(int k, int v, Vector weight, Vector x) { sums[k][v] = hn::MulAdd(weight, x, sums[k][v]); }
  HWY_INLINE void store(const float* bias, float* y) const {
    const Tag d;
    for (int v = 0; v < kVectors; ++v) {
      Vector sum = hn::Add(hn::Add(sums[0][v], sums[1][v]), hn::Add(sums[2][v], sums[3][v]));
      if (bias != nullptr) sum = hn::Add(sum, hn::Load(d, bias + v * kLanes));
      hn::Store(sum, d, y + v * kLanes);
    }
  }
};

HWY_INLINE void add_column(PanelSums& sums, int k, const float* weights, float x) {
  const Tag d;
  for (int v = 0; v < kVectors; ++v) sums.add(k, v, hn::Load(d, weights + v * kLanes), hn::Set(d, x));
}

/// Two columns, from words with the even one below.
HWY_INLINE void add_pair(PanelSums& sums, int k, const std::uint32_t* words, float even, float odd) {
  const Tag d;
  const hn::RebindToUnsigned<Tag> du;
  for (int v = 0; v < kVectors; ++v) {
    const auto pair = hn::Load(du, words + v * kLanes);
    sums.add(k, v, hn::BitCast(d, hn::ShiftLeft<16>(pair)), hn::Set(d, even));
    sums.add(k + 1, v, hn::BitCast(d, hn::And(pair, hn::Set(du, 0xffff0000u))), hn::Set(d, odd));
  }
}

void product_float(const StepMatrix& matrix, std::int64_t panel, const float* x, const float* bias, float* y) {
  const float* weights = static_cast<const float*>(matrix.values) + panel * matrix.columns * kStepPanel;
  PanelSums sums;
  std::int64_t k = 0;
  for (; k + kSums <= matrix.columns; k += kSums, weights += kSums * kStepPanel) {
    for (int i = 0; i < kSums; ++i) add_column(sums, i, weights + i * kStepPanel, x[k + i]);
  }
  for (int i = 0; k + i < matrix.columns; ++i) add_column(sums, i, weights + i * kStepPanel, x[k + i]);
  sums.store(bias, y);
}

void product_bfloat16(const StepMatrix& matrix, std::int64_t panel, const float* x, const float* bias, float* y) {
  const std::int64_t pairs = (matrix.columns + 1) / 2;
  const auto* words = static_cast<const std::uint32_t*>(matrix.values) + panel * pairs * kStepPanel;
  PanelSums sums;
  std::int64_t k = 0;
  for (; k + kSums <= matrix.columns; k += kSums, words += kSums / 2 * kStepPanel) {
    add_pair(sums, 0, words, x[k], x[k + 1]);
    add_pair(sums, 2, words + kStepPanel, x[k + 2], x[k + 3]);
  }
  for (int i = 0; k + i < matrix.columns; i += 2) {
    add_pair(sums, i, words + i / 2 * kStepPanel, x[k + i], k + i + 1 < matrix.columns ? x[k + i + 1] : 0.0F);
  }
  sums.store(bias, y);
}

void product(const StepMatrix& matrix, std::int64_t first, std::int64_t last, const float* x, const float* bias,
             float* y) {
  for (std::int64_t panel = first; panel < last; ++panel) {
    const float* const of_panel = bias == nullptr ? nullptr : bias + panel * kStepPanel;
    if (matrix.type == StepWeights::kFloat32) {
      product_float(matrix, panel, x, of_panel, y + panel * kStepPanel);
    } else {
      product_bfloat16(matrix, panel, x, of_panel, y + panel * kStepPanel);
    }
  }
}

void convolution(const StepConvolution& in, const float* x, float* state, float* y) {
  const Tag d;
  for (std::int64_t at = 0; at < in.channels; at += kLanes) {
    const std::int64_t panel = at / kStepPanel, lane = at % kStepPanel;
    const float* const weight = in.weight + panel * in.width * kStepPanel + lane;
    float* const kept = state + panel * (in.width - 1) * kStepPanel + lane;
    const Vector newest = hn::Load(d, x + at);
    Vector v = hn::Load(d, in.bias + at);
    for (std::int64_t k = 0; k + 1 < in.width; ++k) {
      v = hn::MulAdd(hn::Load(d, weight + k * kStepPanel), hn::Load(d, kept + k * kStepPanel), v);
      const Vector next = k + 2 < in.width ? hn::Load(d, kept + (k + 1) * kStepPanel) : newest;
      hn::Store(next, d, kept + k * kStepPanel);
    }
    v = hn::MulAdd(hn::Load(d, weight + (in.width - 1) * kStepPanel), newest, v);
    hn::Store(silu(d, v), d, y + at);
  }
}

/// A vector of channels over all states; decay(n) is what state n keeps.
template <class Decay>
HWY_INLINE Vector advance(std::int64_t states, Vector dtx, const float* B, const float* C, float* state,
                          Decay&& decay) {
  const Tag d;
  Vector sums[2] = {hn::Zero(d), hn::Zero(d)};
  const auto one = [&](std::int64_t n, Vector& sum) HWY_ATTR {
    float* const at = state + n * kStepPanel;
    const Vector h = hn::MulAdd(decay(n), hn::Load(d, at), hn::Mul(dtx, hn::Set(d, B[n])));
    hn::Store(h, d, at);
    sum = hn::MulAdd(h, hn::Set(d, C[n]), sum);
  };
  std::int64_t n = 0;
  for (; n + 2 <= states; n += 2) {
    one(n, sums[0]);
    one(n + 1, sums[1]);
  }
  if (n < states) one(n, sums[0]);
  return hn::Add(sums[0], sums[1]);
}

void selective_scan(const StepSelectiveScan& in, const float* x, const float* delta, const float* z, const float* B,
                    const float* C, float* state, float* y) {
  const Tag d;
  for (std::int64_t at = 0; at < in.channels; at += kLanes) {
    const std::int64_t in_panel = at / kStepPanel * in.states * kStepPanel + at % kStepPanel;
    const float* const A2 = in.A2 + in_panel;
    const Vector u = hn::Load(d, x + at);
    const Vector v = hn::Add(hn::Load(d, delta + at), hn::Load(d, in.delta_bias + at));
    const Vector dt = softplus<false>(d, v, static_cast<Vector*>(nullptr));
    const auto decay = [&](std::int64_t n)
                           HWY_ATTR { return exp2_of_product(d, dt, hn::Load(d, A2 + n * kStepPanel)); };
    const Vector sum = advance(in.states, hn::Mul(dt, u), B, C, state + in_panel, decay);
    hn::Store(hn::Mul(hn::MulAdd(hn::Load(d, in.D + at), u, sum), silu(d, hn::Load(d, z + at))), d, y + at);
  }
}

/// dt of each head, behind its bias, softplus and limits.
void ssd_step_sizes(const StepSsd& in, float* dt) {
  const Tag d;
  const Vector least = hn::Set(d, static_cast<float>(in.dt_min)), most = hn::Set(d, static_cast<float>(in.dt_max));
  for (std::int64_t h = 0; h < in.heads; h += kLanes) {
    const Vector v = hn::Add(hn::Load(d, dt + h), hn::Load(d, in.dt_bias + h));
    hn::Store(limited_softplus<false>(d, v, least, most, static_cast<Vector*>(nullptr)), d, dt + h);
  }
}

void ssd(const StepSsd& in, const float* x, float* dt, const float* B, const float* C, float* state, float* y) {
  const Tag d;
  ssd_step_sizes(in, dt);
  HWY_ALIGN float dt_of[kLanes], A2_of[kLanes];
  for (std::int64_t at = 0; at < in.channels; at += kLanes) {
    for (int lane = 0; lane < kLanes; ++lane) {
      dt_of[lane] = dt[in.head[at + lane]];
      A2_of[lane] = in.A2[in.head[at + lane]];
    }
    const Vector step = hn::Load(d, dt_of), u = hn::Load(d, x + at);
    const Vector kept = exp2_of_product(d, step, hn::Load(d, A2_of));
    const auto decay = [&](std::int64_t) HWY_ATTR { return kept; };
    float* const h = state + at / kStepPanel * in.states * kStepPanel + at % kStepPanel;
    const Vector sum = advance(in.states, hn::Mul(step, u), B, C, h, decay);
    hn::Store(hn::MulAdd(hn::Load(d, in.D + at), u, sum), d, y + at);
  }
}

/// The sum of 16 lanes, pairs of neighbours first, whatever the vectors are.
HWY_INLINE float sum_of_panel(const Vector (&sums)[kVectors]) {
  HWY_ALIGN float lanes[kStepPanel];
  for (int v = 0; v < kVectors; ++v) hn::Store(sums[v], Tag(), lanes + v * kLanes);
  for (int width = 1; width < kStepPanel; width *= 2)
    for (int i = 0; i < kStepPanel; i += 2 * width) lanes[i] += lanes[i + width];
  return lanes[0];
}

float gate(StepGate kind, std::int64_t count, const float* x, const float* z, const float* weight, float* y) {
  const Tag d;
  Vector squares[kVectors];
  for (Vector& v : squares) v = hn::Zero(d);
  for (std::int64_t at = 0; at < count; at += kStepPanel) {
    for (int v = 0; v < kVectors; ++v) {
      const std::int64_t i = at + v * kLanes;
      const Vector ungated = hn::Load(d, x + i);
      Vector u = hn::Mul(ungated, silu(d, hn::Load(d, z + i)));
      const Vector squared = kind == StepGate::kAfterNorm ? ungated : u;
      squares[v] = hn::MulAdd(squared, squared, squares[v]);
      if (weight != nullptr) u = hn::Mul(u, hn::Load(d, weight + i));
      hn::Store(u, d, y + i);
    }
  }
  return kind == StepGate::kAlone ? 0.0F : sum_of_panel(squares);
}

void sum_parts(std::int64_t count, std::int64_t parts, const float* from, std::int64_t stride, const float* factors,
               const float* bias, bool add, float* to) {
  const Tag d;
  for (std::int64_t i = 0; i < count; i += kLanes) {
    Vector sum = bias == nullptr ? hn::Zero(d) : hn::Load(d, bias + i);
    for (std::int64_t s = 0; s < parts; ++s) {
      const Vector part = hn::Load(d, from + s * stride + i);
      sum = factors == nullptr ? hn::Add(sum, part) : hn::MulAdd(part, hn::Set(d, factors[s]), sum);
    }
    if (add) sum = hn::Add(sum, hn::Load(d, to + i));
    hn::Store(sum, d, to + i);
  }
}

void norm(const StepNorm& in, const float* r, float* y) {
  const Tag d;
  const auto columns = static_cast<float>(in.columns);
  const std::int64_t padded = step_padded(in.columns);
  Vector sums[kVectors], squares[kVectors];
  for (int v = 0; v < kVectors; ++v) sums[v] = squares[v] = hn::Zero(d);
  for (std::int64_t i = 0; in.layer_norm && i < padded; i += kStepPanel) {
    for (int v = 0; v < kVectors; ++v) sums[v] = hn::Add(sums[v], hn::Load(d, r + i + v * kLanes));
  }
  const Vector mean = hn::Set(d, sum_of_panel(sums) / columns);
  const auto centred = [&](std::int64_t i) HWY_ATTR {
    const auto real = hn::FirstN(d, static_cast<std::size_t>(std::clamp<std::int64_t>(in.columns - i, 0, kLanes)));
    return hn::IfThenElseZero(real, hn::Sub(hn::Load(d, r + i), mean));
  };
  for (std::int64_t i = 0; i < padded; i += kStepPanel) {
    for (int v = 0; v < kVectors; ++v) {
      const Vector value = centred(i + v * kLanes);
      squares[v] = hn::MulAdd(value, value, squares[v]);
    }
  }
  const Vector scale = hn::Set(d, 1 / std::sqrt(sum_of_panel(squares) / columns + static_cast<float>(in.epsilon)));
  for (std::int64_t i = 0; i < padded; i += kLanes) {
    Vector value = hn::Mul(hn::Mul(centred(i), scale), hn::Load(d, in.weight + i));
    if (in.bias != nullptr) value = hn::Add(value, hn::Load(d, in.bias + i));
    hn::Store(value, d, y + i);
  }
}

}  // namespace
}  // namespace dnamamba::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace dnamamba::kernels::cpu {
namespace {

HWY_EXPORT(product);
HWY_EXPORT(convolution);
HWY_EXPORT(selective_scan);
HWY_EXPORT(ssd);
HWY_EXPORT(gate);
HWY_EXPORT(sum_parts);
HWY_EXPORT(norm);

/// The upper half of a float, rounded to the nearest, ties to even; a NaN stays one.
std::uint32_t bfloat16_bits(float value) {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  if (std::isnan(value)) return (bits >> 16) | 0x40;
  return (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
}

/// Words of a panel column (fp32) or of a pair of columns (bf16).
std::int64_t words_of_row(std::int64_t columns, StepWeights type) {
  return type == StepWeights::kFloat32 ? columns : (columns + 1) / 2;
}

}  // namespace

std::int64_t step_matrix_bytes(std::int64_t rows, std::int64_t columns, StepWeights type) {
  require(rows >= 0 && rows % kStepPanel == 0 && columns >= 0, "step_pack: rows must be whole panels of 16");
  return rows * words_of_row(columns, type) * static_cast<std::int64_t>(sizeof(std::uint32_t));
}

StepMatrix step_pack(const float* from, std::int64_t rows, std::int64_t columns, StepWeights type, void* to) {
  require(step_matrix_bytes(rows, columns, type) == 0 || (from != nullptr && to != nullptr),
          "step_pack: a matrix or its place is missing");
  const std::int64_t words = words_of_row(columns, type);
  auto* const packed = static_cast<std::uint32_t*>(to);
  for (std::int64_t row = 0; row < rows; ++row) {
    std::uint32_t* const lane = packed + row / kStepPanel * words * kStepPanel + row % kStepPanel;
    const float* const values = from + row * columns;
    for (std::int64_t w = 0; w < words; ++w) {
      if (type == StepWeights::kFloat32) {
        lane[w * kStepPanel] = std::bit_cast<std::uint32_t>(values[w]);
      } else {
        const std::uint32_t odd = 2 * w + 1 < columns ? bfloat16_bits(values[2 * w + 1]) : 0;
        lane[w * kStepPanel] = odd << 16 | bfloat16_bits(values[2 * w]);
      }
    }
  }
  return {rows, columns, type, to};
}

void step_product(const StepMatrix& matrix, std::int64_t first, std::int64_t last, const float* x, const float* bias,
                  float* y) {
  DNAMAMBA_INSTANCE(product)(matrix, first, last, x, bias, y);
}

void step_convolution(const StepConvolution& in, const float* x, float* state, float* y) {
  DNAMAMBA_INSTANCE(convolution)(in, x, state, y);
}

void step_selective_scan(const StepSelectiveScan& scan, const float* x, const float* delta, const float* z,
                         const float* B, const float* C, float* state, float* y) {
  const FlushDenormals flush;
  DNAMAMBA_INSTANCE(selective_scan)(scan, x, delta, z, B, C, state, y);
}

void step_ssd(const StepSsd& in, const float* x, float* dt, const float* B, const float* C, float* state, float* y) {
  const FlushDenormals flush;
  DNAMAMBA_INSTANCE(ssd)(in, x, dt, B, C, state, y);
}

float step_gate(StepGate kind, std::int64_t count, const float* x, const float* z, const float* weight, float* y) {
  return DNAMAMBA_INSTANCE(gate)(kind, count, x, z, weight, y);
}

void step_sum_parts(std::int64_t count, std::int64_t parts, const float* from, std::int64_t stride,
                    const float* factors, const float* bias, bool add, float* to) {
  DNAMAMBA_INSTANCE(sum_parts)(count, parts, from, stride, factors, bias, add, to);
}

void step_norm(const StepNorm& in, const float* r, float* y) {
  DNAMAMBA_INSTANCE(norm)(in, r, y);
}

}  // namespace dnamamba::kernels::cpu
#endif
