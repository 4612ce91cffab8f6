// Whole models on a GPU against the CPU's in double: answers, states, and the streamed gradient of every parameter.
#include <ATen/core/grad_mode.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/equal.h>
#include <gtest/gtest.h>

#include "core/model/backbone.h"
#include "core/train/adamw.h"
#include "core/train/streamed_gradient.h"
#include "tests/support/models.h"

namespace dnamamba::test {
namespace {

struct Where {
  at::Device device;
  at::ScalarType activations;
};
const Where kReference{at::kCPU, at::kDouble}, kGpuFloat{{at::kCUDA, 0}, at::kFloat},
    kGpuBfloat{{at::kCUDA, 0}, at::kBFloat16};

model::Parameters there(const model::Parameters& parameters, const Where& where) {
  model::Parameters moved = parameters;
  for (auto& [name, tensor] : moved)
    tensor = tensor.detach()
                 .to(where.device, ops::wide_dtype(where.activations), /*non_blocking=*/false, /*copy=*/true)
                 .requires_grad_(true);
  return moved;
}

struct Gradients {
  double loss = 0;
  std::map<std::string, at::Tensor> of;
};

Gradients gradients(const model::ModelConfig& config, const model::Parameters& parameters, const Where& where,
                    const train::NextTokenBatch& batch, std::int64_t segment) {
  const model::Parameters own = there(parameters, where);
  const model::Backbone backbone(config, own, where.activations);
  Gradients found;
  found.loss = train::streamed_gradient(backbone, batch, {.segment = segment}, batch.total_weight()).loss;
  for (const auto& [name, parameter] : own) found.of[name] = parameter.grad().cpu();
  return found;
}

train::NextTokenBatch random_batch_of(RandomTensors& random, std::int64_t longest) {
  const tokens::Alphabet alphabet = tokens::Alphabet::built_in("dnamamba");
  train::NextTokenBatch batch;
  for (const std::int64_t length : random_lengths(random, longest)) {
    std::vector<std::uint8_t> sequence(static_cast<std::size_t>(length + 2));
    for (auto& token : sequence) token = static_cast<std::uint8_t>(7 + random.between(0, 4));
    batch.append(sequence, alphabet);
  }
  return batch;
}

class ModelOnGpu : public ::testing::TestWithParam<std::int64_t> {};

TEST_P(ModelOnGpu, HasTheGradientsOfTheCpuHoweverItIsStreamed) {
  RandomTensors random(100 + GetParam());
  for (int round = 0; round < 3; ++round) {
    const model::ModelConfig config = random_config(random, GetParam());
    const model::Parameters parameters = random_parameters(config, 5, at::kFloat);
    const train::NextTokenBatch batch = random_batch_of(random, 700);
    const Gradients expected = gradients(config, parameters, kReference, batch, 10'000);
    for (const std::int64_t segment : {10'000, 97}) {
      const Gradients actual = gradients(config, parameters, kGpuFloat, batch, segment);
      const Gradients again = gradients(config, parameters, kGpuFloat, batch, segment);
      EXPECT_NEAR(actual.loss, expected.loss, 1e-5 * expected.loss);
      for (const auto& [name, gradient] : expected.of) {
        EXPECT_LE(relative_error(actual.of.at(name), gradient), 2e-5) << name << ", segment " << segment;
        EXPECT_TRUE(at::equal(actual.of.at(name), again.of.at(name))) << name << " differs from run to run";
      }
      const Gradients rounded = gradients(config, parameters, kGpuBfloat, batch, segment);
      EXPECT_NEAR(rounded.loss, expected.loss, 5e-3 * expected.loss);
      for (const auto& [name, gradient] : expected.of)
        EXPECT_LE(relative_error(rounded.of.at(name), gradient), 0.1) << name << ", bfloat16, segment " << segment;
    }
  }
}

TEST(ModelOnGpu, HasTheSameBitsWhereverTheStatesBetweenSegmentsWait) {
  RandomTensors random(7);
  const model::ModelConfig config = random_config(random, 118);
  const model::Parameters parameters = random_parameters(config, 5, at::kFloat);
  const train::NextTokenBatch batch = random_batch_of(random, 3000);
  for (const Where& where : {kGpuFloat, kGpuBfloat}) {
    std::vector<model::Parameters> trained;
    for (const bool on_host : {false, true}) {
      trained.push_back(there(parameters, where));
      const model::Backbone backbone(config, trained.back(), where.activations);
      train::streamed_gradient(backbone, batch, {.segment = 257, .states_on_host = on_host}, batch.total_weight());
    }
    for (const auto& [name, parameter] : trained[0])
      EXPECT_TRUE(at::equal(parameter.grad(), trained[1].at(name).grad())) << name;
  }
}

// Of the same gradients: the fused update rounds as little on either device.
TEST(AdamWOnGpu, TakesTheStepsOfTheCpu) {
  const model::ModelConfig config = model::mamba1_config(64, 2);
  const model::Parameters begun = model::initialise_parameters(config, 3);
  std::vector<model::Parameters> trained;
  for (const Where& where : {Where{at::kCPU, at::kFloat}, kGpuFloat}) {
    trained.push_back(there(begun, where));
    train::AdamW optimiser(config, trained.back(), {});
    RandomTensors random(9);
    for (int step = 0; step < 4; ++step) {
      for (auto& [name, tensor] : trained.back())
        tensor.mutable_grad() = random.normal(tensor.sizes(), at::kFloat, 0.1).to(where.device);
      optimiser.step(0.01, optimiser.gradient_norm());
    }
  }
  for (const auto& [name, tensor] : trained[0])
    EXPECT_LE(relative_error(trained[1].at(name).cpu(), tensor), 1e-6) << name;
}

INSTANTIATE_TEST_SUITE_P(Widths, ModelOnGpu, ::testing::Values(30, 118, 512));

TEST(ModelOnGpu, AnswersTheSameWhereverASequenceIsCut) {
  const at::NoGradGuard no_graph;
  RandomTensors random(3);
  const model::ModelConfig config = model::mamba1_config(64, 3);
  const model::Parameters parameters = there(random_parameters(config, 1, at::kFloat), kGpuFloat);
  const model::Backbone backbone(config, parameters);
  const at::Tensor ids = random.ids(5000, 16);
  const at::Tensor whole = backbone.advance({.tokens = ids}).hidden;
  std::vector<at::Tensor> pieces;
  model::State state;
  std::int64_t begin = 0;
  for (const std::int64_t end : random.cuts(5000, 9)) {
    auto out =
        backbone.advance({.tokens = ids.narrow(0, begin, end - begin).clone(), .state = &state, .want_state = true});
    pieces.push_back(out.hidden);
    state = std::move(out.state);
    begin = end;
  }
  EXPECT_LE(relative_error(at::cat(pieces), whole), 1e-5);
}

}  // namespace
}  // namespace dnamamba::test
