// What a model carries from one segment of a sequence to the next. Its size does not depend on how much was read.
#pragma once
#include <ATen/core/Tensor.h>

#include <span>
#include <variant>
#include <vector>

#include "core/model/config.h"

namespace dnamamba::model {

/// Of S sequences; K = d_conv, E = d_inner, N = d_state. fp32, or fp64 where activations are.
struct Mamba1State {
  at::Tensor conv;  ///< [S, K-1, E] the last inputs of the convolution, oldest first
  at::Tensor ssm;   ///< [S, E, N]
};

/// H heads of P = headdim channels; conv holds x, B and C.
struct Mamba2State {
  at::Tensor conv;  ///< [S, K-1, d_ssm + 2 ngroups N]
  at::Tensor ssm;   ///< [S, H, P, N]
};

/// One alternative a mixer; more are added here. monostate: nothing was read yet.
using LayerState = std::variant<std::monostate, Mamba1State, Mamba2State>;

/// One entry a layer; all of the same sequences. An empty list: no state, every sequence begins.
struct State {
  std::vector<LayerState> layers;

  [[nodiscard]] bool empty() const { return layers.empty(); }
};

/// The state of `sequences` sequences of which nothing was read: zeros.
State zero_state(const ModelConfig& config, std::int64_t sequences, const at::TensorOptions& options);

/// Every tensor in a fixed order; what gradients flow through. Changing a tensor behind the pointer changes the state.
std::vector<at::Tensor*> tensors_of(State& state);

/// The states of several batches as one batch, and one sequence of a batch as a state of its own.
/// @throws base::Error if the states are of different models.
State join_states(std::span<const State* const> states);
State state_of_sequence(const State& state, std::int64_t sequence);

}  // namespace dnamamba::model
