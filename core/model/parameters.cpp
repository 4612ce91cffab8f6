#include "core/model/parameters.h"

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <ATen/ops/isfinite.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/zeros.h>

#include <cmath>
#include <set>

#include "core/base/error.h"

namespace dnamamba::model {
namespace {

using base::concat;

class SpecList {
 public:
  explicit SpecList(const ModelConfig& config) : config_(config) {}

  void add(const std::string& name, std::vector<std::int64_t> shape, Init init, double scale, bool decays) {
    specs_.push_back({name, std::move(shape), init, scale, decays});
  }

  void add_norm(const std::string& name, NormKind kind) {
    add(name + ".weight", {config_.d_model}, Init::kOnes, 0, false);
    if (kind == NormKind::kLayer) add(name + ".bias", {config_.d_model}, Init::kZeros, 0, false);
  }

  void add_mixer(const std::string& prefix, const Mamba1Config& mixer) {
    const std::int64_t inner = mixer.d_inner, rank = mixer.dt_rank;
    const double residuals = std::sqrt(static_cast<double>(config_.layers.size()));
    add(prefix + "in_proj.weight", {2 * inner, config_.d_model}, Init::kUniform, bound(config_.d_model), true);
    if (mixer.bias) add(prefix + "in_proj.bias", {2 * inner}, Init::kZeros, 0, false);
    add(prefix + "conv1d.weight", {inner, 1, mixer.d_conv}, Init::kUniform, bound(mixer.d_conv), true);
    if (mixer.conv_bias) add(prefix + "conv1d.bias", {inner}, Init::kUniform, bound(mixer.d_conv), false);
    add(prefix + "x_proj.weight", {rank + 2 * mixer.d_state, inner}, Init::kUniform, bound(inner), true);
    add(prefix + "dt_proj.weight", {inner, rank}, mixer.dt_init_random ? Init::kUniform : Init::kConstant,
        bound(rank) * mixer.dt_scale, true);
    add(prefix + "dt_proj.bias", {inner}, Init::kDtBias, 0, false);
    add(prefix + "A_log", {inner, mixer.d_state}, Init::kLogRange, 0, false);
    add(prefix + "D", {inner}, Init::kOnes, 0, false);
    add(prefix + "out_proj.weight", {config_.d_model, inner}, Init::kUniform, bound(inner) / residuals, true);
    if (mixer.bias) add(prefix + "out_proj.bias", {config_.d_model}, Init::kZeros, 0, false);
  }

  void add_mixer(const std::string& prefix, const Mamba2Config& mixer) {
    const std::int64_t inner = mixer.d_inner, heads = mixer.heads(), convolved = mixer.conv_channels();
    const std::int64_t projected = 2 * mixer.gated_only() + mixer.d_ssm + convolved + heads;
    const double residuals = std::sqrt(static_cast<double>(config_.layers.size()));
    add(prefix + "in_proj.weight", {projected, config_.d_model}, Init::kUniform, bound(config_.d_model), true);
    if (mixer.bias) add(prefix + "in_proj.bias", {projected}, Init::kZeros, 0, false);
    add(prefix + "conv1d.weight", {convolved, 1, mixer.d_conv}, Init::kUniform,
        mixer.conv_init.value_or(bound(mixer.d_conv)), true);
    if (mixer.conv_bias) add(prefix + "conv1d.bias", {convolved}, Init::kUniform, bound(mixer.d_conv), false);
    add(prefix + "dt_bias", {heads}, Init::kDtBias, 0, false);
    add(prefix + "A_log", {heads}, Init::kLogUniform, 0, false);
    add(prefix + "D", {mixer.D_has_hdim ? mixer.d_ssm : heads}, Init::kOnes, 0, false);
    if (mixer.rmsnorm) add(prefix + "norm.weight", {mixer.d_ssm}, Init::kOnes, 0, false);
    add(prefix + "out_proj.weight", {config_.d_model, inner}, Init::kUniform, bound(inner) / residuals, true);
    if (mixer.bias) add(prefix + "out_proj.bias", {config_.d_model}, Init::kZeros, 0, false);
  }

  void add_layer(const std::string& prefix, const LayerConfig& layer) {
    add_norm(prefix + "norm", layer.norm);
    std::visit([&](const auto& mixer) { add_mixer(prefix + "mixer.", mixer); }, layer.mixer);
    if (!layer.mlp) return;
    const std::int64_t hidden = layer.mlp->d_hidden;
    add_norm(prefix + "norm2", layer.norm);
    add(prefix + "mlp.fc1.weight", {2 * hidden, config_.d_model}, Init::kUniform, bound(config_.d_model), true);
    add(prefix + "mlp.fc2.weight", {config_.d_model, hidden}, Init::kUniform,
        bound(hidden) / std::sqrt(static_cast<double>(config_.layers.size())), true);
  }

  std::vector<ParameterSpec> take() { return std::move(specs_); }

  // PyTorch's default for a linear layer or convolution of this fan-in.
  static double bound(std::int64_t fan_in) { return 1.0 / std::sqrt(static_cast<double>(fan_in)); }

