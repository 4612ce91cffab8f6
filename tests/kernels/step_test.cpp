// The pieces of a step against the operators over many tokens, as plain loops define them.
#include "kernels/step.h"

#include <cmath>
#include <limits>
#include <stdexcept>

#include "kernels/add_rms_norm.h"
#include "kernels/causal_conv1d.h"
#include "kernels/gated_rms_norm.h"
#include "kernels/selective_scan.h"
#include "kernels/ssd.h"
#include "tests/kernels/parallel.h"

namespace dnamamba::kernels {
namespace {

constexpr std::int64_t kTokens = 6;

using test::Tensors;
using Floats = std::vector<float>;

/// 64-byte aligned, as a step wants everything.
class Aligned {
 public:
  explicit Aligned(const Floats& values)
      : size_(values.size()), memory_(hwy::AllocateAligned<float>(std::max<std::size_t>(1, values.size()))) {
    std::copy(values.begin(), values.end(), memory_.get());
  }
  explicit Aligned(std::int64_t zeros) : Aligned(Floats(static_cast<std::size_t>(zeros), 0.0F)) {}
  float* get() { return memory_.get(); }
  [[nodiscard]] Floats values() const { return {memory_.get(), memory_.get() + size_}; }

 private:
  std::size_t size_;
  hwy::AlignedFreeUniquePtr<float[]> memory_;
};

std::int64_t place(std::int64_t channel, std::int64_t n, std::int64_t count) {
  return (channel / kStepPanel * count + n) * kStepPanel + channel % kStepPanel;
}

/// [channels, count] as panels, filled up with zeros.
Aligned panels(const Floats& values, std::int64_t count) {
  const std::int64_t channels = static_cast<std::int64_t>(values.size()) / count;
  Floats to(static_cast<std::size_t>(step_padded(channels) * count), 0.0F);
  for (std::int64_t c = 0; c < channels; ++c)
    for (std::int64_t n = 0; n < count; ++n) to[place(c, n, count)] = values[c * count + n];
  return Aligned(to);
}
Floats plain(const Aligned& panels, std::int64_t channels, std::int64_t count) {
  const Floats from = panels.values();
  Floats to;
  for (std::int64_t c = 0; c < channels; ++c)
    for (std::int64_t n = 0; n < count; ++n) to.push_back(from[place(c, n, count)]);
  return to;
}

/// What `step(x of a token, y)` gives for each token, [T, channels].
template <typename Step>
Floats token_by_token(const Floats& x, std::int64_t channels, Step&& step) {
  Floats all;
  for (std::int64_t t = 0; t < kTokens; ++t) {
    Aligned in = panels(test::rows_of(x, t, t + 1, channels), 1), out(step_padded(channels));
    step(t, in.get(), out.get());
    const Floats y = plain(out, channels, 1);
    all.insert(all.end(), y.begin(), y.end());
  }
  return all;
}

const std::int64_t kOffsets[] = {0, kTokens};

Floats product_of(const StepMatrix& matrix, Aligned& x, float* bias = nullptr) {
  Aligned y(matrix.rows);
  cpu::step_product(matrix, 0, matrix.rows / kStepPanel, x.get(), bias, y.get());
  return y.values();
}

/// A packed matrix with its memory.
struct Packed {
  Aligned memory;
  StepMatrix matrix;

