// How parameters begin, and which of them decay.
#include "core/model/parameters.h"

#include <ATen/ops/equal.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "core/model/flops.h"
#include "tests/support/models.h"

namespace dnamamba::model {
namespace {

using test::Mixer;
using test::RandomTensors;
using ::testing::HasSubstr;

Mamba1Config& mixer_of(ModelConfig& config, std::size_t layer = 0) {
  return std::get<Mamba1Config>(config.layers.at(layer).mixer);
}

double largest(const at::Tensor& tensor) {
  return tensor.abs().max().item<double>();
}

// Whether values fill [-bound, bound] evenly.
void expect_uniform(const at::Tensor& tensor, double bound) {
  EXPECT_LE(largest(tensor), bound * (1 + 1e-6));
  EXPECT_GT(largest(tensor), 0.97 * bound);
  EXPECT_NEAR(tensor.to(at::kDouble).std().item<double>() / (bound / std::sqrt(3.0)), 1, 0.05);
  EXPECT_NEAR(tensor.to(at::kDouble).mean().item<double>() / bound, 0, 0.06);
}

TEST(InitialParameters, AreThoseOfMambaSsm) {
  ModelConfig config = mamba1_config(64, 4);
  config.tie_embeddings = false;
  for (LayerConfig& layer : config.layers) layer.mlp = MlpConfig{128};
  const Parameters p = initialise_parameters(config, 3);
  const std::string layer = "backbone.layers.1.", mixer = layer + "mixer.";
  EXPECT_NEAR(p.at("backbone.embedding.weight").std().item<double>(), 0.02, 0.002);
  expect_uniform(p.at(mixer + "in_proj.weight"), 1 / std::sqrt(64.0));
  expect_uniform(p.at(mixer + "conv1d.weight"), 1 / std::sqrt(4.0));
  expect_uniform(p.at(mixer + "x_proj.weight"), 1 / std::sqrt(128.0));
  expect_uniform(p.at(mixer + "dt_proj.weight"), 1 / std::sqrt(4.0));
  expect_uniform(p.at(mixer + "out_proj.weight"), 1 / std::sqrt(128.0) / std::sqrt(4.0));
  expect_uniform(p.at(layer + "mlp.fc1.weight"), 1 / std::sqrt(64.0));
  expect_uniform(p.at(layer + "mlp.fc2.weight"), 1 / std::sqrt(128.0) / std::sqrt(4.0));
  expect_uniform(p.at("lm_head.weight"), 1 / std::sqrt(64.0));
  EXPECT_TRUE(p.at(mixer + "D").eq(1).all().item<bool>());
  EXPECT_TRUE(p.at(layer + "norm.weight").eq(1).all().item<bool>());
  const at::Tensor a_log = p.at(mixer + "A_log");
  for (std::int64_t n = 0; n < 16; ++n)
    EXPECT_NEAR(a_log.select(1, n).sub(std::log(static_cast<double>(n + 1))).abs().max().item<double>(), 0, 1e-6);
}

TEST(InitialParameters, GiveStepSizesBetweenTheirBounds) {
  for (const double floor : {1e-4, 2e-2}) {
    ModelConfig config = mamba1_config(256, 1);
    mixer_of(config).dt_init_floor = floor;
    const at::Tensor bias = initialise_parameters(config, 5).at("backbone.layers.0.mixer.dt_proj.bias").to(at::kDouble);
    const at::Tensor dt = bias.exp().log1p();
    EXPECT_GE(dt.min().item<double>(), std::max(1e-3, floor) * (1 - 1e-5));
    EXPECT_LE(dt.max().item<double>(), 0.1 * (1 + 1e-5));
    if (floor < 1e-3) {
      EXPECT_NEAR(dt.log().mean().item<double>(), std::log(1e-2), 0.2);  // log-uniform
    }
  }
}

TEST(InitialParameters, AreConstantOrScaledWhereTheConfigSaysSo) {
  ModelConfig config = mamba1_config(64, 1);
  mixer_of(config).dt_scale = 3;
  expect_uniform(initialise_parameters(config, 1).at("backbone.layers.0.mixer.dt_proj.weight"), 3 / std::sqrt(4.0));
  mixer_of(config).dt_init_random = false;
  const at::Tensor constant = initialise_parameters(config, 1).at("backbone.layers.0.mixer.dt_proj.weight");
  EXPECT_TRUE(constant.eq(3 / std::sqrt(4.0)).all().item<bool>());
}

TEST(InitialParameters, OfMamba2AreThoseOfMambaSsm) {
  ModelConfig config = mamba2_config(64, 4, 32, 8, 1);  // 512 heads: enough to see their distribution
  auto& mixer = std::get<Mamba2Config>(config.layers[1].mixer);
  mixer.A_init_min = 2;
  mixer.A_init_max = 8;
  mixer.bias = true;
  const Parameters p = initialise_parameters(config, 3);
  const std::string prefix = "backbone.layers.1.mixer.";
  expect_uniform(p.at(prefix + "in_proj.weight"), 1 / std::sqrt(64.0));
  expect_uniform(p.at(prefix + "conv1d.weight"), 1 / std::sqrt(4.0));
  expect_uniform(p.at(prefix + "conv1d.bias"), 1 / std::sqrt(4.0));
  expect_uniform(p.at(prefix + "out_proj.weight"), 1 / std::sqrt(512.0) / std::sqrt(4.0));
  for (const char* name : {"in_proj.bias", "out_proj.bias"}) EXPECT_EQ(largest(p.at(prefix + name)), 0) << name;
  for (const char* name : {"D", "norm.weight"}) EXPECT_TRUE(p.at(prefix + name).eq(1).all().item<bool>()) << name;
  expect_uniform(p.at(prefix + "A_log").exp().sub(5), 3);  // A is uniform, its logarithm is stored
  const at::Tensor dt = p.at(prefix + "dt_bias").to(at::kDouble).exp().log1p();
  EXPECT_GE(dt.min().item<double>(), 1e-3 * (1 - 1e-5));
  EXPECT_LE(dt.max().item<double>(), 0.1 * (1 + 1e-5));
  EXPECT_NEAR(dt.log().mean().item<double>(), std::log(1e-2), 0.2);
  mixer.conv_init = 0.01;
  const Parameters small = initialise_parameters(config, 3);
  expect_uniform(small.at(prefix + "conv1d.weight"), 0.01);
  expect_uniform(small.at(prefix + "conv1d.bias"), 1 / std::sqrt(4.0));
}

TEST(InitialParameters, HaveTheSameBitsForTheSameSeedAndOthersForAnother) {
  const ModelConfig config = mamba1_config(32, 2);
  const Parameters one = initialise_parameters(config, 7), again = initialise_parameters(config, 7),
                   other = initialise_parameters(config, 8);
  EXPECT_EQ(one.size(), parameter_specs(config).size());
  for (const auto& [name, tensor] : one) EXPECT_TRUE(at::equal(tensor, again.at(name))) << name;
  for (const char* drawn :
       {"backbone.embedding.weight", "backbone.layers.1.mixer.in_proj.weight", "backbone.layers.0.mixer.dt_proj.bias"})
    EXPECT_FALSE(at::equal(one.at(drawn), other.at(drawn))) << drawn;
  EXPECT_FALSE(
      at::equal(one.at("backbone.layers.0.mixer.in_proj.weight"), one.at("backbone.layers.1.mixer.in_proj.weight")));
}

TEST(ParameterSpecs, LetOnlyMatricesThatAreNotEmbeddingsDecay) {
  ModelConfig config = mamba1_config(32, 1);
  config.final_norm = config.layers[0].norm = NormKind::kLayer;
  config.tie_embeddings = false;
  config.layers[0].mlp = MlpConfig{16};
  mixer_of(config).bias = true;
  std::vector<std::string> decaying;
  for (const ParameterSpec& spec : parameter_specs(config))
    if (spec.decays) decaying.push_back(spec.name);
  const std::string layer = "backbone.layers.0.";
  EXPECT_THAT(decaying, ::testing::UnorderedElementsAre(layer + "mixer.in_proj.weight", layer + "mixer.conv1d.weight",
                                                        layer + "mixer.x_proj.weight", layer + "mixer.dt_proj.weight",
                                                        layer + "mixer.out_proj.weight", layer + "mlp.fc1.weight",
                                                        layer + "mlp.fc2.weight", "lm_head.weight"));
}

TEST(ParameterSpecs, LetOnlyTheMatricesOfMamba2Decay) {
  std::vector<std::string> decaying;
  for (const ParameterSpec& spec : parameter_specs(mamba2_config(32, 1)))
    if (spec.decays) decaying.push_back(spec.name);
  const std::string mixer = "backbone.layers.0.mixer.";
  EXPECT_THAT(decaying, ::testing::UnorderedElementsAre(mixer + "in_proj.weight", mixer + "conv1d.weight",
                                                        mixer + "out_proj.weight"));
}

TEST(ForwardFlops, AreTwoOfEachWeightOfAProductAndThoseOfTheScan) {
  RandomTensors random(3);
  for (const Mixer kind : {Mixer::kMamba1, Mixer::kMamba2})
    for (int round = 0; round < 20; ++round) {
      ModelConfig config = test::random_config(random, 64, kind);
      double expected = 2 * static_cast<double>(config.vocabulary * config.d_model);
      for (std::size_t i = 0; i < config.layers.size(); ++i) {
        config.layers[i].weights = static_cast<std::int64_t>(i);  // a layer's arithmetic is its own, shared or not
        const auto states = [](const auto& mixer) { return mixer.d_state; };
        const double held = static_cast<double>(std::visit(states, config.layers[i].mixer));
        expected += kind == Mixer::kMamba1
                        ? 7 * 64 * held
                        : 5 * static_cast<double>(std::get<Mamba2Config>(config.layers[i].mixer).d_ssm) * held;
      }
      for (const ParameterSpec& spec : parameter_specs(config)) {
        if (spec.shape.size() < 2 || spec.name.ends_with("A_log") || spec.name.find("embedding") != std::string::npos ||
            spec.name.find("lm_head") != std::string::npos)
          continue;
        double weights = 2;
        for (const std::int64_t extent : spec.shape) weights *= static_cast<double>(extent);
        expected += weights;
      }
      EXPECT_DOUBLE_EQ(forward_flops(config), expected) << test::text_of(config);
    }
}

TEST(ParameterSpecs, NameSharedLayersOnceAndCountThemOnce) {
  ModelConfig config = mamba1_config(32, 3), two = mamba1_config(32, 2);
  config.layers[1].weights = 0;
  config.layers[2].weights = 1;
  EXPECT_EQ(parameter_specs(config).size(), parameter_specs(two).size());
  EXPECT_EQ(count_parameters(config), count_parameters(two));
  std::int64_t count = 0;
  for (const auto& [name, tensor] : initialise_parameters(two, 1)) count += tensor.numel();
  EXPECT_EQ(count, count_parameters(two));
}

}  // namespace
}  // namespace dnamamba::model
