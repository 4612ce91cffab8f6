#include "core/model/mamba1_mixer.h"

#include <ATen/ops/exp.h>
#include <ATen/ops/neg.h>

#include "core/ops/linear.h"
#include "core/ops/selective_scan.h"

namespace dnamamba::model {
Mamba1Mixer::Mamba1Mixer(const Mamba1Config& config, Direction direction, const Parameters& parameters,
                         const std::string& prefix)
    : config_(config),
      reverse_(direction == Direction::kReverse),
      in_proj_(parameters.at(prefix + "in_proj.weight")),
      conv_weight_(parameters.at(prefix + "conv1d.weight")),
      x_proj_(parameters.at(prefix + "x_proj.weight")),
      dt_proj_(parameters.at(prefix + "dt_proj.weight")),
      dt_bias_(parameters.at(prefix + "dt_proj.bias")),
      a_log_(parameters.at(prefix + "A_log")),
      d_(parameters.at(prefix + "D")),
      out_proj_(parameters.at(prefix + "out_proj.weight")) {
  if (config.bias) in_bias_ = parameters.at(prefix + "in_proj.bias");
  if (config.bias) out_bias_ = parameters.at(prefix + "out_proj.bias");
  if (config.conv_bias) conv_bias_ = parameters.at(prefix + "conv1d.bias");
}

std::pair<at::Tensor, LayerState> Mamba1Mixer::advance(const at::Tensor& input, const SegmentCall& call) const {
  const std::int64_t inner = config_.d_inner, states = config_.d_state, rank = config_.dt_rank;
  const auto* const before = state_before<Mamba1State>(call);

  // Two products in the place of one and two copies: x and z come out contiguous.
  const at::Tensor x = ops::linear(input, in_proj_.narrow(0, 0, inner), rows(in_bias_, 0, inner));
  const at::Tensor z = ops::linear(input, in_proj_.narrow(0, inner, inner), rows(in_bias_, inner, inner));
  const auto [u, conv_state] = convolve<Mamba1State>(x, conv_weight_, conv_bias_, reverse_, call);
  const at::Tensor projected = ops::linear(u, x_proj_);  // [T, dt_rank | B | C]
  const at::Tensor delta = ops::linear(projected.narrow(1, 0, rank), dt_proj_);
  const auto [y, ssm_state] =
      ops::selective_scan({.x = u,
                           .delta = delta,
                           .A = at::neg(at::exp(a_log_)),
                           .B = projected.narrow(1, rank, states),
                           .C = projected.narrow(1, rank + states, states),
                           .D = d_,
                           .z = z,
                           .delta_bias = dt_bias_,
                           .offsets = call.offsets,
                           .initial_state = before ? ops::OptionalTensor(before->ssm) : std::nullopt,
                           .want_final_state = call.want_state,
                           .reverse = reverse_});
  LayerState after;
  if (call.want_state) after = Mamba1State{conv_state, ssm_state};
  return {ops::linear(y, out_proj_, out_bias_), after};
}

}  // namespace dnamamba::model
