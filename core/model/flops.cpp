#include "core/model/flops.h"

namespace dnamamba::model {
namespace {

// Of the products and the convolution; then exp(Δ·A), (Δ·x)·B, h = decay·h + input, y += C·h of each state.
double flops_of(const Mamba1Config& mixer, double d_model) {
  const auto inner = static_cast<double>(mixer.d_inner), states = static_cast<double>(mixer.d_state);
  const auto rank = static_cast<double>(mixer.dt_rank), width = static_cast<double>(mixer.d_conv);
  const double weights = 3 * inner * d_model + inner * (rank + 2 * states) + rank * inner + inner * width;
  return 2 * weights + 7 * inner * states;
}

// The same with one decay for all states of a head.
double flops_of(const Mamba2Config& mixer, double d_model) {
  const auto inner = static_cast<double>(mixer.d_inner), convolved = static_cast<double>(mixer.conv_channels());
  const auto heads = static_cast<double>(mixer.heads()), gated_only = static_cast<double>(mixer.gated_only());
  const double projected = inner + gated_only + convolved + heads;
  const double weights = projected * d_model + convolved * static_cast<double>(mixer.d_conv) + inner * d_model;
  return 2 * weights + 5 * static_cast<double>(mixer.d_ssm * mixer.d_state);
}

}  // namespace

double forward_flops(const ModelConfig& config) {
  const auto d_model = static_cast<double>(config.d_model);
  double flops = 2 * d_model * static_cast<double>(config.vocabulary);
  for (const LayerConfig& layer : config.layers) {
    flops += std::visit([&](const auto& mixer) { return flops_of(mixer, d_model); }, layer.mixer);
    if (layer.mlp) flops += 2 * 3 * d_model * static_cast<double>(layer.mlp->d_hidden);
  }
  return flops;
}

}  // namespace dnamamba::model
