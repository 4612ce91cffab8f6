#include "core/model/config.h"

#include <cmath>
#include <nlohmann/json.hpp>

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
  if (const auto type = reader.get<std::string>("type"); type != "mamba1")
    throw base::Error(where + ": mixer type \"" + type + "\" is not supported by this version (mamba1 is)");
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

LayerConfig layer_from_json(const json& object, const std::string& where) {
  JsonReader reader(object, where);
  LayerConfig layer;
  layer.mixer = mamba1_from_json(reader.raw("mixer"), where + ".mixer");
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

}  // namespace

ModelConfig mamba1_config(std::int64_t d_model, std::int64_t layers, std::int64_t d_state, std::int64_t expand) {
  ModelConfig config;
  config.d_model = d_model;
  for (std::int64_t i = 0; i < layers; ++i) {
    LayerConfig layer;
    layer.mixer = Mamba1Config{.d_inner = expand * d_model, .d_state = d_state, .dt_rank = (d_model + 15) / 16};
    layer.weights = i;
    config.layers.push_back(layer);
  }
  validate(config);
  return config;
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
  const auto& mixer = std::get<Mamba1Config>(first.mixer);
  return concat("Mamba-1, ", config.layers.size(), config.layers.size() == 1 ? " layer" : " layers", " of ",
                config.d_model, ", ", mixer.d_inner, " channels, ", mixer.d_state, " states",
                first.mlp ? concat(", MLP ", first.mlp->d_hidden) : std::string(), ", vocabulary ", config.vocabulary);
}

}  // namespace dnamamba::model
