// A causal network: embedding, blocks, final norm, run depth first (all layers on a segment, then the next segment).
#pragma once
#include <optional>
#include <vector>

#include "core/model/block.h"

namespace dnamamba::model {

class Backbone {
 public:
  /// Shares the tensors of `parameters`, and computes where they are. `activations`: the parameters' dtype, or bfloat16
  /// over float32 on a GPU. @throws base::Error for a config with reverse layers: they need another schedule.
  Backbone(const ModelConfig& config, const Parameters& parameters,
           std::optional<at::ScalarType> activations = std::nullopt);

  struct Segment {
    at::Tensor tokens;                 ///< uint8 [T] on the host
    ops::OptionalTensor offsets = {};  ///< int64 [S + 1] on the host; absent: one sequence
    const State* state = nullptr;      ///< null or empty: every sequence begins here
    bool want_state = false;           ///< whether segments follow
    std::int64_t layer = -1;  ///< -1: after the final norm; i: the residual stream after i layers, 0 = the embedding
  };
  struct Output {
    at::Tensor hidden;  ///< [T, d_model]
    State state;        ///< empty unless asked for
  };
  /// Any segmentation gives the answers of the whole. Differentiable in the parameters and the state.
  /// @throws base::Error for a layer that is not there, and a state that was not advanced as far as this layer.
  [[nodiscard]] Output advance(const Segment& segment) const;

  [[nodiscard]] const ModelConfig& config() const { return config_; }
  /// The rows of the language model head, [vocabulary, d_model]: the embedding's where they are tied.
  [[nodiscard]] const at::Tensor& head_weight() const { return head_; }
  /// Of parameters and states.
  [[nodiscard]] at::TensorOptions options() const { return embedding_.options().requires_grad(false); }

 private:
  ModelConfig config_;
  at::Tensor embedding_;
  at::ScalarType activations_;
  std::vector<Block> blocks_;
  AddNorm final_norm_;
  at::Tensor head_;
};

}  // namespace dnamamba::model
