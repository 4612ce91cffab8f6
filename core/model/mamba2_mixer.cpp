#include "core/model/mamba2_mixer.h"

#include <ATen/ops/cat.h>
#include <ATen/ops/exp.h>
#include <ATen/ops/mul.h>
#include <ATen/ops/neg.h>
#include <ATen/ops/silu.h>

#include <cmath>

#include "core/ops/gated_rms_norm.h"
#include "core/ops/linear.h"
#include "core/ops/ssd.h"

namespace dnamamba::model {

Mamba2Mixer::Mamba2Mixer(const Mamba2Config& config, double norm_epsilon, Direction direction,
                         const Parameters& parameters, const std::string& prefix)
    : config_(config),
      norm_epsilon_(norm_epsilon),
      reverse_(direction == Direction::kReverse),
      in_proj_(parameters.at(prefix + "in_proj.weight")),
      conv_weight_(parameters.at(prefix + "conv1d.weight")),
      dt_bias_(parameters.at(prefix + "dt_bias")),
      a_log_(parameters.at(prefix + "A_log")),
      d_(parameters.at(prefix + "D")),
      out_proj_(parameters.at(prefix + "out_proj.weight")) {
  if (config.rmsnorm) norm_weight_ = parameters.at(prefix + "norm.weight");
  if (config.D_has_hdim) d_ = d_.view({config.heads(), config.headdim});
  if (config.bias) in_bias_ = parameters.at(prefix + "in_proj.bias");
  if (config.bias) out_bias_ = parameters.at(prefix + "out_proj.bias");
  if (config.conv_bias) conv_bias_ = parameters.at(prefix + "conv1d.bias");
}

at::Tensor Mamba2Mixer::project(const at::Tensor& input, std::int64_t first, std::int64_t count) const {
  return ops::linear(input, in_proj_.narrow(0, first, count), rows(in_bias_, first, count));
}

at::Tensor Mamba2Mixer::gate(const at::Tensor& y, const at::Tensor& z) const {
  if (!config_.rmsnorm) return at::mul(y, at::silu(z));
  return ops::gated_rms_norm({.x = y,
                              .z = z,
                              .weight = norm_weight_,
                              .groups = config_.ngroups,
                              .epsilon = norm_epsilon_,
                              .norm_before_gate = config_.norm_before_gate});
}

std::pair<at::Tensor, LayerState> Mamba2Mixer::advance(const at::Tensor& input, const SegmentCall& call) const {
  const std::int64_t inner = config_.d_ssm, shared = config_.ngroups * config_.d_state, aside = config_.gated_only();
  const std::int64_t z_at = 2 * aside, x_at = z_at + inner, convolved = inner + 2 * shared, heads = config_.heads();
  const auto* const before = state_before<Mamba2State>(call);

  // Columns of one product: the operators take rows that lie apart. z is not among them, since it is wanted late.
  const auto projected = project(input, x_at, convolved + heads).split_with_sizes({convolved, heads}, 1);
  const auto [xBC, conv_state] = convolve<Mamba2State>(projected[0], conv_weight_, conv_bias_, reverse_, call);
  const auto parts = xBC.split_with_sizes({inner, shared, shared}, 1);
  const auto [y, ssm_state] =
      ops::ssd({.x = parts[0].unflatten(1, {heads, config_.headdim}),
                .dt = projected[1],
                .A = at::neg(at::exp(a_log_)),
                .B = parts[1].unflatten(1, {config_.ngroups, config_.d_state}),
                .C = parts[2].unflatten(1, {config_.ngroups, config_.d_state}),
                .D = d_,
                .dt_bias = dt_bias_,
                .offsets = call.offsets,
                .initial_state = before ? ops::OptionalTensor(before->ssm) : std::nullopt,
                .dt_min = config_.dt_limit_min,
                .dt_max = std::isinf(config_.dt_limit_max) ? std::nullopt : std::optional(config_.dt_limit_max),
                .want_final_state = call.want_state,
                .reverse = reverse_});
  at::Tensor out = gate(y.flatten(1), project(input, z_at, inner));
  if (aside > 0) {
    out = at::cat({at::mul(at::silu(project(input, 0, aside)), project(input, aside, aside)), out}, 1);
  }
  LayerState after;
  if (call.want_state) after = Mamba2State{conv_state, ssm_state};
  return {ops::linear(out, out_proj_, out_bias_), after};
}

}  // namespace dnamamba::model
