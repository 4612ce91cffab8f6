#include "core/model/config.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <tuple>

#include "core/base/error.h"
#include "core/model/json_reader.h"

namespace dnamamba::model {
namespace {

using base::concat;
using nlohmann::json;

constexpr std::int64_t kLargestWidth = 1 << 20;

NormKind norm_from(const std::string& text, const std::string& where) {
  if (text == "rms_norm") return NormKind::kRms;
  if (text == "layer_norm") return NormKind::kLayer;
  throw base::Error(where + ": norm \"" + text + "\" is not rms_norm or layer_norm");
}

std::string to_text(NormKind kind) {
  return kind == NormKind::kRms ? "rms_norm" : "layer_norm";
}

Mamba1Config mamba1_from_json(const json& object, const std::string& where) {
  JsonReader reader(object, where);
  reader.ignore("type");
  Mamba1Config config;
  config.d_inner = reader.get<std::int64_t>("d_inner");
  config.d_state = reader.get<std::int64_t>("d_state");
  config.d_conv = reader.get<std::int64_t>("d_conv");
  config.dt_rank = reader.get<std::int64_t>("dt_rank");
  config.bias = reader.get<bool>("bias");
  config.conv_bias = reader.get<bool>("conv_bias");
  config.dt_min = reader.get<double>("dt_min");
  config.dt_max = reader.get<double>("dt_max");
  config.dt_init_floor = reader.get<double>("dt_init_floor");
  config.dt_scale = reader.get<double>("dt_scale");
  config.dt_init_random = reader.get<bool>("dt_init_random");
  reader.refuse_unknown();
  return config;
}

json to_json(const Mamba1Config& config) {
  return {{"type", "mamba1"},
          {"d_inner", config.d_inner},
          {"d_state", config.d_state},
          {"d_conv", config.d_conv},
          {"dt_rank", config.dt_rank},
          {"bias", config.bias},
          {"conv_bias", config.conv_bias},
          {"dt_min", config.dt_min},
          {"dt_max", config.dt_max},
          {"dt_init_floor", config.dt_init_floor},
          {"dt_scale", config.dt_scale},
          {"dt_init_random", config.dt_init_random}};
}

json range_to_json(double first, double last) {
  return json::array({first, std::isinf(last) ? json() : json(last)});
}

Mamba2Config mamba2_from_json(const json& object, const std::string& where) {
  JsonReader reader(object, where);
  reader.ignore("type");
  Mamba2Config config;
  config.d_inner = reader.get<std::int64_t>("d_inner");
  config.d_ssm = reader.get<std::int64_t>("d_ssm");
  config.headdim = reader.get<std::int64_t>("headdim");
  config.d_state = reader.get<std::int64_t>("d_state");
  config.ngroups = reader.get<std::int64_t>("ngroups");
  config.d_conv = reader.get<std::int64_t>("d_conv");
  config.bias = reader.get<bool>("bias");
  config.conv_bias = reader.get<bool>("conv_bias");
  config.D_has_hdim = reader.get<bool>("D_has_hdim");
  config.rmsnorm = reader.get<bool>("rmsnorm");
  config.norm_before_gate = reader.get<bool>("norm_before_gate");
  std::tie(config.dt_limit_min, config.dt_limit_max) = reader.range("dt_limit");
  config.dt_min = reader.get<double>("dt_min");
  config.dt_max = reader.get<double>("dt_max");
  config.dt_init_floor = reader.get<double>("dt_init_floor");
  std::tie(config.A_init_min, config.A_init_max) = reader.range("A_init_range");
  if (!reader.raw("conv_init").is_null()) config.conv_init = reader.get<double>("conv_init");
  reader.refuse_unknown();
  return config;
}

json to_json(const Mamba2Config& config) {
  return {{"type", "mamba2"},
          {"d_inner", config.d_inner},
          {"d_ssm", config.d_ssm},
          {"headdim", config.headdim},
          {"d_state", config.d_state},
          {"ngroups", config.ngroups},
          {"d_conv", config.d_conv},
          {"bias", config.bias},
          {"conv_bias", config.conv_bias},
          {"D_has_hdim", config.D_has_hdim},
          {"rmsnorm", config.rmsnorm},
          {"norm_before_gate", config.norm_before_gate},
          {"dt_limit", range_to_json(config.dt_limit_min, config.dt_limit_max)},
          {"dt_min", config.dt_min},
          {"dt_max", config.dt_max},
          {"dt_init_floor", config.dt_init_floor},
          {"A_init_range", range_to_json(config.A_init_min, config.A_init_max)},
          {"conv_init", config.conv_init ? json(*config.conv_init) : json()}};
}

MixerConfig mixer_from_json(const json& object, const std::string& where) {
  const auto type = JsonReader(object, where).get<std::string>("type");
  if (type == "mamba1") return mamba1_from_json(object, where);
  if (type == "mamba2") return mamba2_from_json(object, where);
  throw base::Error(where + ": mixer type \"" + type + "\" is not supported by this version (mamba1, mamba2 are)");
}

LayerConfig layer_from_json(const json& object, const std::string& where) {
  JsonReader reader(object, where);
  LayerConfig layer;
  layer.mixer = mixer_from_json(reader.raw("mixer"), where + ".mixer");
  if (const json& mlp = reader.raw("mlp"); !mlp.is_null()) {
    JsonReader mlp_reader(mlp, where + ".mlp");
    layer.mlp = MlpConfig{mlp_reader.get<std::int64_t>("d_hidden")};
    mlp_reader.refuse_unknown();
  }
  layer.norm = norm_from(reader.get<std::string>("norm"), where);
  const auto direction = reader.get<std::string>("direction");
  if (direction != "forward" && direction != "reverse")
    throw base::Error(where + ": direction \"" + direction + "\" is not forward or reverse");
  layer.direction = direction == "forward" ? Direction::kForward : Direction::kReverse;
  layer.weights = reader.get<std::int64_t>("weights");
  reader.refuse_unknown();
  return layer;
}

json to_json(const LayerConfig& layer) {
  return {{"mixer", std::visit([](const auto& mixer) { return to_json(mixer); }, layer.mixer)},
          {"mlp", layer.mlp ? json{{"d_hidden", layer.mlp->d_hidden}} : json()},
          {"norm", to_text(layer.norm)},
          {"direction", layer.direction == Direction::kForward ? "forward" : "reverse"},
          {"weights", layer.weights}};
}

void require(bool condition, const std::string& message) {
  if (!condition) throw base::Error("model config: " + message);
}

void require_size(const std::string& name, std::int64_t value, std::int64_t largest = kLargestWidth) {
  require(value >= 1 && value <= largest, concat(name, " = ", value, " is not between 1 and ", largest));
}

void validate_mixer(const Mamba1Config& mixer) {
  require_size("d_inner", mixer.d_inner);
  require_size("d_state", mixer.d_state, 256);
  require_size("d_conv", mixer.d_conv, 64);
  require_size("dt_rank", mixer.dt_rank);
  require(mixer.dt_min > 0 && mixer.dt_max >= mixer.dt_min && mixer.dt_init_floor > 0 && mixer.dt_scale > 0,
          "dt_min, dt_max, dt_init_floor and dt_scale must be positive and dt_max at least dt_min");
}

void validate_mixer(const Mamba2Config& mixer) {
  require_size("d_inner", mixer.d_inner);
  require_size("d_ssm", mixer.d_ssm, mixer.d_inner);
  require_size("headdim", mixer.headdim, 256);
  require(mixer.d_ssm % mixer.headdim == 0,
          concat("headdim = ", mixer.headdim, " does not divide d_ssm = ", mixer.d_ssm));
  require_size("d_state", mixer.d_state, 256);
  require_size("ngroups", mixer.ngroups);
  require(mixer.heads() % mixer.ngroups == 0,
          concat("ngroups = ", mixer.ngroups, " does not divide the ", mixer.heads(), " heads"));
  require_size("d_conv", mixer.d_conv, 64);
  require(mixer.dt_limit_min >= 0 && mixer.dt_limit_max >= mixer.dt_limit_min,
          "dt_limit must be two numbers from 0, the second at least the first");
  require(mixer.dt_min > 0 && mixer.dt_max >= mixer.dt_min && mixer.dt_init_floor > 0,
          "dt_min, dt_max and dt_init_floor must be positive and dt_max at least dt_min");
  require(mixer.A_init_min > 0 && mixer.A_init_max >= mixer.A_init_min && std::isfinite(mixer.A_init_max),
          "A_init_range must be two positive numbers, the second at least the first");
  require(!mixer.conv_init || (*mixer.conv_init >= 0 && std::isfinite(*mixer.conv_init)),
          "conv_init can't be negative");
}

ModelConfig equal_layers(std::int64_t d_model, std::int64_t layers, const MixerConfig& mixer) {
  ModelConfig config;
  config.d_model = d_model;
  for (std::int64_t i = 0; i < layers; ++i) {
    LayerConfig layer;
    layer.mixer = mixer;
    layer.weights = i;
    config.layers.push_back(layer);
  }
  validate(config);
  return config;
}

std::string describe_mixer(const Mamba1Config& mixer) {
  return concat(mixer.d_inner, " channels, ", mixer.d_state, " states");
}
std::string describe_mixer(const Mamba2Config& mixer) {
  return concat(mixer.d_inner, " channels, ", mixer.heads(), mixer.heads() == 1 ? " head" : " heads", " of ",
                mixer.headdim, ", ", mixer.d_state, " states");
}

}  // namespace

ModelConfig mamba1_config(std::int64_t d_model, std::int64_t layers, std::int64_t d_state, std::int64_t expand) {
  return equal_layers(d_model, layers,
                      Mamba1Config{.d_inner = expand * d_model, .d_state = d_state, .dt_rank = (d_model + 15) / 16});
}

ModelConfig mamba2_config(std::int64_t d_model, std::int64_t layers, std::int64_t d_state, std::int64_t expand,
                          std::int64_t headdim) {
  const std::int64_t inner = expand * d_model;
  return equal_layers(d_model, layers,
                      Mamba2Config{.d_inner = inner, .d_ssm = inner, .headdim = headdim, .d_state = d_state});
}

void validate(const ModelConfig& config) {
  require_size("vocabulary", config.vocabulary, 256);
  require_size("d_model", config.d_model);
  require(!config.layers.empty(), "there are no layers");
  require(config.norm_epsilon > 0 && std::isfinite(config.norm_epsilon), "norm_epsilon must be positive");
  std::vector<const LayerConfig*> first;  // with these weights, which are numbered in the order of their first use
  for (const LayerConfig& layer : config.layers) {
    const auto next = static_cast<std::int64_t>(first.size());
    std::visit([](const auto& mixer) { validate_mixer(mixer); }, layer.mixer);
    if (layer.mlp) require_size("mlp.d_hidden", layer.mlp->d_hidden);
    require(layer.weights >= 0 && layer.weights <= next,
            concat("weights = ", layer.weights, " skips a number; the next new one is ", next));
    if (layer.weights == next) first.push_back(&layer);
    const LayerConfig& other = *first[layer.weights];
    require(layer.mixer == other.mixer && layer.mlp == other.mlp && layer.norm == other.norm,
            concat("layers that share weights ", layer.weights, " differ"));
  }
}

ModelConfig config_from_json(const json& object) {
  JsonReader reader(object, "config.json");
  if (reader.get<std::string>("format") != "dnamamba") throw base::Error("config.json: format is not dnamamba");
  if (const auto version = reader.get<std::int64_t>("version"); version != 1)
    throw base::Error(concat("config.json: version ", version, " is newer than this program reads (1)"));
  ModelConfig config;
  config.vocabulary = reader.get<std::int64_t>("vocabulary");
  config.d_model = reader.get<std::int64_t>("d_model");
  config.final_norm = norm_from(reader.get<std::string>("final_norm"), "config.json");
  config.norm_epsilon = reader.get<double>("norm_epsilon");
  const auto residual = reader.get<std::string>("residual");
  if (residual != "float32" && residual != "activation")
    throw base::Error("config.json: residual \"" + residual + "\" is not float32 or activation");
  config.residual = residual == "float32" ? ResidualType::kFloat32 : ResidualType::kActivation;
  config.fused_add_norm = reader.get<bool>("fused_add_norm");
  config.tie_embeddings = reader.get<bool>("tie_embeddings");
  const json& layers = reader.raw("layers");
  if (!layers.is_array()) throw base::Error("config.json: layers is not a list");
  for (std::size_t i = 0; i < layers.size(); ++i)
    config.layers.push_back(layer_from_json(layers[i], concat("config.json: layers[", i, "]")));
  reader.refuse_unknown();
  validate(config);
  return config;
}

json config_to_json(const ModelConfig& config) {
  json layers = json::array();
  for (const LayerConfig& layer : config.layers) layers.push_back(to_json(layer));
  return {{"format", "dnamamba"},
          {"version", 1},
          {"vocabulary", config.vocabulary},
          {"d_model", config.d_model},
          {"final_norm", to_text(config.final_norm)},
          {"norm_epsilon", config.norm_epsilon},
          {"residual", config.residual == ResidualType::kFloat32 ? "float32" : "activation"},
          {"fused_add_norm", config.fused_add_norm},
          {"tie_embeddings", config.tie_embeddings},
          {"layers", layers}};
}

std::string describe(const ModelConfig& config) {
  const auto& first = config.layers.front();
  const bool same = std::ranges::all_of(
      config.layers, [&](const LayerConfig& layer) { return layer.mixer.index() == first.mixer.index(); });
  const char* const name = !same ? "Mamba-1 and Mamba-2" : first.mixer.index() == 0 ? "Mamba-1" : "Mamba-2";
  return concat(name, ", ", config.layers.size(), config.layers.size() == 1 ? " layer" : " layers", " of ",
                config.d_model, ", ", std::visit([](const auto& mixer) { return describe_mixer(mixer); }, first.mixer),
                first.mlp ? concat(", MLP ", first.mlp->d_hidden) : std::string(), ", vocabulary ", config.vocabulary);
}

}  // namespace dnamamba::model