  Packed(const Floats& values, std::int64_t rows, std::int64_t columns, StepWeights type)
      : memory(cpu::step_matrix_bytes(rows, columns, type) / 4),
        matrix(cpu::step_pack(values.data(), rows, columns, type, memory.get())) {}
};

TEST(StepProduct, IsTheProductOfMatrixAndVector) {
  test::Random random(1);
  for (const std::int64_t rows : {16, 48})
    for (const std::int64_t columns : {1, 2, 3, 4, 5, 6, 7, 16, 61, 256}) {
      const Floats weights = random.normal<float>(rows * columns), vector = random.normal<float>(columns);
      Aligned x(vector), bias(random.normal<float>(rows));
      std::vector<double> expected;
      for (std::int64_t r = 0; r < rows; ++r) {
        double sum = bias.get()[r];
        for (std::int64_t c = 0; c < columns; ++c) sum += double{weights[r * columns + c]} * vector[c];
        expected.push_back(sum);
      }
      const Packed exact(weights, rows, columns, StepWeights::kFloat32);
      EXPECT_TRUE(test::close_in_norm(product_of(exact.matrix, x, bias.get()), expected, 1e-6)) << columns;
      const Packed rounded(weights, rows, columns, StepWeights::kBfloat16);
      EXPECT_TRUE(test::close_in_norm(product_of(rounded.matrix, x, bias.get()), expected, 4e-3)) << columns;
    }
}

TEST(StepProduct, OfWeightsThatBfloat16HoldsHasTheSameBits) {
  test::Random random(2);
  for (const std::int64_t columns : {1, 6, 7, 61}) {
    Floats weights;
    for (std::int64_t i = 0; i < 32 * columns; ++i) weights.push_back(static_cast<float>(random.whole(-127, 127)) / 64);
    Aligned x(random.normal<float>(columns));
    const Packed exact(weights, 32, columns, StepWeights::kFloat32), same(weights, 32, columns, StepWeights::kBfloat16);
    EXPECT_TRUE(test::same_bits(product_of(same.matrix, x), product_of(exact.matrix, x)));
  }
}

TEST(StepProduct, RoundsToTheNearestBfloat16AndTiesToEven) {
  const float step = std::ldexp(1.0F, -7), infinity = std::numeric_limits<float>::infinity();
  Floats weights(16, 0.0F);
  weights[0] = 1 + step / 2;
  weights[1] = 1 + 3 * step / 2;
  weights[2] = -(1 + step / 2) * (1 + std::ldexp(1.0F, -20));
  weights[3] = infinity;
  weights[4] = std::numeric_limits<float>::quiet_NaN();
  const Packed packed(weights, 16, 1, StepWeights::kBfloat16);
  Aligned one(Floats{1.0F});
  const Floats y = product_of(packed.matrix, one);
  EXPECT_EQ(y[0], 1);
  EXPECT_EQ(y[1], 1 + 2 * step);
  EXPECT_EQ(y[2], -(1 + step));
  EXPECT_EQ(y[3], infinity);
  EXPECT_TRUE(std::isnan(y[4]));
}

TEST(StepProduct, WritesThePanelsAskedFor) {
  test::Random random(3);
  const Packed packed(random.normal<float>(64 * 5), 64, 5, StepWeights::kFloat32);
  Aligned x(random.normal<float>(5)), y(64);
  const Floats whole = product_of(packed.matrix, x);
  cpu::step_product(packed.matrix, 1, 3, x.get(), nullptr, y.get());
  for (std::size_t i = 0; i < 64; ++i) EXPECT_EQ(y.get()[i], i >= 16 && i < 48 ? whole[i] : 0) << i;
}

TEST(StepProduct, RefusesRowsThatAreNoWholePanels) {
  EXPECT_THROW(static_cast<void>(cpu::step_matrix_bytes(17, 4, StepWeights::kFloat32)), std::invalid_argument);
  EXPECT_THROW(static_cast<void>(cpu::step_pack(nullptr, 16, 4, StepWeights::kFloat32, nullptr)),
               std::invalid_argument);
}

TEST(StepConvolution, IsTheConvolutionOfOneToken) {
  for (const std::int64_t channels : {1, 16, 45})
    for (const std::int64_t width : {1, 2, 4, 7}) {
      test::Random random(channels + width);
      const Floats x = random.normal<float>(kTokens * channels), weight = random.normal<float>(channels * width);
      const Floats bias = random.normal<float>(channels), initial = random.normal<float>((width - 1) * channels);
      Tensors<float> expected;
      expected["y"].resize(x.size());
      expected["state"].resize(initial.size());
      reference::causal_conv1d<float>({.ragged = {.offsets = kOffsets, .sequences = 1},
                                       .channels = channels,
                                       .width = width,
                                       .x = x.data(),
                                       .weight = weight.data(),
                                       .bias = bias.data(),
                                       .initial_state = initial.data()},
                                      {expected["y"].data(), expected["state"].data()});
      Aligned packed_weight = panels(weight, width), packed_bias = panels(bias, 1);
      Aligned state(step_padded(channels) * (width - 1));
      for (std::int64_t c = 0; c < channels; ++c)
        for (std::int64_t k = 0; k + 1 < width; ++k) state.get()[place(c, k, width - 1)] = initial[k * channels + c];
      const StepConvolution convolution{step_padded(channels), width, packed_weight.get(), packed_bias.get()};
      Tensors<float> actual;
      actual["y"] = token_by_token(x, channels, [&](std::int64_t, float* in, float* out) {
        cpu::step_convolution(convolution, in, state.get(), out);
      });
      actual["state"] = {};
      for (std::int64_t k = 0; k + 1 < width; ++k)
        for (std::int64_t c = 0; c < channels; ++c) actual["state"].push_back(state.values()[place(c, k, width - 1)]);
      test::expect_close(actual, expected, 1e-6);
    }
}

TEST(StepSelectiveScan, IsTheScanOfOneToken) {
  for (const std::int64_t channels : {1, 16, 45})
    for (const std::int64_t states : {1, 2, 5, 16}) {
      test::Random random(channels + states);
      const Floats x = random.normal<float>(kTokens * channels), delta = random.normal<float>(kTokens * channels);
      const Floats z = random.normal<float>(kTokens * channels), B = random.normal<float>(kTokens * states);
      const Floats C = random.normal<float>(kTokens * states), D = random.normal<float>(channels);
      const Floats bias = random.normal<float>(channels), initial = random.normal<float>(channels * states);
      Floats A = random.normal<float>(channels * states);
      for (float& a : A) a = -std::exp(a);
      Tensors<float> expected;
      expected["y"].resize(x.size());
      expected["state"].resize(initial.size());
      reference::selective_scan<float>({.ragged = {.offsets = kOffsets, .sequences = 1},
                                        .channels = channels,
                                        .states = states,
                                        .x = x.data(),
                                        .delta = delta.data(),
                                        .A = A.data(),
                                        .B = B.data(),
                                        .C = C.data(),
                                        .D = D.data(),
                                        .z = z.data(),
                                        .delta_bias = bias.data(),
                                        .initial_state = initial.data()},
                                       {expected["y"].data(), expected["state"].data()});
      for (float& a : A) a *= 1.4426950408889634F;
      Aligned A2 = panels(A, states), skip = panels(D, 1), packed_bias = panels(bias, 1);
      Aligned state = panels(initial, states);
      const StepSelectiveScan scan{step_padded(channels), states, A2.get(), skip.get(), packed_bias.get()};
      Tensors<float> actual;
      actual["y"] = token_by_token(x, channels, [&](std::int64_t t, float* in, float* out) {
        Aligned step = panels(test::rows_of(delta, t, t + 1, channels), 1);
        Aligned gate = panels(test::rows_of(z, t, t + 1, channels), 1);
        cpu::step_selective_scan(scan, in, step.get(), gate.get(), B.data() + t * states, C.data() + t * states,
                                 state.get(), out);
      });
      actual["state"] = plain(state, channels, states);
      test::expect_close(actual, expected, 2e-6);
    }
}

TEST(StepSsd, IsTheScanOfOneToken) {
  constexpr std::int64_t kHeads = 3;
  for (const std::int64_t dim : {1, 7, 16, 20})
    for (const std::int64_t states : {1, 3, 16}) {
      const std::int64_t channels = kHeads * dim;
      test::Random random(dim + states);
      const Floats x = random.normal<float>(kTokens * channels), dt = random.normal<float>(kTokens * kHeads);
      const Floats B = random.normal<float>(kTokens * states), C = random.normal<float>(kTokens * states);
      const Floats D = random.normal<float>(channels), bias = random.normal<float>(kHeads);
      const Floats initial = random.normal<float>(channels * states);
      Floats A = random.normal<float>(kHeads);
      for (float& a : A) a = -std::exp(a);
      Tensors<float> expected;
      expected["y"].resize(x.size());
      expected["state"].resize(initial.size());
      reference::ssd<float>({.ragged = {.offsets = kOffsets, .sequences = 1},
                             .heads = kHeads,
                             .head_dim = dim,
                             .states = states,
                             .x = x.data(),
                             .dt = dt.data(),
                             .A = A.data(),
                             .B = B.data(),
                             .C = C.data(),
                             .D = D.data(),
                             .D_per_channel = true,
                             .dt_bias = bias.data(),
                             .dt_min = 0.3,
                             .dt_max = 1.5,
                             .initial_state = initial.data()},
                            {expected["y"].data(), expected["state"].data()});
      for (float& a : A) a *= 1.4426950408889634F;
      Aligned A2 = panels(A, 1), skip = panels(D, 1), packed_bias = panels(bias, 1), state = panels(initial, states);
      std::vector<std::int32_t> head(static_cast<std::size_t>(step_padded(channels)), 0);
      for (std::int64_t c = 0; c < channels; ++c) head[c] = static_cast<std::int32_t>(c / dim);
      const StepSsd ssd{.channels = step_padded(channels),
                        .heads = step_padded(kHeads),
                        .states = states,
                        .head = head.data(),
                        .A2 = A2.get(),
                        .dt_bias = packed_bias.get(),
                        .D = skip.get(),
                        .dt_min = 0.3,
                        .dt_max = 1.5};
      Tensors<float> actual;
      actual["y"] = token_by_token(x, channels, [&](std::int64_t t, float* in, float* out) {
        Aligned step = panels(test::rows_of(dt, t, t + 1, kHeads), 1);
        cpu::step_ssd(ssd, in, step.get(), B.data() + t * states, C.data() + t * states, state.get(), out);
      });
      actual["state"] = plain(state, channels, states);
      test::expect_close(actual, expected, 2e-6);
    }
}

TEST(StepSsd, NoLimitHidesAStepThatIsNoNumber) {
  Aligned x(Floats(16, 1.0F)), dt(Floats(16, std::numeric_limits<float>::quiet_NaN())), zeros(16), state(16), y(16);
  const std::vector<std::int32_t> head(16, 0);
  const float one = 1;
  cpu::step_ssd({.channels = 16,
                 .heads = 16,
                 .states = 1,
                 .head = head.data(),
                 .A2 = zeros.get(),
                 .dt_bias = zeros.get(),
                 .D = zeros.get(),
                 .dt_min = 0.1,
                 .dt_max = 1},
                x.get(), dt.get(), &one, &one, state.get(), y.get());
  EXPECT_TRUE(std::isnan(y.get()[0]));
}

TEST(StepGate, WithTheSquaresIsTheGatedNorm) {
  for (const std::int64_t columns : {1, 16, 45})
    for (const bool norm_first : {false, true}) {
      test::Random random(columns);
      const Floats x = random.normal<float>(columns), z = random.normal<float>(columns);
      const Floats weight = random.normal<float>(columns);
      Floats expected(x.size());
      reference::gated_rms_norm<float>({.rows = 1,
                                        .columns = columns,
                                        .x = x.data(),
                                        .z = z.data(),
                                        .weight = weight.data(),
                                        .norm_before_gate = norm_first},
                                       expected.data());
      Aligned in = panels(x, 1), gate = panels(z, 1), packed = panels(weight, 1), out(step_padded(columns));
      const float squares = cpu::step_gate(norm_first ? StepGate::kAfterNorm : StepGate::kThenNorm,
                                           step_padded(columns), in.get(), gate.get(), packed.get(), out.get());
      Floats actual = plain(out, columns, 1);
      for (float& y : actual) y /= std::sqrt(squares / static_cast<float>(columns) + 1e-5F);
      EXPECT_TRUE(test::close_in_norm(actual, expected, 1e-6)) << columns;
    }
}

TEST(StepNorm, IsTheNormOfOneToken) {
  for (const std::int64_t columns : {1, 6, 16, 45, 256})
    for (const bool layer_norm : {false, true}) {
      test::Random random(columns);
      const Floats r = random.normal<float>(columns, 0.5, 2), weight = random.normal<float>(columns);
      const Floats bias = random.normal<float>(columns);
      Floats expected(r.size());
      reference::add_rms_norm<float>({.rows = 1,
                                      .columns = columns,
                                      .x = r.data(),
                                      .weight = weight.data(),
                                      .bias = bias.data(),
                                      .layer_norm = layer_norm},
                                     {.y = expected.data()});
      Aligned in = panels(r, 1), packed = panels(weight, 1), packed_bias = panels(bias, 1), out(step_padded(columns));
      cpu::step_norm({.columns = columns, .weight = packed.get(), .bias = packed_bias.get(), .layer_norm = layer_norm},
                     in.get(), out.get());
      EXPECT_TRUE(test::close_in_norm(plain(out, columns, 1), expected, 1e-6)) << columns;
      for (std::int64_t i = columns; i < step_padded(columns); ++i) EXPECT_EQ(out.get()[i], 0);
    }
}

TEST(StepSumParts, AddsPartsInTheirOrder) {
  constexpr std::int64_t kCount = 32, kStride = 48;
  test::Random random(1);
  Aligned parts(random.normal<float>(3 * kStride)), bias(random.normal<float>(kCount));
  Aligned to(random.normal<float>(kCount));
  const Floats before = to.values();
  const float factors[] = {0.5F, -2.0F, 4.0F};  // exact products: with and without FMA the same
  cpu::step_sum_parts(kCount, 3, parts.get(), kStride, factors, bias.get(), true, to.get());
  for (std::int64_t i = 0; i < kCount; ++i) {
    float sum = bias.get()[i];
    for (std::int64_t s = 0; s < 3; ++s) sum += factors[s] * parts.get()[s * kStride + i];
    EXPECT_EQ(to.get()[i], sum + before[i]);
  }
  cpu::step_sum_parts(kCount, 2, parts.get(), kStride, nullptr, nullptr, false, to.get());
  for (std::int64_t i = 0; i < kCount; ++i) EXPECT_EQ(to.get()[i], 0.0F + parts.get()[i] + parts.get()[kStride + i]);
}

}  // namespace
}  // namespace dnamamba::kernels