 private:
  const ModelConfig& config_;
  std::vector<ParameterSpec> specs_;
};

const MixerConfig& mixer_of(const ModelConfig& config, const std::string& name) {
  // "backbone.layers.<weights>.mixer.…": the first layer with these weights has them.
  const auto number = std::stoll(name.substr(std::string("backbone.layers.").size()));
  for (const LayerConfig& layer : config.layers)
    if (layer.weights == number) return layer.mixer;
  throw base::Error("no layer has the parameter " + name);
}

at::Tensor initial_dt_bias(const ParameterSpec& spec, const auto& mixer, const at::Generator& generator) {
  const double low = std::log(mixer.dt_min), high = std::log(mixer.dt_max);
  at::Tensor dt = at::empty(spec.shape, at::kDouble);
  dt.uniform_(0, 1, generator).mul_(high - low).add_(low).exp_().clamp_min_(mixer.dt_init_floor);
  return dt.add(dt.neg().expm1().neg().log()).to(at::kFloat);  // softplus(bias) = dt
}

at::Tensor initialise(const ModelConfig& config, const ParameterSpec& spec, const at::Generator& generator) {
  switch (spec.init) {
    case Init::kOnes:
      return at::ones(spec.shape, at::kFloat);
    case Init::kZeros:
      return at::zeros(spec.shape, at::kFloat);
    case Init::kNormal:
      return at::empty(spec.shape, at::kFloat).normal_(0, spec.scale, generator);
    case Init::kUniform:
      return at::empty(spec.shape, at::kFloat).uniform_(-spec.scale, spec.scale, generator);
    case Init::kConstant:
      return at::full(spec.shape, spec.scale, at::kFloat);
    case Init::kLogRange:
      return at::arange(1, spec.shape[1] + 1, at::kDouble).log().to(at::kFloat).expand(spec.shape).contiguous();
    case Init::kLogUniform: {
      const auto& mixer = std::get<Mamba2Config>(mixer_of(config, spec.name));
      return at::empty(spec.shape, at::kFloat).uniform_(mixer.A_init_min, mixer.A_init_max, generator).log_();
    }
    case Init::kDtBias:
      return std::visit([&](const auto& mixer) { return initial_dt_bias(spec, mixer, generator); },
                        mixer_of(config, spec.name));
  }
  throw base::Error("unknown initialisation");
}

}  // namespace

std::vector<ParameterSpec> parameter_specs(const ModelConfig& config) {
  SpecList list(config);
  list.add("backbone.embedding.weight", {config.vocabulary, config.d_model}, Init::kNormal, 0.02, false);
  std::int64_t next = 0;
  for (const LayerConfig& layer : config.layers) {
    if (layer.weights != next) continue;  // shared with an earlier layer
    list.add_layer(concat("backbone.layers.", layer.weights, "."), layer);
    ++next;
  }
  list.add_norm("backbone.norm_f", config.final_norm);
  if (!config.tie_embeddings)
    list.add("lm_head.weight", {config.vocabulary, config.d_model}, Init::kUniform, SpecList::bound(config.d_model),
             true);
  return list.take();
}

Parameters initialise_parameters(const ModelConfig& config, std::uint64_t seed) {
  const at::Generator generator = at::detail::createCPUGenerator(seed);
  Parameters parameters;
  for (const ParameterSpec& spec : parameter_specs(config))
    parameters.emplace(spec.name, initialise(config, spec, generator));
  return parameters;
}

void check_parameters(const ModelConfig& config, const Parameters& parameters, const std::string& where) {
  std::set<std::string> known;
  for (const ParameterSpec& spec : parameter_specs(config)) {
    known.insert(spec.name);
    const auto found = parameters.find(spec.name);
    if (found == parameters.end()) throw base::Error(concat(where, ": tensor ", spec.name, " is missing"));
    const at::Tensor& tensor = found->second;
    if (tensor.sizes() != at::IntArrayRef(spec.shape))
      throw base::Error(concat(where, ": tensor ", spec.name, " has shape ", tensor.sizes(), "; the config asks for ",
                               at::IntArrayRef(spec.shape)));
    if (!at::isfinite(tensor).all().item<bool>())
      throw base::Error(concat(where, ": tensor ", spec.name, " holds a NaN or an infinity"));
  }
  for (const auto& [name, tensor] : parameters)
    if (!known.contains(name)) throw base::Error(concat(where, ": tensor ", name, " is unknown to this config"));
}

std::int64_t count_parameters(const ModelConfig& config) {
  std::int64_t count = 0;
  for (const ParameterSpec& spec : parameter_specs(config)) {
    std::int64_t size = 1;
    for (const std::int64_t extent : spec.shape) size *= extent;
    count += size;
  }
  return count;
}

void round_weights_of_products(Parameters& parameters, at::ScalarType dtype) {
  for (auto& [name, parameter] : parameters) {
    if (name.ends_with("_proj.weight")) parameter = parameter.to(dtype);
  }
}

}  // namespace dnamamba::model
