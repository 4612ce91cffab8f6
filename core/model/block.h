// One layer of a network: add and norm, mixer, and the optional MLP behind a norm of its own.
#pragma once
#include <utility>

#include "core/model/mamba1_mixer.h"
#include "core/model/mamba2_mixer.h"

namespace dnamamba::model {

/// The weights and kind of a norm over the residual stream.
class AddNorm {
 public:
  AddNorm(NormKind kind, const ModelConfig& model, const Parameters& parameters, const std::string& name);

  /// (norm(hidden + residual), hidden + residual), both [T, d_model]; an undefined residual counts as none.
  [[nodiscard]] std::pair<at::Tensor, at::Tensor> operator()(const at::Tensor& hidden,
                                                             const at::Tensor& residual) const;

 private:
  NormKind kind_;
  double epsilon_;
  bool wide_residual_;  // the stream is of the weights' type, else of the activations'
  at::Tensor weight_;
  ops::OptionalTensor bias_;
};

using Mixer = std::variant<Mamba1Mixer, Mamba2Mixer>;

/// hidden is what the layer before answered, residual the sum of what came before that; see specs of mamba-ssm's Block.
class Block {
 public:
  Block(const ModelConfig& model, const LayerConfig& layer, const Parameters& parameters);

  struct Output {
    at::Tensor hidden;    ///< [T, d_model]
    at::Tensor residual;  ///< [T, d_model]
    LayerState state;
  };
  [[nodiscard]] Output advance(const at::Tensor& hidden, const at::Tensor& residual, const SegmentCall& call) const;

 private:
  AddNorm norm_;
  Mixer mixer_;
  std::optional<AddNorm> mlp_norm_;
  at::Tensor fc1_, fc2_;
};

}  // namespace dnamamba::model
