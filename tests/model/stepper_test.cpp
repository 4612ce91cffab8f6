// One token at a time gives what whole sequences give, whatever the model's make, the number of threads, and where the
// one takes over from the other.
#include "core/model/stepper.h"

#include <ATen/Parallel.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/stack.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <cstdlib>
#include <new>

#include "core/base/error.h"
#include "core/model/backbone.h"
#include "tests/support/models.h"
#include "tests/support/throws.h"

namespace {
std::atomic<std::int64_t> allocations{0};
}  // namespace

// Of all of this program: what a step may not call.
void* operator new(std::size_t size) {
  ++allocations;
  if (void* const memory = std::malloc(size)) return memory;
  throw std::bad_alloc();
}
void operator delete(void* memory) noexcept {
  std::free(memory);
}
void operator delete(void* memory, std::size_t) noexcept {
  std::free(memory);
}

namespace dnamamba::model {
namespace {

using kernels::StepWeights;
using test::Mixer;
using test::RandomTensors;
using test::relative_error;
using ::testing::HasSubstr;

/// LibTorch's number of threads, for as long as this lives.
class Threads {
 public:
  explicit Threads(int count) : before_(at::get_num_threads()) { at::set_num_threads(count); }
  ~Threads() { at::set_num_threads(before_); }
  Threads(const Threads&) = delete;
  Threads& operator=(const Threads&) = delete;

 private:
  int before_;
};

struct Answer {
  at::Tensor hidden, logits;  ///< [T, …]
  State state;
};

at::Tensor copy_of(std::span<const float> values) {
  return at::from_blob(const_cast<float*>(values.data()), {static_cast<std::int64_t>(values.size())}, at::kFloat)
      .clone();
}

Answer step_through(Stepper& stepper, const at::Tensor& tokens) {
  std::vector<at::Tensor> hidden, logits;
  for (std::int64_t i = 0; i < tokens.size(0); ++i) {
    const Stepper::Output out = stepper.step(tokens.const_data_ptr<std::uint8_t>()[i]);
    hidden.push_back(copy_of(out.hidden));
    logits.push_back(copy_of(out.logits));
  }
  return {at::stack(hidden), at::stack(logits), stepper.state()};
}

Answer advance(const Backbone& backbone, const at::Tensor& tokens, const State* state = nullptr) {
  auto out = backbone.advance({.tokens = tokens, .offsets = std::nullopt, .state = state, .want_state = true});
  return {out.hidden, at::linear(out.hidden, backbone.head_weight()), out.state};
}

void expect_close(Answer one, Answer other, double tolerance) {
  EXPECT_LE(relative_error(one.hidden, other.hidden), tolerance);
  EXPECT_LE(relative_error(one.logits, other.logits), tolerance);
  const auto states = tensors_of(one.state), others = tensors_of(other.state);
  ASSERT_EQ(states.size(), others.size());
  for (std::size_t i = 0; i < states.size(); ++i)
    EXPECT_LE(relative_error(*states[i], *others[i]), tolerance) << "state " << i;
}

void expect_same_bits(Answer one, Answer other) {
  EXPECT_TRUE(at::equal(one.hidden, other.hidden));
  EXPECT_TRUE(at::equal(one.logits, other.logits));
  const auto states = tensors_of(one.state), others = tensors_of(other.state);
  ASSERT_EQ(states.size(), others.size());
  for (std::size_t i = 0; i < states.size(); ++i) EXPECT_TRUE(at::equal(*states[i], *others[i])) << "state " << i;
}

// A model, and tokens for it.
struct Problem {
  ModelConfig config;
  Parameters parameters;
  at::Tensor tokens;

