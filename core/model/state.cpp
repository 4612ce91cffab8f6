#include "core/model/state.h"

#include <ATen/ops/cat.h>
#include <ATen/ops/zeros.h>

#include "core/base/error.h"

namespace dnamamba::model {
namespace {

LayerState zero_layer(const Mamba1Config& mixer, std::int64_t sequences, const at::TensorOptions& options) {
  return Mamba1State{at::zeros({sequences, mixer.d_conv - 1, mixer.d_inner}, options),
                     at::zeros({sequences, mixer.d_inner, mixer.d_state}, options)};
}

LayerState zero_layer(const Mamba2Config& mixer, std::int64_t sequences, const at::TensorOptions& options) {
  return Mamba2State{at::zeros({sequences, mixer.d_conv - 1, mixer.conv_channels()}, options),
                     at::zeros({sequences, mixer.heads(), mixer.headdim, mixer.d_state}, options)};
}

struct AppendTensors {
  std::vector<at::Tensor*>& tensors;

  void operator()(std::monostate&) const {}
  void operator()(auto& state) const {
    tensors.push_back(&state.conv);
    tensors.push_back(&state.ssm);
  }
};

}  // namespace

State zero_state(const ModelConfig& config, std::int64_t sequences, const at::TensorOptions& options) {
  State state;
  for (const LayerConfig& layer : config.layers)
    state.layers.push_back(
        std::visit([&](const auto& mixer) { return zero_layer(mixer, sequences, options); }, layer.mixer));
  return state;
}

std::vector<at::Tensor*> tensors_of(State& state) {
  std::vector<at::Tensor*> tensors;
  for (LayerState& layer : state.layers) std::visit(AppendTensors{tensors}, layer);
  return tensors;
}

State join_states(std::span<const State* const> states) {
  if (states.size() == 1) return *states.front();
  State joined = *states.front();
  std::vector<at::Tensor*> targets = tensors_of(joined);
  std::vector<std::vector<at::Tensor>> pieces(targets.size());
  for (const State* state : states) {
    State copy = *state;  // tensors are shared, not copied
    const std::vector<at::Tensor*> tensors = tensors_of(copy);
    if (tensors.size() != targets.size()) throw base::Error("states of different models can't be joined");
    for (std::size_t i = 0; i < tensors.size(); ++i) pieces[i].push_back(*tensors[i]);
  }
  for (std::size_t i = 0; i < targets.size(); ++i) *targets[i] = at::cat(pieces[i]);
  return joined;
}

State state_of_sequence(const State& state, std::int64_t sequence) {
  State single = state;
  for (at::Tensor* tensor : tensors_of(single)) *tensor = tensor->narrow(0, sequence, 1).clone();
  return single;
}

}  // namespace dnamamba::model
