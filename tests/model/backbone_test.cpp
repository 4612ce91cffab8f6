// Whole models of random make: a sequence's answer, and every gradient, depend neither on cuts nor on neighbours.
#include "core/model/backbone.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/zeros.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include <functional>

#include "core/base/error.h"
#include "core/ops/add_rms_norm.h"
#include "tests/support/gradients.h"
#include "tests/support/models.h"
#include "tests/support/throws.h"

namespace dnamamba::model {
namespace {

using test::Mixer;
using test::RandomTensors;
using test::relative_error;
using ::testing::HasSubstr;
using tokens::RaggedBatch;

at::Tensor byte_tensor(const std::vector<std::uint8_t>& values) {
  return at::from_blob(const_cast<std::uint8_t*>(values.data()), {static_cast<std::int64_t>(values.size())}, at::kByte)
      .clone();
}
at::Tensor int64_tensor(const std::vector<std::int64_t>& values) {
  return at::from_blob(const_cast<std::int64_t*>(values.data()), {static_cast<std::int64_t>(values.size())}, at::kLong)
      .clone();
}

// A model, sequences, and the state before each of them.
struct Problem {
  ModelConfig config;
  Parameters parameters;
  RaggedBatch batch;
  State state;

  Problem(std::int64_t channels, at::ScalarType dtype, std::uint64_t seed, std::int64_t longest,
          Mixer mixer = Mixer::kMamba1) {
    RandomTensors random(seed);
    config = test::random_config(random, channels, mixer);
    parameters = test::random_parameters(config, seed, dtype);
    batch = test::random_batch(random, test::random_lengths(random, longest), config.vocabulary);
    state = zero_state(config, batch.sequences(), dtype);
    for (at::Tensor* tensor : tensors_of(state))
      *tensor = random.normal(tensor->sizes(), dtype, 0.3).requires_grad_(true);
  }
};

struct Answer {
  at::Tensor hidden;  // [T, d_model], rows in the order of the batch
  State state;
};
using Way = std::function<Answer(const Backbone&, const Problem&)>;

Answer whole(const Backbone& backbone, const Problem& problem) {
  auto out = backbone.advance({.tokens = byte_tensor(problem.batch.tokens),
                               .offsets = int64_tensor(problem.batch.offsets),
                               .state = &problem.state,
                               .want_state = true});
  return {out.hidden, out.state};
}

Answer in_pieces(const Backbone& backbone, const Problem& problem, std::int64_t pieces, std::uint64_t seed) {
  const RaggedBatch& batch = problem.batch;
  RandomTensors random(seed);
  std::vector<std::vector<std::int64_t>> ends;
  for (std::int64_t s = 0; s < batch.sequences(); ++s) ends.push_back(random.cuts(batch.length(s), pieces));
  std::vector<std::int64_t> place(batch.tokens.size());
  std::vector<at::Tensor> hidden;
  State state = problem.state;
  std::int64_t done = 0;
  for (std::int64_t p = 0; p < pieces; ++p) {
    RaggedBatch part;
    for (std::int64_t s = 0; s < batch.sequences(); ++s) {
      const std::int64_t from = p == 0 ? 0 : ends[s][p - 1], to = ends[s][p];
      part.append(batch.sequence(s).subspan(from, to - from));
      for (std::int64_t i = from; i < to; ++i) place[batch.offsets[s] + i] = done++;
    }
    auto out = backbone.advance({.tokens = byte_tensor(part.tokens),
                                 .offsets = int64_tensor(part.offsets),
                                 .state = &state,
                                 .want_state = true});
    hidden.push_back(out.hidden);
    state = std::move(out.state);
  }
  return {at::cat(hidden).index_select(0, int64_tensor(place)), state};
}

Answer alone(const Backbone& backbone, const Problem& problem) {
  std::vector<at::Tensor> hidden;
  std::vector<State> states;
  for (std::int64_t s = 0; s < problem.batch.sequences(); ++s) {
    const auto sequence = problem.batch.sequence(s);
    const State before = state_of_sequence(problem.state, s);
    auto out = backbone.advance({.tokens = byte_tensor({sequence.begin(), sequence.end()}),
                                 .offsets = std::nullopt,
                                 .state = &before,
                                 .want_state = true});
    hidden.push_back(out.hidden);
    states.push_back(out.state);
  }
  std::vector<const State*> pointers;
  for (const State& state : states) pointers.push_back(&state);
  return {at::cat(hidden), join_states(pointers)};
}

struct Result {
  Answer answer;
  test::Gradients gradients;
};

Result run(Problem& problem, const Way& way) {
  const Backbone backbone(problem.config, problem.parameters);
  Answer answer = way(backbone, problem);
  std::vector<at::Tensor> outputs{answer.hidden}, leaves;
  for (const at::Tensor* tensor : tensors_of(answer.state)) outputs.push_back(*tensor);
  at::Tensor loss = at::zeros({}, at::kDouble);
  std::uint64_t seed = 100;
  for (const at::Tensor& output : outputs)
    loss = loss.add(output.to(at::kDouble).mul(RandomTensors(++seed).normal(output.sizes())).sum());
  std::vector<std::string> names;
  for (const auto& [name, parameter] : problem.parameters) {
    if (name == "lm_head.weight") continue;  // not the backbone's
    names.push_back(name);
    leaves.push_back(parameter);
  }
  for (const at::Tensor* tensor : tensors_of(problem.state)) {
    names.push_back("state " + std::to_string(names.size()));
    leaves.push_back(*tensor);
  }
  const auto gradients = torch::autograd::grad({loss}, leaves);
  Result result{answer, {}};
  for (std::size_t i = 0; i < names.size(); ++i) result.gradients[names[i]] = gradients[i];
  return result;
}

void expect_same(Result one, Result other, double tolerance) {
  EXPECT_LE(relative_error(one.answer.hidden, other.answer.hidden), tolerance);
  const auto states = tensors_of(one.answer.state), others = tensors_of(other.answer.state);
  ASSERT_EQ(states.size(), others.size());
  for (std::size_t i = 0; i < states.size(); ++i)
    EXPECT_LE(relative_error(*states[i], *others[i]), tolerance) << "state " << i;
  test::expect_same_gradients(one.gradients, other.gradients, tolerance);
}

class ModelOfChannels : public ::testing::TestWithParam<std::tuple<Mixer, std::int64_t, at::ScalarType>> {
 protected:
  static constexpr std::uint64_t kModels = 4;
  Problem problem(std::uint64_t seed) const {
    const auto [mixer, channels, dtype] = GetParam();
    return {channels, dtype, 10 * seed + 1, channels > 200 ? 16 : 40, mixer};
  }
  double allowed() const { return test::tolerance(std::get<at::ScalarType>(GetParam())); }
};

TEST_P(ModelOfChannels, GivesTheSameWhereverSequencesAreCut) {
  for (std::uint64_t seed = 0; seed < kModels; ++seed) {
    Problem tested = problem(seed);
    SCOPED_TRACE(test::text_of(tested.config));
    const Result expected = run(tested, whole);
    for (const std::int64_t pieces : {2, 6}) {
      const Way cut = [&](const Backbone& b, const Problem& p) { return in_pieces(b, p, pieces, seed + 50); };
      expect_same(run(tested, cut), expected, allowed());
    }
  }
}

TEST_P(ModelOfChannels, GivesASequenceTheSameAloneAndTogether) {
  for (std::uint64_t seed = 0; seed < kModels; ++seed) {
    Problem tested = problem(seed + 100);
    SCOPED_TRACE(test::text_of(tested.config));
    expect_same(run(tested, alone), run(tested, whole), allowed());
  }
}

INSTANTIATE_TEST_SUITE_P(Widths, ModelOfChannels,
                         ::testing::Combine(::testing::Values(Mixer::kMamba1, Mixer::kMamba2),
                                            ::testing::Values(1, 30, 118, 236, 512),
                                            ::testing::Values(at::kDouble, at::kFloat)),
                         [](const auto& tested) { return test::name_of(tested.param); });

TEST(Model, GivesTheSameWhereverThousandsOfTokensAreCut) {
  for (const Mixer mixer : {Mixer::kMamba1, Mixer::kMamba2})
    for (const at::ScalarType dtype : {at::kDouble, at::kFloat}) {
      Problem tested(30, dtype, 5, 3000, mixer);
      SCOPED_TRACE(test::text_of(tested.config));
      const Way cut = [](const Backbone& b, const Problem& p) { return in_pieces(b, p, 5, 3); };
      expect_same(run(tested, cut), run(tested, whole), test::tolerance(dtype));
    }
}

TEST(Model, IsCausal) {
  Problem tested(30, at::kDouble, 9, 40);
  const Backbone backbone(tested.config, tested.parameters);
  RandomTensors random(3);
  const at::Tensor one = random.ids(20, 16), other = one.clone();
  other.narrow(0, 15, 5).copy_(one.narrow(0, 15, 5).bitwise_xor(1));
  const at::Tensor a = backbone.advance({.tokens = one, .offsets = std::nullopt}).hidden,
                   b = backbone.advance({.tokens = other, .offsets = std::nullopt}).hidden;
  EXPECT_TRUE(at::equal(a.narrow(0, 0, 15), b.narrow(0, 0, 15)));
  EXPECT_GT(relative_error(a.narrow(0, 15, 5), b.narrow(0, 15, 5)), 1e-3);
}

TEST(Model, BeginsWhereNoStateIsGivenAsFromAStateOfZeros) {
  Problem tested(30, at::kDouble, 11, 40);
  const at::NoGradGuard no_graph;
  const Backbone backbone(tested.config, tested.parameters);
  const State zeros = zero_state(tested.config, tested.batch.sequences(), at::kDouble), none;
  const auto hidden = [&](const State* state) {
    return backbone
        .advance(
            {.tokens = byte_tensor(tested.batch.tokens), .offsets = int64_tensor(tested.batch.offsets), .state = state})
        .hidden;
  };
  EXPECT_LE(relative_error(hidden(&zeros), hidden(nullptr)), 1e-12);
  EXPECT_TRUE(at::equal(hidden(&none), hidden(nullptr)));
}

TEST(Model, AnswersTheResidualStreamAfterEveryLayer) {
  RandomTensors random(2);
  ModelConfig config = mamba1_config(8, 2);
  const Parameters parameters = test::random_parameters(config, 2, at::kDouble);
  const Backbone backbone(config, parameters);
  const at::Tensor tokens = random.ids(12, 16);
  const auto hidden = [&](std::int64_t layer) {
    return backbone.advance({.tokens = tokens, .offsets = std::nullopt, .layer = layer}).hidden;
  };
  EXPECT_TRUE(at::equal(hidden(0), parameters.at("backbone.embedding.weight").index_select(0, tokens.to(at::kLong))));
  const auto [normed, sum] = ops::add_rms_norm({.x = hidden(2),
                                                .residual = std::nullopt,
                                                .weight = parameters.at("backbone.norm_f.weight"),
                                                .bias = std::nullopt,
                                                .epsilon = config.norm_epsilon});
  EXPECT_LE(relative_error(hidden(-1), normed), 1e-12);
  EXPECT_GT(relative_error(hidden(1), hidden(2)), 1e-3);
  EXPECT_THAT(test::error_text<base::Error>([&] { hidden(3); }), HasSubstr("layer 3 is not between 0 and 2"));
  EXPECT_THAT(test::error_text<base::Error>([&] { hidden(-2); }), HasSubstr("layer -2"));
}

TEST(Model, RefusesAStateThatWasNotAdvancedAsFar) {
  const ModelConfig config = mamba1_config(8, 2);
  const Parameters parameters = initialise_parameters(config, 2);
  const Backbone backbone(config, parameters);
  RandomTensors random(2);
  const at::Tensor tokens = random.ids(5, 16);
  const auto first = backbone.advance({.tokens = tokens, .offsets = std::nullopt, .want_state = true, .layer = 1});
  EXPECT_NO_THROW(backbone.advance({.tokens = tokens, .offsets = std::nullopt, .state = &first.state, .layer = 1}));
  EXPECT_THROW(backbone.advance({.tokens = tokens, .offsets = std::nullopt, .state = &first.state}), base::Error);
}

TEST(Model, RefusesTheStateOfAnotherKindOfLayer) {
  const ModelConfig one = mamba1_config(32, 1), other = mamba2_config(32, 1, 16);
  const Parameters parameters = initialise_parameters(other, 2);
  const State state = zero_state(one, 1, at::kFloat);
  RandomTensors random(2);
  EXPECT_THAT(
      test::error_text<base::Error>([&] {
        static_cast<void>(Backbone(other, parameters)
                              .advance({.tokens = random.ids(5, 16), .offsets = std::nullopt, .state = &state}));
      }),
      HasSubstr("another kind of layer"));
}

// Layers of both kinds may stand in one network.
TEST(Model, OfBothKindsOfLayersGivesTheSameWhereverSequencesAreCut) {
  Problem tested(30, at::kDouble, 12, 40);
  RandomTensors random(13);
  LayerConfig layer;
  layer.mixer = test::random_mamba2(random, 30);
  layer.weights = tested.config.layers.back().weights + 1;
  tested.config.layers.push_back(layer);
  tested.parameters = test::random_parameters(tested.config, 14, at::kDouble);
  tested.state = zero_state(tested.config, tested.batch.sequences(), at::kDouble);
  for (at::Tensor* tensor : tensors_of(tested.state)) tensor->requires_grad_(true);
  const Way cut = [](const Backbone& b, const Problem& p) { return in_pieces(b, p, 4, 3); };
  expect_same(run(tested, cut), run(tested, whole), 1e-10);
}

TEST(Model, WithALayerInReverseIsRefusedByTheCausalSchedule) {
  ModelConfig config = mamba1_config(8, 2);
  config.layers[1].direction = Direction::kReverse;
  const Parameters parameters = initialise_parameters(config, 1);
  EXPECT_THAT(test::error_text<base::Error>([&] { const Backbone backbone(config, parameters); }),
              HasSubstr("reverse"));
}

}  // namespace
}  // namespace dnamamba::model