  Problem(Mixer mixer, std::int64_t channels, std::uint64_t seed, std::int64_t length = 24) {
    RandomTensors random(seed);
    config = test::random_config(random, channels, mixer);
    parameters = test::random_parameters(config, seed, at::kFloat);
    tokens = random.ids(length, config.vocabulary);
  }
  [[nodiscard]] Stepper stepper(StepWeights weights = StepWeights::kFloat32) const {
    return {config, parameters, weights};
  }
};

class StepperOfChannels : public ::testing::TestWithParam<std::tuple<Mixer, std::int64_t>> {
 protected:
  static constexpr std::uint64_t kModels = 12;
  static Problem problem(std::uint64_t seed) {
    const auto [mixer, channels] = GetParam();
    return {mixer, channels, 10 * seed + 3};
  }
  const at::NoGradGuard no_graph_;
};

TEST_P(StepperOfChannels, GivesWhatWholeSequencesGive) {
  for (std::uint64_t seed = 0; seed < kModels; ++seed) {
    const Problem tested = problem(seed);
    SCOPED_TRACE(test::text_of(tested.config));
    Stepper stepper = tested.stepper();
    expect_close(step_through(stepper, tested.tokens), advance({tested.config, tested.parameters}, tested.tokens),
                 1e-5);
  }
}

TEST_P(StepperOfChannels, TakesOverAfterAnyPrefixAndHandsBack) {
  for (std::uint64_t seed = 0; seed < kModels; ++seed) {
    const Problem tested = problem(seed + 100);
    SCOPED_TRACE(test::text_of(tested.config));
    const Backbone backbone(tested.config, tested.parameters);
    const Answer whole = advance(backbone, tested.tokens);
    Stepper stepper = tested.stepper();
    const std::int64_t length = tested.tokens.size(0);
    for (const std::int64_t prefix : {0, 1, 2, 9}) {
      SCOPED_TRACE(prefix);
      const Answer before = prefix == 0 ? Answer{} : advance(backbone, tested.tokens.narrow(0, 0, prefix));
      stepper.begin(before.state);
      const Answer middle = step_through(stepper, tested.tokens.narrow(0, prefix, 5));
      const Answer after = advance(backbone, tested.tokens.narrow(0, prefix + 5, length - prefix - 5), &middle.state);
      std::vector<at::Tensor> hidden{middle.hidden, after.hidden}, logits{middle.logits, after.logits};
      if (prefix > 0) hidden.insert(hidden.begin(), before.hidden), logits.insert(logits.begin(), before.logits);
      expect_close({at::cat(hidden), at::cat(logits), after.state}, whole, 1e-5);
    }
  }
}

TEST_P(StepperOfChannels, GivesTheSameBitsOnAnyNumberOfThreads) {
  for (std::uint64_t seed = 0; seed < kModels; ++seed) {
    const Problem tested = problem(seed + 200);
    SCOPED_TRACE(test::text_of(tested.config));
    for (const StepWeights weights : {StepWeights::kFloat32, StepWeights::kBfloat16}) {
      const auto on_threads = [&](int threads) {
        const Threads setting(threads);
        Stepper stepper = tested.stepper(weights);
        return step_through(stepper, tested.tokens);
      };
      const Answer one = on_threads(1);
      expect_same_bits(on_threads(2), one);
      expect_same_bits(on_threads(3), one);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Widths, StepperOfChannels,
                         ::testing::Combine(::testing::Values(Mixer::kMamba1, Mixer::kMamba2),
                                            ::testing::Values(1, 30, 118, 236, 512)),
                         [](const auto& tested) {
                           return (std::get<0>(tested.param) == Mixer::kMamba1 ? "Mamba1Of" : "Mamba2Of") +
                                  std::to_string(std::get<1>(tested.param));
                         });

TEST(Stepper, WithWeightsInBfloat16IsNearTheModel) {
  const at::NoGradGuard no_graph;
  for (const ModelConfig& config : {mamba1_config(256, 8), mamba2_config(256, 8)}) {
    SCOPED_TRACE(describe(config));
    const Parameters parameters = initialise_parameters(config, 3);
    RandomTensors random(4);
    const at::Tensor tokens = random.ids(200, config.vocabulary);
    Stepper exact(config, parameters), rounded(config, parameters, StepWeights::kBfloat16);
    const Answer expected = step_through(exact, tokens), answer = step_through(rounded, tokens);
    const double error = relative_error(answer.hidden, expected.hidden);
    RecordProperty("relative_error", std::to_string(error));
    EXPECT_LE(error, 1e-2);
    EXPECT_GE(error, 1e-4);  // it is what was asked for
    EXPECT_LE(relative_error(answer.logits, expected.logits), 1e-2);
    EXPECT_LT(rounded.weight_bytes(), 6 * exact.weight_bytes() / 10);
  }
}

// Layers of both kinds in one network.
TEST(Stepper, OfBothKindsOfLayersGivesWhatWholeSequencesGive) {
  const at::NoGradGuard no_graph;
  Problem tested(Mixer::kMamba1, 30, 12);
  RandomTensors random(13);
  LayerConfig layer;
  layer.mixer = test::random_mamba2(random, 30);
  layer.weights = tested.config.layers.back().weights + 1;
  tested.config.layers.push_back(layer);
  tested.parameters = test::random_parameters(tested.config, 14, at::kFloat);
  Stepper stepper = tested.stepper();
  expect_close(step_through(stepper, tested.tokens), advance({tested.config, tested.parameters}, tested.tokens), 1e-5);
}

TEST(Stepper, BeginsAnew) {
  Problem tested(Mixer::kMamba2, 118, 5);
  Stepper stepper = tested.stepper();
  const Answer first = step_through(stepper, tested.tokens);
  stepper.begin({});
  expect_same_bits(step_through(stepper, tested.tokens), first);
}

TEST(Stepper, ContinuesItsOwnStateInAnotherWithTheSameBits) {
  Problem tested(Mixer::kMamba2, 236, 6);
  Stepper one = tested.stepper(), other = tested.stepper();
  step_through(one, tested.tokens);
  other.begin(one.state());
  expect_same_bits(step_through(other, tested.tokens), step_through(one, tested.tokens));
}

TEST(Stepper, AllocatesNothingInAStep) {
  for (const Mixer mixer : {Mixer::kMamba1, Mixer::kMamba2})
    for (const int threads : {1, 2}) {
      const Threads setting(threads);
      Problem tested(mixer, 512, 7);
      Stepper stepper = tested.stepper();
      stepper.step(0);
      const std::int64_t before = allocations;
      for (int i = 0; i < 50; ++i) stepper.step(static_cast<std::uint8_t>(i % 4));
      EXPECT_EQ(allocations - before, 0) << threads << " threads";
    }
}

TEST(Stepper, RefusesWhatDoesNotFit) {
  const ModelConfig config = mamba1_config(32, 2);
  Parameters parameters = initialise_parameters(config, 2);
  Stepper stepper(config, parameters);
  EXPECT_THAT(test::error_text<base::Error>([&] { stepper.step(16); }), HasSubstr("token 16 is not below 16"));
  const auto refusal = [&](const State& state) { return test::error_text<base::Error>([&] { stepper.begin(state); }); };
  EXPECT_THAT(refusal(zero_state(mamba1_config(32, 1), 1, at::kFloat)), HasSubstr("a state of 1 layers"));
  EXPECT_THAT(refusal(zero_state(mamba2_config(32, 2, 16), 1, at::kFloat)), HasSubstr("another kind of layer"));
  EXPECT_THAT(refusal(zero_state(config, 2, at::kFloat)), HasSubstr("a step continues a float32 state"));
  EXPECT_THAT(refusal(zero_state(config, 1, at::kDouble)), HasSubstr("not Double"));
  parameters.at("backbone.layers.1.mixer.D") = parameters.at("backbone.layers.1.mixer.D").to(at::kDouble);
  EXPECT_THAT(test::error_text<base::Error>([&] { Stepper(config, parameters); }),
              HasSubstr("a step takes float32 weights; backbone.layers.1.mixer.D is Double"));
  ModelConfig reverse = config;
  reverse.layers[1].direction = Direction::kReverse;
  EXPECT_THAT(test::error_text<base::Error>([&] { Stepper(reverse, parameters); }), HasSubstr("reverse"));
}

}  // namespace
}  // namespace dnamamba::model
