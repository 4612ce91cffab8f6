// The optimiser: who decays, what is clipped, how the rate goes, what is skipped, and that a run goes on with the same
// bits.
#include "core/train/adamw.h"

#include <ATen/Parallel.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/zeros_like.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <map>
#include <set>

#include "core/base/error.h"
#include "core/model/model_folder.h"
#include "core/train/gradient_guard.h"
#include "core/train/schedule.h"
#include "tests/support/models.h"
#include "tests/support/throws.h"

namespace dnamamba::train {
namespace {

using test::RandomTensors;
using ::testing::HasSubstr;

model::Parameters copy_of(const model::Parameters& parameters) {
  model::Parameters copy;
  for (const auto& [name, tensor] : parameters) copy[name] = tensor.detach().clone();
  return copy;
}

void set_gradients(model::Parameters& parameters, std::uint64_t seed, double scale) {
  RandomTensors random(seed);
  for (auto& [name, tensor] : parameters)
    tensor.mutable_grad() = random.normal(tensor.sizes(), tensor.scalar_type(), scale);
}

double norm_of_gradients(const model::Parameters& parameters) {
  double squares = 0;
  for (const auto& [name, tensor] : parameters) squares += tensor.grad().to(at::kDouble).square().sum().item<double>();
  return std::sqrt(squares);
}

// Takes the step and gives the norm of the gradient.
double step(AdamW& optimiser, double rate) {
  const double norm = optimiser.gradient_norm();
  optimiser.step(rate, norm);
  return norm;
}

TEST(RateAt, WarmsUpLinearlyAndEndsAtTheEndOfACosine) {
  const ScheduleOptions options{.rate = 2e-3, .final_rate = 0.05, .warmup = 0.1, .steps = 200};
  EXPECT_DOUBLE_EQ(rate_at(options, 0), 1e-4);
  EXPECT_DOUBLE_EQ(rate_at(options, 9), 1e-3);
  EXPECT_DOUBLE_EQ(rate_at(options, 19), 2e-3);
  EXPECT_DOUBLE_EQ(rate_at(options, 20), 2e-3);
  EXPECT_NEAR(rate_at(options, 110), 2e-3 * (0.05 + 0.95 / 2), 1e-12);
  EXPECT_NEAR(rate_at(options, 200), 1e-4, 1e-12);
  EXPECT_NEAR(rate_at(options, 500), 1e-4, 1e-12);
  for (std::int64_t step = 20; step < 200; ++step) EXPECT_GT(rate_at(options, step), rate_at(options, step + 1));
}

TEST(RateAt, StaysHighAndFallsInAStraightLineAtTheEnd) {
  const ScheduleOptions options{
      .kind = Schedule::kWsd, .rate = 2e-3, .final_rate = 0.1, .warmup = 0.1, .decay = 0.25, .steps = 200};
  EXPECT_DOUBLE_EQ(rate_at(options, 9), 1e-3);
  for (std::int64_t step = 19; step <= 150; ++step) EXPECT_DOUBLE_EQ(rate_at(options, step), 2e-3);
  EXPECT_NEAR(rate_at(options, 175), 2e-3 * (0.1 + 0.9 / 2), 1e-12);
  EXPECT_NEAR(rate_at(options, 200), 2e-4, 1e-12);
}

TEST(RateAt, IsConstantAfterTheWarmUp) {
  const ScheduleOptions options{.kind = Schedule::kConstant, .rate = 2e-3, .warmup = 0.1, .steps = 200};
  EXPECT_DOUBLE_EQ(rate_at(options, 0), 1e-4);
  for (const std::int64_t step : {19, 20, 100, 200, 1000}) EXPECT_DOUBLE_EQ(rate_at(options, step), 2e-3);
}

TEST(RateAt, IsFiniteForTheShortestRunsAndTheLongestParts) {
  for (const Schedule kind : {Schedule::kCosine, Schedule::kWsd, Schedule::kConstant})
    for (const std::int64_t steps : {1, 2, 3})
      for (const double part : {0.0, 0.5, 1.0})
        for (std::int64_t step = 0; step < steps; ++step) {
          const double rate = rate_at({.kind = kind, .warmup = part, .decay = part, .steps = steps}, step);
          EXPECT_GT(rate, 0);
          EXPECT_LE(rate, ScheduleOptions().rate);
        }
}

TEST(GradientGuard, CallsASpikeWhatIsFarAboveTheMedianOfTheLastSteps) {
  GradientGuard guard({.on_spike = OnTrouble::kSkip, .spike_factor = 3});
  for (std::size_t i = 0; i < GradientGuard::kLeast; ++i)
    EXPECT_EQ(guard.judge(1, i == 3 ? 50 : 2).action, OnTrouble::kIgnore) << "too few to know what is usual";
  EXPECT_EQ(guard.judge(1, 5.9).action, OnTrouble::kIgnore);
  const GradientGuard::Verdict spike = guard.judge(1, 6.1);
  EXPECT_EQ(spike.action, OnTrouble::kSkip);
  EXPECT_THAT(spike.reason, HasSubstr("6.1, is more than 3 times the usual 2"));
  int skipped = 0;
  for (int i = 0; i < 200; ++i) skipped += guard.judge(1, 7).action == OnTrouble::kSkip ? 1 : 0;
  EXPECT_GT(skipped, 0);
  EXPECT_LT(skipped, 60) << "what lasts is no spike";
}

TEST(GradientGuard, JudgesTheSameWhenItGoesOnLater) {
  GradientGuard whole({.on_spike = OnTrouble::kStop, .spike_factor = 2}),
      later({.on_spike = OnTrouble::kStop, .spike_factor = 2});
  RandomTensors random(3);
  const auto norm = [&] { return std::exp(0.1 * static_cast<double>(random.between(-10, 10))); };
  for (int i = 0; i < 150; ++i) whole.judge(1, norm());
  later.set_norms(whole.norms());
  for (int i = 0; i < 50; ++i) {
    const double next = norm();
    EXPECT_EQ(whole.judge(1, next).reason, later.judge(1, next).reason);
  }
}

TEST(GradientGuard, AsksForWhatWasChosenWhereSomethingIsNotFinite) {
  const double infinity = std::numeric_limits<double>::infinity(), nan = std::numeric_limits<double>::quiet_NaN();
  for (const OnTrouble chosen : {OnTrouble::kStop, OnTrouble::kSkip}) {
    GradientGuard guard({.on_nan = chosen});
    EXPECT_EQ(guard.judge(nan, 1).action, chosen);
    EXPECT_THAT(guard.judge(infinity, 1).reason, HasSubstr("loss"));
    EXPECT_EQ(guard.judge(1, infinity).action, chosen);
    EXPECT_THAT(guard.judge(1, nan).reason, HasSubstr("gradient"));
    EXPECT_TRUE(guard.norms().empty());
  }
}

TEST(AdamW, LetsOnlyTheParametersDecayThatSpecsName) {
  const model::ModelConfig config = model::mamba1_config(16, 2);
  model::Parameters parameters = model::initialise_parameters(config, 1);
  const model::Parameters before = copy_of(parameters);
  AdamW optimiser(config, parameters, {.weight_decay = 0.2});
  for (auto& [name, tensor] : parameters) tensor.mutable_grad() = at::zeros_like(tensor);
  EXPECT_EQ(step(optimiser, 0.1), 0);
  for (const model::ParameterSpec& spec : model::parameter_specs(config)) {
    const double factor = spec.decays ? 1 - 0.1 * 0.2 : 1;
    EXPECT_LE(test::relative_error(parameters.at(spec.name), before.at(spec.name).mul(factor)), 1e-6) << spec.name;
    EXPECT_FALSE(parameters.at(spec.name).grad().defined()) << "gradients are cleared";
  }
}

// The formulas in double, a step after the other, with decay and clipping.
TEST(AdamW, TakesTheStepsOfItsEquations) {
  const model::ModelConfig config = model::mamba1_config(8, 1, 3);
  for (const auto& [dtype, allowed] : {std::pair{at::kDouble, 1e-12}, {at::kFloat, 1e-6}}) {
    model::Parameters parameters = test::random_parameters(config, 1, dtype);
    const AdamWOptions options{.weight_decay = 0.3, .clip = 1};
    AdamW optimiser(config, parameters, options);
    model::Parameters expected, first, second;
    for (const auto& [name, tensor] : parameters) expected[name] = tensor.detach().to(at::kDouble).clone();
    std::map<std::string, double> decay;
    for (const model::ParameterSpec& spec : model::parameter_specs(config))
      decay[spec.name] = spec.decays ? options.weight_decay : 0;
    for (std::int64_t number = 1; number <= 5; ++number) {
      set_gradients(parameters, 10 + number, number == 3 ? 2 : 0.01);
      const double norm = norm_of_gradients(parameters), rate = 0.01 / static_cast<double>(number);
      EXPECT_EQ(norm > options.clip, number == 3) << "both cases are there";
      for (auto& [name, tensor] : expected) {
        const at::Tensor gradient = parameters.at(name).grad().to(at::kDouble).mul(std::min(1.0, options.clip / norm));
        first[name] = number == 1 ? gradient.mul(0.1) : first[name].mul(0.9).add(gradient.mul(0.1));
        second[name] =
            number == 1 ? gradient.square().mul(0.05) : second[name].mul(0.95).add(gradient.square().mul(0.05));
        const at::Tensor mean = first[name].div(1 - std::pow(0.9, number));
        const at::Tensor deviation = second[name].div(1 - std::pow(0.95, number)).sqrt().add(1e-8);
        tensor = tensor.mul(1 - rate * decay.at(name)).sub(mean.div(deviation).mul(rate));
      }
      EXPECT_NEAR(step(optimiser, rate), norm, 1e-12 * norm);
      for (const auto& [name, tensor] : expected)
        EXPECT_LE(test::relative_error(parameters.at(name), tensor), allowed) << name << " after step " << number;
    }
  }
}

TEST(AdamW, HasTheSameBitsWithAnyNumberOfThreads) {
  const model::ModelConfig config = model::mamba1_config(150, 1);  // tensors of over 32,768 values, and odd ones
  const int before = at::get_num_threads();
  std::vector<model::Parameters> trained;
  std::vector<double> norms;
  for (const int threads : {1, 2, 3}) {
    at::set_num_threads(threads);
    model::Parameters parameters = model::initialise_parameters(config, 3);
    AdamW optimiser(config, parameters, {});
    for (std::int64_t i = 0; i < 3; ++i) {
      set_gradients(parameters, 50 + i, 0.3);
      norms.push_back(step(optimiser, 0.01));
    }
    trained.push_back(parameters);
  }
  at::set_num_threads(before);
  for (std::size_t other : {1, 2})
    for (const auto& [name, tensor] : trained[0]) EXPECT_TRUE(at::equal(tensor, trained[other].at(name))) << name;
  for (std::size_t i = 0; i < 3; ++i) EXPECT_EQ(std::set<double>({norms[i], norms[i + 3], norms[i + 6]}).size(), 1U);
}

TEST(AdamW, ASkippedStepLeavesParametersAndMomentsAsTheyWere) {
  const model::ModelConfig config = model::mamba1_config(16, 1);
  model::Parameters parameters = model::initialise_parameters(config, 1);
  AdamW optimiser(config, parameters, {});
  set_gradients(parameters, 2, 1);
  step(optimiser, 0.01);
  const model::Parameters before = copy_of(parameters);
  const files::TensorMap moments = optimiser.moments();
  set_gradients(parameters, 3, 1);
  optimiser.skip();
  for (const auto& [name, tensor] : before) {
    EXPECT_TRUE(at::equal(parameters.at(name), tensor)) << name;
    EXPECT_FALSE(parameters.at(name).grad().defined()) << name;
  }
  for (const auto& [name, stored] : optimiser.moments())
    EXPECT_TRUE(at::equal(model::to_tensor(stored), model::to_tensor(moments.at(name)))) << name;
}

TEST(AdamW, ClipsTheNormOfTheWholeGradient) {
  const model::ModelConfig config = model::mamba1_config(16, 1);
  for (const double clip : {0.5, 0.0}) {
    model::Parameters parameters = model::initialise_parameters(config, 1);
    AdamW optimiser(config, parameters, {.clip = clip});
    set_gradients(parameters, 2, 1);
    const double norm = norm_of_gradients(parameters);
    EXPECT_GT(norm, 1);
    EXPECT_NEAR(step(optimiser, 0.01), norm, 1e-9 * norm);
    double squares = 0;  // the first moment is a tenth of the gradient that was used
    for (const auto& [name, stored] : optimiser.moments())
      if (name.ends_with(".exp_avg")) squares += model::to_tensor(stored).to(at::kDouble).square().sum().item<double>();
    const double used = std::sqrt(squares) / (1 - 0.9);
    EXPECT_NEAR(used, clip > 0 ? clip : norm, 1e-5 * norm);
  }
}

TEST(AdamW, RefusesAGradientThatIsNotFiniteAndChangesNothing) {
  const model::ModelConfig config = model::mamba1_config(16, 1);
  model::Parameters parameters = model::initialise_parameters(config, 1);
  const model::Parameters before = copy_of(parameters);
  AdamW optimiser(config, parameters, {});
  set_gradients(parameters, 2, 1);
  parameters.at("backbone.norm_f.weight").mutable_grad()[3].fill_(std::numeric_limits<double>::quiet_NaN());
  EXPECT_THAT(test::error_text<base::Error>([&] { step(optimiser, 0.01); }), HasSubstr("not finite"));
  for (const auto& [name, tensor] : before) EXPECT_TRUE(at::equal(parameters.at(name), tensor)) << name;
}

class AdamWInTwoParts : public ::testing::Test {
 protected:
  // Steps [first, last), of which `skipped` has no gradient at all.
  void run(AdamW& optimiser, model::Parameters& parameters, std::int64_t first, std::int64_t last) {
    for (std::int64_t number = first; number < last; ++number) {
      if (number == skipped_) continue;
      set_gradients(parameters, 50 + number, 0.3);
      step(optimiser, rate_at({.steps = 8}, number));
    }
  }
  void expect_same_bits_after(std::int64_t cut) {
    model::Parameters whole = model::initialise_parameters(config_, 3), parts = copy_of(whole);
    AdamW uninterrupted(config_, whole, options_);
    run(uninterrupted, whole, 0, 8);
    files::TensorMap moments;
    {
      AdamW before(config_, parts, options_);
      run(before, parts, 0, cut);
      moments = before.moments();
    }
    parts = copy_of(parts);
    AdamW after(config_, parts, options_);
    after.set_moments(moments);
    run(after, parts, cut, 8);
    for (const auto& [name, tensor] : whole) EXPECT_TRUE(at::equal(tensor, parts.at(name))) << name;
    EXPECT_EQ(uninterrupted.moments().size(), after.moments().size());
  }

