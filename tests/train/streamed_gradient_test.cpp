// The streamed gradient is the whole gradient, of every parameter, whatever the segment.
#include "core/train/streamed_gradient.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/from_blob.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include <cmath>
#include <set>

#include "core/base/error.h"
#include "core/heads/language_head.h"
#include "tests/support/gradients.h"
#include "tests/support/models.h"
#include "tests/support/throws.h"

namespace dnamamba::train {
namespace {

using model::Backbone;
using test::Gradients;
using test::Mixer;
using test::RandomTensors;
using test::relative_error;
using ::testing::HasSubstr;

const tokens::Alphabet& alphabet() {
  static const tokens::Alphabet kAlphabet = tokens::Alphabet::built_in("dnamamba");
  return kAlphabet;
}

std::vector<std::uint8_t> random_bases(RandomTensors& random, std::int64_t length, bool ambiguous = true) {
  std::vector<std::uint8_t> tokens;
  const auto bases = alphabet().bases();
  for (std::int64_t i = 0; i < length; ++i)
    tokens.push_back(ambiguous && random.between(0, 9) == 0 ? alphabet().ambiguous() : bases[random.between(0, 3)]);
  return tokens;
}

// Ragged, with weights of 0, 0.5 and 2 among those of 1.
NextTokenBatch random_batch(RandomTensors& random, const std::vector<std::int64_t>& lengths) {
  NextTokenBatch batch;
  for (const std::int64_t length : lengths) batch.append(random_bases(random, length), alphabet());
  for (float& weight : batch.weights)
    if (const auto draw = random.between(0, 5); draw < 3) weight *= std::vector{0.0F, 0.5F, 2.0F}[draw];
  return batch;
}

Gradients take_gradients(model::Parameters& parameters) {
  Gradients gradients;
  for (auto& [name, parameter] : parameters) {
    gradients[name] = parameter.grad();
    parameter.mutable_grad().reset();
  }
  return gradients;
}

at::Tensor bytes_of(std::span<const std::uint8_t> values) {
  return at::from_blob(const_cast<std::uint8_t*>(values.data()), {static_cast<std::int64_t>(values.size())}, at::kByte)
      .clone();
}

// Plain back-propagation through each sequence by itself.
LossSum whole_gradient(const Backbone& backbone, const NextTokenBatch& batch, double total_weight) {
  LossSum sum{.loss = 0, .weight = batch.total_weight()};
  for (std::int64_t s = 0; s < batch.inputs.sequences(); ++s) {
    const std::int64_t from = batch.inputs.offsets[s], length = batch.inputs.length(s);
    if (length == 0) continue;
    const at::Tensor hidden =
        backbone.advance({.tokens = bytes_of(batch.inputs.sequence(s)), .offsets = std::nullopt}).hidden;
    const at::Tensor weights =
        at::from_blob(const_cast<float*>(batch.weights.data()) + from, {length}, at::kFloat).clone();
    const at::Tensor loss =
        heads::next_token_loss(backbone, hidden, bytes_of(std::span(batch.targets).subspan(from, length)), weights)
            .sum(at::kDouble);
    sum.loss += loss.item<double>();
    torch::autograd::backward({loss.div(total_weight)}, {});
  }
  return sum;
}

class StreamedGradient : public ::testing::TestWithParam<std::tuple<Mixer, std::int64_t, at::ScalarType>> {};

TEST_P(StreamedGradient, IsTheWholeGradientOfEveryParameterForAnySegment) {
  const auto [mixer, channels, dtype] = GetParam();
  const double allowed = test::tolerance(dtype);
  for (std::uint64_t seed = 1; seed <= (channels > 200 ? 2 : 4); ++seed) {
    RandomTensors random(seed);
    const model::ModelConfig config = test::random_config(random, channels, mixer);
    model::Parameters parameters = test::random_parameters(config, seed, dtype);
    const Backbone backbone(config, parameters);
    const std::int64_t longest = channels > 200 ? 12 : 30;  // tokens; one less input
    NextTokenBatch batch = random_batch(random, {longest - 6, 0, 1, longest, 2, 3});
    batch.weights.back() = 1;
    const double total = 1.7 * batch.total_weight();
    const LossSum expected_sum = whole_gradient(backbone, batch, total);
    const Gradients expected = take_gradients(parameters);
    const std::int64_t K = test::d_conv_of(config.layers[0]), L = batch.longest();
    for (const std::int64_t segment : std::set<std::int64_t>{1, 2, 3, 7, std::max(K - 1, 1L), L - 1, L, L + 5}) {
      SCOPED_TRACE(test::text_of(config) + ", segment: " + std::to_string(segment));
      const LossSum sum = streamed_gradient(backbone, batch, {.segment = segment}, total);
      EXPECT_NEAR(sum.loss, expected_sum.loss, allowed * expected_sum.loss);
      EXPECT_EQ(sum.weight, expected_sum.weight);
      test::expect_same_gradients(take_gradients(parameters), expected, allowed);
      const LossSum loss = streamed_loss(backbone, batch, segment);
      EXPECT_NEAR(loss.loss, expected_sum.loss, allowed * expected_sum.loss);
      EXPECT_EQ(loss.weight, expected_sum.weight);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Widths, StreamedGradient,
                         ::testing::Combine(::testing::Values(Mixer::kMamba1, Mixer::kMamba2),
                                            ::testing::Values(1, 30, 118, 236, 512),
                                            ::testing::Values(at::kDouble, at::kFloat)),
                         [](const auto& tested) { return test::name_of(tested.param); });

// A small model and a batch for it.
struct Small {
  model::ModelConfig config = model::mamba1_config(6, 2, 3);
  model::Parameters parameters = test::random_parameters(config, 5, at::kDouble);
  Backbone backbone{config, parameters};
  NextTokenBatch batch;

  explicit Small(const std::vector<std::int64_t>& lengths) {
    RandomTensors random(6);
    batch = random_batch(random, lengths);
  }
};

TEST(StreamedGradientOfASmallModel, EqualsFiniteDifferences) {
  Small small({14, 5});
  const double total = small.batch.total_weight();
  streamed_gradient(small.backbone, small.batch, {.segment = 4}, total);
  const Gradients gradients = take_gradients(small.parameters);
  const at::NoGradGuard no_graph;
  constexpr double kStep = 1e-5;
  RandomTensors random(9);
  for (auto& [name, parameter] : small.parameters)
    for (int draw = 0; draw < 4; ++draw) {
      const std::int64_t i = random.between(0, parameter.numel() - 1);
      auto* value = parameter.mutable_data_ptr<double>() + i;
      const double before = *value;
      *value = before + kStep;
      const double above = streamed_loss(small.backbone, small.batch, 5).loss;
      *value = before - kStep;
      const double below = streamed_loss(small.backbone, small.batch, 100).loss;
      *value = before;
      const double gradient = gradients.at(name).contiguous().const_data_ptr<double>()[i];
      EXPECT_NEAR(gradient, (above - below) / (2 * kStep) / total, 1e-8 * (1 + std::abs(gradient))) << name << " " << i;
    }
}

TEST(StreamedGradientOfASmallModel, IsNoneWhereNothingWeighsAnything) {
  Small small({9, 4});
  std::fill(small.batch.weights.begin(), small.batch.weights.end(), 0.0F);
  const LossSum sum = streamed_gradient(small.backbone, small.batch, {.segment = 3}, 5.0);
  EXPECT_EQ(sum.loss, 0);
  EXPECT_EQ(sum.weight, 0);
  for (const auto& [name, gradient] : take_gradients(small.parameters)) EXPECT_FALSE(gradient.defined()) << name;
  EXPECT_EQ(streamed_gradient(small.backbone, small.batch, {.segment = 3}, 0.0).loss, 0);
  EXPECT_EQ(streamed_loss(small.backbone, small.batch, 3).loss, 0);
  EXPECT_EQ(streamed_gradient(small.backbone, {}, {.segment = 3}, 1.0).weight, 0);
}

TEST(StreamedGradientOfASmallModel, IsThatOfTheFractionWhenTheStepWeighsMore) {
  Small small({20, 11});
  const double weight = small.batch.total_weight();
  streamed_gradient(small.backbone, small.batch, {.segment = 7}, weight);
  const Gradients one = take_gradients(small.parameters);
  streamed_gradient(small.backbone, small.batch, {.segment = 7}, 4 * weight);
  for (const auto& [name, gradient] : take_gradients(small.parameters))
    EXPECT_LE(relative_error(gradient.mul(4), one.at(name)), 1e-12) << name;
}

TEST(StreamedGradientOfASmallModel, AddsUpOverTheBatchesOfAStep) {
  Small small({20, 11, 6});
  NextTokenBatch first, rest;
  for (std::int64_t s = 0; s < 3; ++s) {
    NextTokenBatch& part = s == 0 ? first : rest;
    const std::int64_t from = small.batch.inputs.offsets[s], to = small.batch.inputs.offsets[s + 1];
    part.inputs.append(small.batch.inputs.sequence(s));
    part.targets.insert(part.targets.end(), small.batch.targets.begin() + from, small.batch.targets.begin() + to);
    part.weights.insert(part.weights.end(), small.batch.weights.begin() + from, small.batch.weights.begin() + to);
  }
  const double total = small.batch.total_weight();
  streamed_gradient(small.backbone, small.batch, {.segment = 7}, total);
  const Gradients whole = take_gradients(small.parameters);
  streamed_gradient(small.backbone, first, {.segment = 7}, total);
  streamed_gradient(small.backbone, rest, {.segment = 7}, total);
  test::expect_same_gradients(take_gradients(small.parameters), whole, 1e-10);
}

TEST(StreamedGradientOfBothMixers, HasTheSameBitsWhenItIsComputedAgain) {
  for (const Mixer mixer : {Mixer::kMamba1, Mixer::kMamba2})
    for (const at::ScalarType dtype : {at::kFloat, at::kDouble}) {
      RandomTensors random(4);
      const model::ModelConfig config = test::random_config(random, 30, mixer);
      model::Parameters parameters = test::random_parameters(config, 5, dtype);
      const Backbone backbone(config, parameters);
      const NextTokenBatch batch = random_batch(random, {16, 0, 9, 1});
      for (const std::int64_t segment : {1, 7, 100}) {
        const LossSum sum = streamed_gradient(backbone, batch, {.segment = segment}, 30);
        const Gradients one = take_gradients(parameters);
        EXPECT_EQ(streamed_gradient(backbone, batch, {.segment = segment}, 30).loss, sum.loss);
        for (const auto& [name, gradient] : take_gradients(parameters))
          EXPECT_TRUE(at::equal(gradient, one.at(name))) << name << ", segment " << segment;
      }
    }
}

TEST(StreamedGradientOfASmallModel, RefusesWhatMakesNoSense) {
  Small small({9});
  EXPECT_THAT(test::error_text<base::Error>([&] { streamed_gradient(small.backbone, small.batch, {.segment = 0}, 1); }),
              HasSubstr("segment"));
  EXPECT_THAT(test::error_text<base::Error>([&] { streamed_gradient(small.backbone, small.batch, {.segment = 3}, 0); }),
              HasSubstr("weight"));
  {
    const at::NoGradGuard no_graph;
    small.parameters.at("backbone.norm_f.weight").fill_(std::numeric_limits<double>::infinity());
  }
  EXPECT_FALSE(std::isfinite(streamed_gradient(small.backbone, small.batch, {.segment = 3}, 1).loss));
}

TEST(TruncatedGradient, IsTheExactOneOfOneSegmentAndAnotherOneOfMoreWithTheSameLoss) {
  for (const Mixer mixer : {Mixer::kMamba1, Mixer::kMamba2}) {
    RandomTensors random(8);
    const model::ModelConfig config =
        mixer == Mixer::kMamba1 ? model::mamba1_config(6, 2, 3) : model::mamba2_config(6, 2, 4, 2, 4);
    model::Parameters parameters = test::random_parameters(config, 5, at::kDouble);
    const Backbone backbone(config, parameters);
    const NextTokenBatch batch = random_batch(random, {25, 0, 14});
    for (const std::int64_t segment : {100, 7}) {
      const LossSum exact = streamed_gradient(backbone, batch, {.segment = segment}, 20);
      const Gradients expected = take_gradients(parameters);
      const LossSum sum = streamed_gradient(backbone, batch, {.segment = segment, .truncated = true}, 20);
      EXPECT_NEAR(sum.loss, exact.loss, 1e-12 * exact.loss);
      EXPECT_EQ(sum.weight, exact.weight);
      double differing = 0;
      for (const auto& [name, gradient] : take_gradients(parameters))
        if (segment == 100) {
          EXPECT_TRUE(at::equal(gradient, expected.at(name))) << name;
        } else {
          differing = std::max(differing, relative_error(gradient, expected.at(name)));
        }
      if (segment < 100) {
        EXPECT_GT(differing, 1e-3);
      }
    }
  }
}

TEST(StreamedGradientOfASmallModel, HasTheSameBitsWhereverTheStatesWait) {
  Small small({40, 0, 23});
  const LossSum sum = streamed_gradient(small.backbone, small.batch, {.segment = 7}, 30);
  const Gradients expected = take_gradients(small.parameters);
  EXPECT_EQ(streamed_gradient(small.backbone, small.batch, {.segment = 7, .states_on_host = true}, 30).loss, sum.loss);
  for (const auto& [name, gradient] : take_gradients(small.parameters))
    EXPECT_TRUE(at::equal(gradient, expected.at(name))) << name;
}

TEST(StreamedLoss, TellsTheLossOfEveryTokenOfEverySegment) {
  Small small({17, 1, 30, 0, 4});
  const std::int64_t tokens = small.batch.inputs.token_count();
  for (const std::int64_t segment : {1, 5, 100}) {
    double told = 0;
    std::int64_t counted = 0;
    const LossSum sum =
        streamed_loss(small.backbone, small.batch, segment,
                      [&](const NextTokenBatch& part, std::int64_t first, std::span<const float> losses) {
                        ASSERT_EQ(losses.size(), part.inputs.tokens.size());
                        for (std::int64_t s = 0; s < part.inputs.sequences(); ++s)
                          for (std::int64_t i = 0; i < part.inputs.length(s); ++i)
                            EXPECT_EQ(part.inputs.sequence(s)[i], small.batch.inputs.sequence(s)[first + i]);
                        for (const float loss : losses) told += loss;
                        counted += static_cast<std::int64_t>(losses.size());
                      });
    EXPECT_EQ(counted, tokens);
    EXPECT_NEAR(told, sum.loss, 1e-6 * sum.loss);
  }
}

TEST(NextTokenBatch, GivesTheFirstBaseAndPredictsEveryOther) {
  NextTokenBatch batch;
  const auto [A, C, G, T] = alphabet().bases();
  const std::uint8_t N = alphabet().ambiguous();
  batch.append(std::vector<std::uint8_t>{A, C, N, G}, alphabet());
  batch.append(std::vector<std::uint8_t>{T}, alphabet());
  batch.append(std::vector<std::uint8_t>{}, alphabet());
  batch.append(std::vector<std::uint8_t>{T, T}, alphabet());
  EXPECT_THAT(batch.inputs.tokens, ::testing::ElementsAre(A, C, N, T));
  EXPECT_THAT(batch.inputs.offsets, ::testing::ElementsAre(0, 3, 3, 3, 4));
  EXPECT_THAT(batch.targets, ::testing::ElementsAre(C, N, G, T));
  EXPECT_THAT(batch.weights, ::testing::ElementsAre(1, 0, 1, 1));
  EXPECT_EQ(batch.total_weight(), 3);
  EXPECT_EQ(batch.longest(), 3);
}

TEST(NextTokenBatch, WeighsSoftMaskedTargetsLessAndNeverN) {
  NextTokenBatch batch;
  const auto [A, C, G, T] = alphabet().bases();
  const std::uint8_t N = alphabet().ambiguous();
  batch.append({{A, C, N, G}, {1, 1, 1, 0}}, alphabet(), 0.25F);
  batch.append({{T}, {1}}, alphabet(), 0.25F);
  batch.append({{T, T, A}, {0, 0, 1}}, alphabet(), 0.0F);
  EXPECT_THAT(batch.targets, ::testing::ElementsAre(C, N, G, T, A));
  EXPECT_THAT(batch.weights, ::testing::ElementsAre(0.25F, 0, 1, 1, 0));
}

TEST(NextTokenBatch, IsTheSumOfItsSegments) {
  RandomTensors random(3);
  const NextTokenBatch batch = random_batch(random, {17, 1, 30, 0, 4});
  for (const std::int64_t segment : {1, 4, 29, 50}) {
    std::vector<std::vector<std::uint8_t>> inputs(5), targets(5);
    double weight = 0;
    for (std::int64_t first = 0; first < batch.longest(); first += segment) {
      const NextTokenBatch part = batch.segment(first, segment);
      ASSERT_EQ(part.inputs.sequences(), 5);
      weight += part.total_weight();
      for (std::int64_t s = 0; s < 5; ++s) {
        const auto tokens = part.inputs.sequence(s);
        inputs[s].insert(inputs[s].end(), tokens.begin(), tokens.end());
        targets[s].insert(targets[s].end(), part.targets.begin() + part.inputs.offsets[s],
                          part.targets.begin() + part.inputs.offsets[s + 1]);
      }
    }
    EXPECT_DOUBLE_EQ(weight, batch.total_weight());
    for (std::int64_t s = 0; s < 5; ++s) {
      EXPECT_TRUE(std::ranges::equal(inputs[s], batch.inputs.sequence(s)));
      EXPECT_TRUE(std::ranges::equal(
          targets[s], std::span(batch.targets).subspan(batch.inputs.offsets[s], batch.inputs.length(s))));
    }
  }
}

}  // namespace
}  // namespace dnamamba::train
