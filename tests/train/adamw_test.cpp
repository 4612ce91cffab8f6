// The optimiser: who decays, what is clipped, how the rate goes, and that a run goes on with the same bits.
#include "core/train/adamw.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/zeros_like.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "core/base/error.h"
#include "core/model/model_folder.h"
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

TEST(RateAt, WarmsUpLinearlyAndEndsAtTheEndOfACosine) {
  const AdamWOptions options{.rate = 2e-3, .final_rate = 0.05, .warmup = 0.1, .steps = 200};
  EXPECT_DOUBLE_EQ(rate_at(options, 0), 1e-4);
  EXPECT_DOUBLE_EQ(rate_at(options, 9), 1e-3);
  EXPECT_DOUBLE_EQ(rate_at(options, 19), 2e-3);
  EXPECT_DOUBLE_EQ(rate_at(options, 20), 2e-3);
  EXPECT_NEAR(rate_at(options, 110), 2e-3 * (0.05 + 0.95 / 2), 1e-12);
  EXPECT_NEAR(rate_at(options, 200), 1e-4, 1e-12);
  EXPECT_NEAR(rate_at(options, 500), 1e-4, 1e-12);
  for (std::int64_t step = 20; step < 200; ++step) EXPECT_GT(rate_at(options, step), rate_at(options, step + 1));
}

TEST(RateAt, IsFiniteForTheShortestRuns) {
  for (const std::int64_t steps : {1, 2, 3})
    for (std::int64_t step = 0; step < steps; ++step) {
      const double rate = rate_at({.steps = steps}, step);
      EXPECT_GT(rate, 0);
      EXPECT_LE(rate, AdamWOptions().rate);
    }
}

TEST(AdamW, LetsOnlyTheParametersDecayThatSpecsName) {
  const model::ModelConfig config = model::mamba1_config(16, 2);
  model::Parameters parameters = model::initialise_parameters(config, 1);
  const model::Parameters before = copy_of(parameters);
  AdamW optimiser(config, parameters, {.rate = 0.1, .warmup = 0, .weight_decay = 0.2});
  for (auto& [name, tensor] : parameters) tensor.mutable_grad() = at::zeros_like(tensor);
  EXPECT_EQ(optimiser.step(0), 0);
  for (const model::ParameterSpec& spec : model::parameter_specs(config)) {
    const double factor = spec.decays ? 1 - 0.1 * 0.2 : 1;
    EXPECT_LE(test::relative_error(parameters.at(spec.name), before.at(spec.name).mul(factor)), 1e-6) << spec.name;
    EXPECT_FALSE(parameters.at(spec.name).grad().defined()) << "gradients are cleared";
  }
}

TEST(AdamW, TakesTheStepOfItsEquations) {
  const model::ModelConfig config = model::mamba1_config(8, 1, 3);
  model::Parameters parameters = test::random_parameters(config, 1, at::kDouble);
  const AdamWOptions options{.rate = 0.01, .warmup = 0, .weight_decay = 0, .clip = 0, .steps = 10};
  AdamW optimiser(config, parameters, options);
  model::Parameters expected = copy_of(parameters), first, second;
  for (std::int64_t step = 0; step < 4; ++step) {
    set_gradients(parameters, 10 + step, 0.1);
    for (auto& [name, tensor] : expected) {
      const at::Tensor gradient = parameters.at(name).grad().clone();
      first[name] = step == 0 ? gradient.mul(0.1) : first[name].mul(0.9).add(gradient.mul(0.1));
      second[name] = step == 0 ? gradient.square().mul(0.05) : second[name].mul(0.95).add(gradient.square().mul(0.05));
      const at::Tensor mean = first[name].div(1 - std::pow(0.9, step + 1));
      const at::Tensor deviation = second[name].div(1 - std::pow(0.95, step + 1)).sqrt().add(1e-8);
      tensor = tensor.sub(mean.div(deviation).mul(rate_at(options, step)));
    }
    optimiser.step(step);
    for (const auto& [name, tensor] : expected)
      EXPECT_LE(test::relative_error(parameters.at(name), tensor), 1e-10) << name << " after step " << step;
  }
}

TEST(AdamW, ClipsTheNormOfTheWholeGradient) {
  const model::ModelConfig config = model::mamba1_config(16, 1);
  for (const double clip : {0.5, 0.0}) {
    model::Parameters parameters = model::initialise_parameters(config, 1);
    AdamW optimiser(config, parameters, {.clip = clip});
    set_gradients(parameters, 2, 1);
    const double norm = norm_of_gradients(parameters);
    EXPECT_GT(norm, 1);
    EXPECT_NEAR(optimiser.step(0), norm, 1e-9 * norm);
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
  EXPECT_THAT(test::error_text<base::Error>([&] { optimiser.step(7); }), HasSubstr("not finite in step 7"));
  for (const auto& [name, tensor] : before) EXPECT_TRUE(at::equal(parameters.at(name), tensor)) << name;
}

class AdamWInTwoParts : public ::testing::Test {
 protected:
  // Steps [first, last), of which `skipped` has no gradient at all.
  void run(AdamW& optimiser, model::Parameters& parameters, std::int64_t first, std::int64_t last) {
    for (std::int64_t step = first; step < last; ++step) {
      if (step == skipped_) continue;
      set_gradients(parameters, 50 + step, 0.3);
      optimiser.step(step);
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
  const AdamWOptions options_{.steps = 8};
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
