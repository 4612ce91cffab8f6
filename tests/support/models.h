// Models of random make with random weights, and random batches for them.
#pragma once
#include <string>
#include <tuple>
#include <vector>

#include "core/model/parameters.h"
#include "core/tokens/ragged_batch.h"
#include "tests/support/tensors.h"

namespace dnamamba::test {

enum class Mixer { kMamba1, kMamba2 };

/// Of a test of this mixer, these channels, in this type.
inline std::string name_of(const std::tuple<Mixer, std::int64_t, at::ScalarType>& tested) {
  const auto [mixer, channels, dtype] = tested;
  return std::string(mixer == Mixer::kMamba1 ? "Mamba1" : "Mamba2") + (dtype == at::kDouble ? "Double" : "Float") +
         std::to_string(channels);
}

inline model::Mamba1Config random_mamba1(RandomTensors& random, std::int64_t channels, std::int64_t d_model) {
  return {.d_inner = channels,
          .d_state = random.coin() ? 16 : random.between(1, 5),
          .d_conv = random.coin() ? 4 : random.between(1, 6),
          .dt_rank = (d_model + 15) / 16,
          .bias = random.coin(),
          .conv_bias = random.coin()};
}

/// Two or eight heads where channels are even; every option of the block is drawn.
inline model::Mamba2Config random_mamba2(RandomTensors& random, std::int64_t channels) {
  const std::int64_t heads = channels % 64 == 0 ? 8 : channels % 2 == 0 ? 2 : 1;
  model::Mamba2Config config;
  config.d_inner = config.d_ssm = channels;
  config.headdim = channels / heads;
  if (heads > 1 && random.between(0, 2) == 0) config.d_ssm -= config.headdim;
  config.d_state = random.coin() ? 16 : random.between(1, 5);
  config.ngroups = random.coin() ? config.heads() : 1;
  config.d_conv = random.coin() ? 4 : random.between(1, 6);
  config.bias = random.coin();
  config.conv_bias = random.coin();
  config.D_has_hdim = random.coin();
  config.rmsnorm = random.between(0, 2) > 0;
  config.norm_before_gate = random.coin();
  if (random.coin()) config.dt_limit_max = 0.05;
  if (random.coin()) config.dt_limit_min = 0.01;
  return config;
}

/// 1 … 3 layers of `channels` scan channels; the rest is drawn: norms, MLP, the mixer's options, tied or not, and now
/// and then two layers that share their weights.
inline model::ModelConfig random_config(RandomTensors& random, std::int64_t channels, Mixer mixer = Mixer::kMamba1) {
  model::ModelConfig config;
  config.d_model = channels == 1 ? 6 : channels / 2;
  config.vocabulary = 16;
  config.final_norm = random.coin() ? model::NormKind::kRms : model::NormKind::kLayer;
  config.tie_embeddings = random.coin();
  const std::int64_t layers = random.between(1, 3);
  for (std::int64_t i = 0; i < layers; ++i) {
    if (i > 0 && random.between(0, 3) == 0) {
      config.layers.push_back(config.layers.back());
      continue;
    }
    model::LayerConfig layer;
    if (mixer == Mixer::kMamba1) {
      layer.mixer = random_mamba1(random, channels, config.d_model);
    } else {
      layer.mixer = random_mamba2(random, channels);
    }
    if (random.coin()) layer.mlp = model::MlpConfig{random.between(1, 40)};
    layer.norm = random.coin() ? model::NormKind::kRms : model::NormKind::kLayer;
    layer.weights = config.layers.empty() ? 0 : config.layers.back().weights + 1;
    config.layers.push_back(layer);
  }
  model::validate(config);
  return config;
}

/// Initialised and then moved, so that no norm is 1 and no bias 0. Tensors are leaves that ask for gradients.
inline model::Parameters random_parameters(const model::ModelConfig& config, std::uint64_t seed, at::ScalarType dtype) {
  RandomTensors random(seed);
  model::Parameters parameters = model::initialise_parameters(config, seed);
  for (auto& [name, tensor] : parameters) {
    const double scale = name.ends_with("embedding.weight") ? 0.5 : 0.1;
    tensor = tensor.to(at::kDouble).add(random.normal(tensor.sizes(), at::kDouble, scale)).to(dtype);
    tensor.requires_grad_(true);
  }
  return parameters;
}

/// Sequences of these lengths of random ids below `vocabulary`.
inline tokens::RaggedBatch random_batch(RandomTensors& random, const std::vector<std::int64_t>& lengths,
                                        std::int64_t vocabulary) {
  tokens::RaggedBatch batch;
  for (const std::int64_t length : lengths) {
    for (std::int64_t i = 0; i < length; ++i)
      batch.tokens.push_back(static_cast<std::uint8_t>(random.between(0, vocabulary - 1)));
    batch.end_sequence();
  }
  return batch;
}

/// 1 … 5 sequences, among them empty ones, single tokens and short ones; never all empty.
inline std::vector<std::int64_t> random_lengths(RandomTensors& random, std::int64_t longest) {
  std::vector<std::int64_t> lengths{random.between(1, longest)};
  const std::int64_t more = random.between(0, 4);
  for (std::int64_t i = 0; i < more; ++i)
    lengths.push_back(random.coin() ? random.between(0, 3) : random.between(0, longest));
  std::swap(lengths.front(), lengths[static_cast<std::size_t>(random.between(0, more))]);
  return lengths;
}

inline std::int64_t d_conv_of(const model::LayerConfig& layer) {
  return std::visit([](const auto& mixer) { return mixer.d_conv; }, layer.mixer);
}

/// One line that says which model it was.
inline std::string text_of(const model::ModelConfig& config) {
  std::string text = model::describe(config) + (config.tie_embeddings ? ", tied" : ", untied");
  for (const model::LayerConfig& layer : config.layers) {
    const bool bias = std::visit([](const auto& mixer) { return mixer.bias; }, layer.mixer);
    text += "; K " + std::to_string(d_conv_of(layer)) + (layer.mlp ? " MLP" : "") + (bias ? " bias" : "") +
            (layer.norm == model::NormKind::kLayer ? " LayerNorm" : "");
  }
  return text;
}

}  // namespace dnamamba::test
