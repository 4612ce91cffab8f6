#include "core/model/block.h"

#include <ATen/ops/mul.h>
#include <ATen/ops/silu.h>

#include "core/base/error.h"
#include "core/ops/add_rms_norm.h"
#include "core/ops/linear.h"

namespace dnamamba::model {
namespace {

std::string prefix_of(const LayerConfig& layer) {
  return base::concat("backbone.layers.", layer.weights, ".");
}

struct MakeMixer {
  const ModelConfig& model;
  const LayerConfig& layer;
  const Parameters& parameters;

  Mixer operator()(const Mamba1Config& config) const {
    return Mamba1Mixer(config, layer.direction, parameters, prefix_of(layer) + "mixer.");
  }
  Mixer operator()(const Mamba2Config& config) const {
    return Mamba2Mixer(config, model.norm_epsilon, layer.direction, parameters, prefix_of(layer) + "mixer.");
  }
};

}  // namespace

AddNorm::AddNorm(NormKind kind, const ModelConfig& model, const Parameters& parameters, const std::string& name)
    : kind_(kind),
      epsilon_(model.norm_epsilon),
      wide_residual_(model.residual == ResidualType::kFloat32),
      weight_(parameters.at(name + ".weight")) {
  if (kind == NormKind::kLayer) bias_ = parameters.at(name + ".bias");
}

std::pair<at::Tensor, at::Tensor> AddNorm::operator()(const at::Tensor& hidden, const at::Tensor& residual) const {
  const auto [normed, sum] =
      ops::add_rms_norm({.x = hidden,
                         .residual = ops::or_absent(residual),
                         .weight = weight_,
                         .bias = bias_,
                         .epsilon = epsilon_,
                         .layer_norm = kind_ == NormKind::kLayer,
                         .residual_dtype = wide_residual_ ? weight_.scalar_type() : hidden.scalar_type()});
  return {normed, sum};
}

Block::Block(const ModelConfig& model, const LayerConfig& layer, const Parameters& parameters)
    : norm_(layer.norm, model, parameters, prefix_of(layer) + "norm"),
      mixer_(std::visit(MakeMixer{model, layer, parameters}, layer.mixer)) {
  if (!layer.mlp) return;
  mlp_norm_.emplace(layer.norm, model, parameters, prefix_of(layer) + "norm2");
  fc1_ = parameters.at(prefix_of(layer) + "mlp.fc1.weight");
  fc2_ = parameters.at(prefix_of(layer) + "mlp.fc2.weight");
}

Block::Output Block::advance(const at::Tensor& hidden, const at::Tensor& residual, const SegmentCall& call) const {
  auto [normed, sum] = norm_(hidden, residual);
  auto [mixed, state] = std::visit([&](const auto& mixer) { return mixer.advance(normed, call); }, mixer_);
  if (!mlp_norm_) return {mixed, sum, state};
  const auto [mlp_normed, mlp_sum] = (*mlp_norm_)(mixed, sum);
  const std::int64_t width = fc1_.size(0) / 2;  // [y | gate]
  const at::Tensor y = ops::linear(mlp_normed, fc1_.narrow(0, 0, width));
  const at::Tensor gate = ops::linear(mlp_normed, fc1_.narrow(0, width, width));
  return {ops::linear(at::mul(y, at::silu(gate)), fc2_), mlp_sum, state};
}

}  // namespace dnamamba::model
