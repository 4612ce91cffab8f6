#include "core/model/mamba1_mixer.h"

#include <ATen/ops/exp.h>
#include <ATen/ops/neg.h>
#include <ATen/ops/split_with_sizes.h>

#include <vector>

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
  if (a_log_.requires_grad() || a_log_.is_inference()) return;
  fixed_rates_ = at::neg(at::exp(a_log_));
  fixed_version_ = a_log_._version();
}

at::Tensor Mamba1Mixer::decay_rates() const {
  const bool fixed = fixed_rates_.defined() && !a_log_.requires_grad() && a_log_._version() == fixed_version_;
  return fixed ? fixed_rates_ : at::neg(at::exp(a_log_));
}

std::pair<at::Tensor, LayerState> Mamba1Mixer::advance(const at::Tensor& input, const SegmentCall& call) const {
  const std::int64_t inner = config_.d_inner, states = config_.d_state, rank = config_.dt_rank;
  const auto* const before = state_before<Mamba1State>(call);

  const auto [x, z] = ops::linear_pair(input, in_proj_, in_bias_, inner);
  const auto [convolved, conv_state] = convolve<Mamba1State>(x, conv_weight_, conv_bias_, reverse_, call);
  const auto [u, projected] = ops::linear_beside(convolved, x_proj_);
  const std::vector<at::Tensor> parts = at::split_with_sizes(projected, {rank, states, states}, 1);
  const at::Tensor delta = ops::linear(parts[0], dt_proj_);
  const auto [y, ssm_state] =
      ops::selective_scan({.x = u,
                           .delta = delta,
                           .A = decay_rates(),
                           .B = parts[1],
                           .C = parts[2],
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
