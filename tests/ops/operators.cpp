#include "tests/ops/operators.h"

#include <ATen/ops/from_blob.h>

#include <cstdlib>
#include <stdexcept>
#include <string>
#include <string_view>

#include "core/base/error.h"
#include "core/ops/add_rms_norm.h"
#include "core/ops/causal_conv1d.h"
#include "core/ops/cuda_module.h"
#include "core/ops/embed_tokens.h"
#include "core/ops/gated_rms_norm.h"
#include "core/ops/selective_scan.h"
#include "core/ops/ssd.h"
#include "core/ops/token_loss.h"
#include "tests/support/tensors.h"

namespace dnamamba::test {
namespace {

using ops::OptionalTensor;
using Inputs = Operator::Inputs;
using Answer = Operator::Answer;

std::int64_t tokens_of(const Setting& setting) {
  return setting.offsets.back();
}
std::int64_t sequences_of(const Setting& setting) {
  return static_cast<std::int64_t>(setting.offsets.size()) - 1;
}

OptionalTensor optional(const std::vector<at::Tensor>& tensors, std::size_t i) {
  return i < tensors.size() ? OptionalTensor(tensors[i]) : std::nullopt;
}

}  // namespace

at::Tensor int64_tensor(const std::vector<std::int64_t>& values) {
  return at::from_blob(const_cast<std::int64_t*>(values.data()), {static_cast<std::int64_t>(values.size())}, at::kLong)
      .clone();
}

Operator selective_scan(const Setting& setting, bool full, bool reverse) {
  RandomTensors random(setting.seed);
  const std::int64_t tokens = tokens_of(setting), channels = setting.channels, states = channels < 10 ? 3 : 16;
  const auto normal = [&](at::IntArrayRef shape) { return random.normal(shape, setting.dtype); };
  Operator op;
  op.name = base::concat("selective_scan", full ? ", full" : ", bare", reverse ? ", reverse" : "");
  op.inputs.rows = {normal({tokens, channels}), normal({tokens, channels}).sub(1), normal({tokens, states}),
                    normal({tokens, states})};
  op.inputs.parameters = {normal({channels, states}).mul(0.5).exp().neg()};
  if (full) {
    op.inputs.rows.push_back(normal({tokens, channels}));
    op.inputs.parameters.push_back(normal({channels}));
    op.inputs.parameters.push_back(normal({channels}));
    op.inputs.state = normal({sequences_of(setting), channels, states});
  }
  op.offsets = setting.offsets;
  op.reverse = reverse;
  op.call = [reverse](const Inputs& in, const at::Tensor& offsets) {
    const auto [y, state] = ops::selective_scan({.x = in.rows[0],
                                                 .delta = in.rows[1],
                                                 .A = in.parameters[0],
                                                 .B = in.rows[2],
                                                 .C = in.rows[3],
                                                 .D = optional(in.parameters, 1),
                                                 .z = optional(in.rows, 4),
                                                 .delta_bias = optional(in.parameters, 2),
                                                 .offsets = ops::or_absent(offsets),
                                                 .initial_state = ops::or_absent(in.state),
                                                 .want_final_state = true,
                                                 .reverse = reverse});
    return Answer{{y}, state};
  };
  return op;
}

Operator ssd(const Setting& setting, bool full, bool reverse) {
  RandomTensors random(setting.seed);
  const std::int64_t tokens = tokens_of(setting), states = setting.channels < 10 ? 3 : 16;
  const std::int64_t heads = setting.channels % 2 == 0 ? 2 : 1, head_dim = setting.channels / heads;
  const std::int64_t groups = full ? heads : 1;
  const auto normal = [&](at::IntArrayRef shape) { return random.normal(shape, setting.dtype); };
  Operator op;
  op.name = base::concat("ssd", full ? ", full" : ", bare", reverse ? ", reverse" : "");
  op.inputs.rows = {normal({tokens, heads, head_dim}), normal({tokens, heads}).sub(1), normal({tokens, groups, states}),
                    normal({tokens, groups, states})};
  op.inputs.parameters = {normal({heads}).mul(0.5).exp().neg()};
  if (full) {
    op.inputs.parameters.push_back(heads == 2 ? normal({heads, head_dim}) : normal({heads}));
    op.inputs.parameters.push_back(normal({heads}));
    op.inputs.state = normal({sequences_of(setting), heads, head_dim, states});
  }
  op.offsets = setting.offsets;
  op.reverse = reverse;
  op.call = [full, reverse](const Inputs& in, const at::Tensor& offsets) {
    const auto [y, state] = ops::ssd({.x = in.rows[0],
                                      .dt = in.rows[1],
                                      .A = in.parameters[0],
                                      .B = in.rows[2],
                                      .C = in.rows[3],
                                      .D = optional(in.parameters, 1),
                                      .dt_bias = optional(in.parameters, 2),
                                      .offsets = ops::or_absent(offsets),
                                      .initial_state = ops::or_absent(in.state),
                                      .dt_min = full ? 0.1 : 0,
                                      .dt_max = full ? std::optional(0.8) : std::nullopt,
                                      .want_final_state = true,
                                      .reverse = reverse});
    return Answer{{y}, state};
  };
  return op;
}

Operator causal_conv1d(const Setting& setting, std::int64_t width, bool full, bool reverse) {
  RandomTensors random(setting.seed);
  const std::int64_t tokens = tokens_of(setting), channels = setting.channels;
  Operator op;
  op.name = base::concat("causal_conv1d, width ", width, full ? ", full" : ", bare", reverse ? ", reverse" : "");
  op.inputs.rows = {random.normal({tokens, channels}, setting.dtype)};
  op.inputs.parameters = {random.normal({channels, width}, setting.dtype)};
  if (full) {
    op.inputs.parameters.push_back(random.normal({channels}, setting.dtype));
    op.inputs.state = random.normal({sequences_of(setting), width - 1, channels}, setting.dtype);
  }
  op.offsets = setting.offsets;
  op.reverse = reverse;
  op.call = [full, reverse](const Inputs& in, const at::Tensor& offsets) {
    const auto [y, state] = ops::causal_conv1d({.x = in.rows[0],
                                                .weight = in.parameters[0],
                                                .bias = optional(in.parameters, 1),
                                                .offsets = ops::or_absent(offsets),
                                                .initial_state = ops::or_absent(in.state),
                                                .want_final_state = true,
                                                .silu = full,
                                                .reverse = reverse});
    return Answer{{y}, state};
  };
  return op;
}

Operator add_rms_norm(const Setting& setting, bool layer_norm, bool full) {
  RandomTensors random(setting.seed);
  const std::int64_t tokens = tokens_of(setting), channels = setting.channels;
  const auto normal = [&](at::IntArrayRef shape) { return random.normal(shape, setting.dtype); };
  Operator op;
  op.name = std::string(layer_norm ? "layer norm" : "add_rms_norm") + (full ? ", full" : ", bare");
  op.inputs.rows = {normal({tokens, channels})};
  op.inputs.parameters = {normal({channels})};
  if (full) {
    op.inputs.rows.push_back(normal({tokens, channels}));
    op.inputs.parameters.push_back(normal({channels}));
  }
  op.offsets = setting.offsets;
  // A large epsilon: with one channel, the norm of a value would otherwise hardly depend on it.
  op.call = [layer_norm](const Inputs& in, const at::Tensor&) {
    const auto [y, residual] = ops::add_rms_norm({.x = in.rows[0],
                                                  .residual = optional(in.rows, 1),
                                                  .weight = in.parameters[0],
                                                  .bias = optional(in.parameters, 1),
                                                  .epsilon = 0.1,
                                                  .layer_norm = layer_norm});
    return Answer{{y, residual}, {}};
  };
  return op;
}

Operator gated_rms_norm(const Setting& setting, bool norm_before_gate) {
  RandomTensors random(setting.seed);
  const std::int64_t tokens = tokens_of(setting), channels = setting.channels;
  Operator op;
  op.name = std::string("gated_rms_norm") + (norm_before_gate ? ", norm before gate" : "");
  op.inputs.rows = {random.normal({tokens, channels}, setting.dtype), random.normal({tokens, channels}, setting.dtype)};
  op.inputs.parameters = {random.normal({channels}, setting.dtype)};
  op.offsets = setting.offsets;
  op.call = [norm_before_gate, groups = channels % 2 == 0 ? 2 : 1](const Inputs& in, const at::Tensor&) {
    return Answer{{ops::gated_rms_norm({.x = in.rows[0],
                                        .z = in.rows[1],
                                        .weight = in.parameters[0],
                                        .groups = groups,
                                        .epsilon = 0.1,
                                        .norm_before_gate = norm_before_gate})},
                  {}};
  };
  return op;
}

Operator token_loss(const Setting& setting, bool weighted) {
  RandomTensors random(setting.seed);
  const std::int64_t tokens = tokens_of(setting), vocabulary = 11;
  Operator op;
  op.name = std::string("token_loss") + (weighted ? ", weighted" : "");
  op.inputs.rows = {random.normal({tokens, setting.channels}, setting.dtype)};
  op.inputs.parameters = {random.normal({vocabulary, setting.channels}, setting.dtype, 0.3)};
  op.inputs.fixed_rows = {random.ids(tokens, vocabulary)};
  if (weighted) op.inputs.fixed_rows.push_back(random.ids(tokens, 3).to(at::kFloat).mul(0.7));  // 0, 0.7, 1.4
  op.offsets = setting.offsets;
  op.call = [](const Inputs& in, const at::Tensor&) {
    return Answer{{ops::token_loss({.hidden = in.rows[0],
                                    .weight = in.parameters[0],
                                    .targets = in.fixed_rows[0],
                                    .token_weights = optional(in.fixed_rows, 1)})},
                  {}};
  };
  return op;
}

Operator embed_tokens(const Setting& setting) {
  RandomTensors random(setting.seed);
  Operator op;
  op.name = "embed_tokens";
  op.inputs.parameters = {random.normal({7, setting.channels}, setting.dtype)};
  op.inputs.fixed_rows = {random.ids(tokens_of(setting), 7)};
  op.offsets = setting.offsets;
  op.call = [](const Inputs& in, const at::Tensor&) {
    return Answer{{ops::embed_tokens(in.fixed_rows[0], in.parameters[0])}, {}};
  };
  return op;
}

std::vector<Operator> all_operators(const Setting& setting) {
  return {selective_scan(setting, true, false),
          selective_scan(setting, false, false),
          selective_scan(setting, true, true),
          ssd(setting, true, false),
          ssd(setting, false, false),
          ssd(setting, true, true),
          causal_conv1d(setting, 4, true, false),
          causal_conv1d(setting, 2, false, false),
          causal_conv1d(setting, 4, true, true),
          causal_conv1d(setting, 1, true, false),
          causal_conv1d(setting, 7, true, false),
          add_rms_norm(setting, false, true),
          add_rms_norm(setting, false, false),
          add_rms_norm(setting, true, true),
          gated_rms_norm(setting, false),
          gated_rms_norm(setting, true),
          token_loss(setting, true),
          token_loss(setting, false),
          embed_tokens(setting)};
}

std::vector<Operator> operators_of_gpus(const Setting& setting) {
  std::vector<Operator> operators = all_operators(setting);
  std::erase_if(operators,
                [](const Operator& op) { return op.name.starts_with("ssd") || op.name.starts_with("gated"); });
  return operators;
}

at::Device tested_device() {
  const char* const name = std::getenv("DNAMAMBA_TEST_DEVICE");
  if (name == nullptr || std::string_view(name) != "cuda") return at::kCPU;
  if (!ops::why_no_cuda().empty()) throw std::runtime_error(ops::why_no_cuda());
  return {at::kCUDA, 0};
}

Operator placed(const Operator& op, at::Device device, at::ScalarType dtype, at::ScalarType values_of) {
  Operator there = op;
  const at::ScalarType wide = ops::wide_dtype(dtype), wide_values = ops::wide_dtype(values_of);
  for (at::Tensor& rows : there.inputs.rows) rows = rows.to(values_of).to(device, dtype);
  for (at::Tensor& rows : there.inputs.fixed_rows) rows = rows.to(device);
  for (at::Tensor& parameter : there.inputs.parameters) parameter = parameter.to(wide_values).to(device, wide);
  if (there.inputs.state.defined()) there.inputs.state = there.inputs.state.to(wide_values).to(device, wide);
  return there;
}

std::vector<Operator> every_operator(const Setting& setting) {
  const at::Device device = tested_device();
  if (device.is_cpu()) return all_operators(setting);
  std::vector<Operator> operators = operators_of_gpus(setting);
  for (Operator& op : operators) op = placed(op, device, setting.dtype, setting.dtype);
  return operators;
}

}  // namespace dnamamba::test
