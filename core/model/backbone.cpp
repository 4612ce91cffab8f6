#include "core/model/backbone.h"

#include <ATen/ops/add.h>

#include "core/base/error.h"
#include "core/ops/embed_tokens.h"

namespace dnamamba::model {

Backbone::Backbone(const ModelConfig& config, const Parameters& parameters, std::optional<at::ScalarType> activations)
    : config_(config),
      embedding_(parameters.at("backbone.embedding.weight")),
      activations_(activations.value_or(embedding_.scalar_type())),
      final_norm_(config.final_norm, config, parameters, "backbone.norm_f"),
      head_(config.tie_embeddings ? embedding_ : parameters.at("lm_head.weight")) {
  for (const LayerConfig& layer : config.layers) {
    if (layer.direction == Direction::kReverse)
      throw base::Error("a model with reverse layers can't be run from left to right");
    blocks_.emplace_back(config, layer, parameters);
  }
}

Backbone::Output Backbone::advance(const Segment& segment) const {
  const std::int64_t last = static_cast<std::int64_t>(blocks_.size());
  if (segment.layer < -1 || segment.layer > last)
    throw base::Error(base::concat("layer ", segment.layer, " is not between 0 and ", last));
  Output out;
  at::Tensor hidden = ops::embed_tokens(ops::to_device(segment.tokens, embedding_.device()), embedding_, activations_);
  at::Tensor residual;
  const bool continues = segment.state != nullptr && !segment.state->empty();
  const std::int64_t end = segment.layer == -1 ? last : segment.layer;
  if (continues && static_cast<std::int64_t>(segment.state->layers.size()) < end)
    throw base::Error(
        base::concat("a state of ", segment.state->layers.size(), " layers can't be continued through ", end));
  for (std::int64_t i = 0; i < end; ++i) {
    auto block = blocks_[i].advance(
        hidden, residual, {segment.offsets, continues ? &segment.state->layers[i] : nullptr, segment.want_state});
    hidden = std::move(block.hidden);
    residual = std::move(block.residual);
    if (segment.want_state) out.state.layers.push_back(std::move(block.state));
  }
  if (segment.layer == -1) {
    out.hidden = final_norm_(hidden, residual).first;
  } else {
    out.hidden = residual.defined() ? at::add(hidden, residual) : hidden;
  }
  return out;
}

}  // namespace dnamamba::model