  const model::ModelConfig config_ = model::mamba1_config(16, 2);
  const AdamWOptions options_;
  std::int64_t skipped_ = -1;
};

TEST_F(AdamWInTwoParts, EndsInTheSameBits) {
  for (const std::int64_t cut : {0, 1, 5, 8}) expect_same_bits_after(cut);
}

TEST_F(AdamWInTwoParts, EndsInTheSameBitsWhereAStepWeighedNothing) {
  for (const std::int64_t skipped : {0, 2}) {
    skipped_ = skipped;
    for (const std::int64_t cut : {1, 5}) expect_same_bits_after(cut);
  }
}

TEST_F(AdamWInTwoParts, RefusesMomentsOfAnotherModel) {
  model::Parameters parameters = model::initialise_parameters(config_, 3);
  AdamW optimiser(config_, parameters, options_);
  run(optimiser, parameters, 0, 1);
  files::TensorMap moments = optimiser.moments(), misshapen = moments;
  moments.erase("backbone.norm_f.weight.exp_avg_sq");
  EXPECT_THAT(test::error_text<base::Error>([&] { optimiser.set_moments(moments); }),
              HasSubstr("backbone.norm_f.weight"));
  misshapen["backbone.norm_f.weight.exp_avg"] = misshapen.at("backbone.embedding.weight.exp_avg");
  EXPECT_THAT(test::error_text<base::Error>([&] { optimiser.set_moments(misshapen); }), HasSubstr("another shape"));
}

}  // namespace
}  // namespace dnamamba::train
