#include "core/model/foreign_config.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>
#include <tuple>

#include "core/base/error.h"
#include "core/model/json_reader.h"

namespace dnamamba::model {
namespace {

using base::concat;
using nlohmann::json;

constexpr std::int64_t kLargest = 1 << 20;  // what is multiplied or rounded up stays far from overflow

std::int64_t size_from(JsonReader& reader, const std::string& key, std::int64_t fallback, std::int64_t least = 1) {
  const auto value = reader.get(key, fallback);
  if (value < least || value > kLargest)
    throw base::Error(concat(reader.where(), ": ", key, " = ", value, " is not between ", least, " and ", kLargest));
  return value;
}

std::int64_t round_up(std::int64_t value, std::int64_t multiple) {
  return (value + multiple - 1) / multiple * multiple;
}

// "auto" or a number, as both ecosystems write it.
std::int64_t dt_rank_from(JsonReader& reader, const std::string& key, std::int64_t d_model) {
  if (reader.has(key) && reader.raw(key).is_number_integer()) return reader.get<std::int64_t>(key);
  const auto text = reader.get<std::string>(key, "auto");
  if (text != "auto") throw base::Error(reader.where() + ": " + key + " is \"" + text + "\", not \"auto\" or a number");
  return (d_model + 15) / 16;
}

bool is_random(const std::string& scheme, const std::string& where) {
  if (scheme != "random" && scheme != "constant")
    throw base::Error(where + ": initialisation scheme \"" + scheme + "\" is not random or constant");
  return scheme == "random";
}

void repeat_layer(ModelConfig& config, const LayerConfig& layer, std::int64_t count) {
  if (count < 1 || count > 100'000) throw base::Error(concat("config.json: ", count, " layers make no sense"));
  for (std::int64_t i = 0; i < count; ++i) {
    config.layers.push_back(layer);
    config.layers.back().weights = i;
  }
}

// Where JSON has no infinity and the other side no word for it, the largest float stands for no limit.
constexpr double kNoLimit = std::numeric_limits<float>::max();

void read_dt_limit(JsonReader& reader, const std::string& key, Mamba2Config& mixer) {
  if (!reader.has(key)) return reader.ignore(key);
  std::tie(mixer.dt_limit_min, mixer.dt_limit_max) = reader.range(key);
  if (mixer.dt_limit_max >= kNoLimit) mixer.dt_limit_max = std::numeric_limits<double>::infinity();
}

json dt_limit_of(const Mamba2Config& mixer) {
  return json::array({mixer.dt_limit_min, std::min(mixer.dt_limit_max, kNoLimit)});
}

Mamba1Config mamba_ssm_mamba1(JsonReader& reader, std::int64_t d_model) {
  Mamba1Config mixer;
  mixer.d_state = reader.get("d_state", mixer.d_state);
  mixer.d_conv = reader.get("d_conv", mixer.d_conv);
  mixer.d_inner = size_from(reader, "expand", 2) * d_model;
  mixer.dt_rank = dt_rank_from(reader, "dt_rank", d_model);
  mixer.dt_min = reader.get("dt_min", mixer.dt_min);
  mixer.dt_max = reader.get("dt_max", mixer.dt_max);
  mixer.dt_init_random = is_random(reader.get<std::string>("dt_init", "random"), reader.where());
  mixer.dt_scale = reader.get("dt_scale", mixer.dt_scale);
  mixer.dt_init_floor = reader.get("dt_init_floor", mixer.dt_init_floor);
  mixer.conv_bias = reader.get("conv_bias", mixer.conv_bias);
  mixer.bias = reader.get("bias", mixer.bias);
  reader.ignore("use_fast_path");  // which kernel computes it, not what
  return mixer;
}

Mamba2Config mamba_ssm_mamba2(JsonReader& reader, std::int64_t d_model) {
  Mamba2Config mixer;
  mixer.d_state = reader.get("d_state", mixer.d_state);
  mixer.d_conv = reader.get("d_conv", mixer.d_conv);
  if (reader.has("conv_init")) mixer.conv_init = reader.get<double>("conv_init");
  reader.ignore("conv_init");
  mixer.d_inner = size_from(reader, "expand", 2) * d_model;
  mixer.headdim = reader.get("headdim", mixer.headdim);
  mixer.d_ssm = reader.get("d_ssm", mixer.d_inner);
  mixer.ngroups = reader.get("ngroups", mixer.ngroups);
  if (reader.has("A_init_range")) std::tie(mixer.A_init_min, mixer.A_init_max) = reader.range("A_init_range");
  reader.ignore("A_init_range");
  mixer.D_has_hdim = reader.get("D_has_hdim", mixer.D_has_hdim);
  mixer.rmsnorm = reader.get("rmsnorm", mixer.rmsnorm);
  mixer.norm_before_gate = reader.get("norm_before_gate", mixer.norm_before_gate);
  mixer.dt_min = reader.get("dt_min", mixer.dt_min);
  mixer.dt_max = reader.get("dt_max", mixer.dt_max);
  mixer.dt_init_floor = reader.get("dt_init_floor", mixer.dt_init_floor);
  read_dt_limit(reader, "dt_limit", mixer);
  mixer.bias = reader.get("bias", mixer.bias);
  mixer.conv_bias = reader.get("conv_bias", mixer.conv_bias);
  for (const char* how : {"chunk_size", "use_mem_eff_path"}) reader.ignore(how);  // how it is computed, not what
  return mixer;
}

// ssm_cfg of mamba-ssm: the arguments of its block.
MixerConfig mamba_ssm_mixer(const json& ssm_cfg, std::int64_t d_model) {
  JsonReader reader(ssm_cfg, "config.json: ssm_cfg");
  const auto layer = reader.get<std::string>("layer", "Mamba1");
  if (layer != "Mamba1" && layer != "Mamba2")
    throw base::Error("config.json: ssm_cfg.layer is " + layer + "; this version supports Mamba1 and Mamba2");
  const MixerConfig mixer = layer == "Mamba1" ? MixerConfig(mamba_ssm_mamba1(reader, d_model))
                                              : MixerConfig(mamba_ssm_mamba2(reader, d_model));
  reader.refuse_unknown();
  return mixer;
}

ModelConfig from_mamba_ssm(const json& object) {
  JsonReader reader(object, "config.json");
  ModelConfig config;
  config.d_model = size_from(reader, "d_model", 2560);
  const auto multiple = size_from(reader, "pad_vocab_size_multiple", 8);
  config.vocabulary = round_up(size_from(reader, "vocab_size", 50277), multiple);
  const json empty = json::object();
  LayerConfig layer;
  layer.mixer = mamba_ssm_mixer(reader.has("ssm_cfg") ? reader.raw("ssm_cfg") : empty, config.d_model);
  reader.ignore("ssm_cfg");
  const auto hidden = size_from(reader, "d_intermediate", 0, /*least=*/0);
  if (hidden > 0) layer.mlp = MlpConfig{round_up(hidden, 128)};
  if (reader.has("attn_layer_idx") && !reader.raw("attn_layer_idx").empty())
    throw base::Error("config.json: attn_layer_idx names attention layers, which this version does not support");
  reader.ignore("attn_layer_idx");
  reader.ignore("attn_cfg");  // only read for the layers of attn_layer_idx
  config.final_norm = layer.norm = reader.get("rms_norm", true) ? NormKind::kRms : NormKind::kLayer;
  config.residual = reader.get("residual_in_fp32", true) ? ResidualType::kFloat32 : ResidualType::kActivation;
  config.fused_add_norm = reader.get("fused_add_norm", true);
  config.tie_embeddings = reader.get("tie_embeddings", true);
  repeat_layer(config, layer, reader.get("n_layer", std::int64_t{64}));
  reader.refuse_unknown();
  return config;
}

// What Transformers writes about itself, about generation and about training: none of it changes the forward pass.
constexpr const char* kTransformersBookkeeping[] = {"_name_or_path",
                                                    "architectures",
                                                    "auto_map",
                                                    "bos_token_id",
                                                    "cls_token_id",
                                                    "sep_token_id",
                                                    "dtype",
                                                    "torch_dtype",
                                                    "eos_token_id",
                                                    "pad_token_id",
                                                    "unk_token_id",
                                                    "initializer_range",
                                                    "rescale_prenorm_residual",
                                                    "transformers_version",
                                                    "use_associative_scan",
                                                    "use_cache",
                                                    "use_mambapy",
                                                    "model_type",
                                                    "return_dict",
                                                    "output_hidden_states",
                                                    "output_attentions",
                                                    "torchscript",
                                                    "is_encoder_decoder",
                                                    "id2label",
                                                    "label2id",
                                                    "problem_type",
                                                    "finetuning_task",
                                                    "task_specific_params",
                                                    "tokenizer_class",
                                                    "prefix",
                                                    "chunk_size_feed_forward",
                                                    "name_or_path",
                                                    "is_decoder",
                                                    "vocab_size_padded_to"};

Mamba1Config transformers_mamba1(JsonReader& reader, std::int64_t d_model) {
  Mamba1Config mixer;
  mixer.d_state = reader.get("state_size", mixer.d_state);
  mixer.d_inner = size_from(reader, "expand", 2) * d_model;
  if (const auto inner = reader.get("intermediate_size", mixer.d_inner); inner != mixer.d_inner)
    throw base::Error(
        concat("config.json: intermediate_size = ", inner, " is not expand * hidden_size = ", mixer.d_inner));
  mixer.dt_rank = dt_rank_from(reader, "time_step_rank", d_model);
  mixer.dt_scale = reader.get("time_step_scale", mixer.dt_scale);
  mixer.dt_init_random = is_random(reader.get<std::string>("time_step_init_scheme", "random"), reader.where());
  return mixer;
}

Mamba2Config transformers_mamba2(JsonReader& reader, std::int64_t d_model) {
  Mamba2Config mixer;
  mixer.d_state = reader.get("state_size", mixer.d_state);
  mixer.d_inner = mixer.d_ssm = size_from(reader, "expand", 2) * d_model;
  mixer.headdim = size_from(reader, "head_dim", mixer.headdim);
  mixer.ngroups = size_from(reader, "n_groups", 8);
  if (const auto heads = size_from(reader, "num_heads", 128); heads * mixer.headdim != mixer.d_inner)
    throw base::Error(concat("config.json: num_heads * head_dim = ", heads * mixer.headdim,
                             " is not expand * hidden_size = ", mixer.d_inner));
  read_dt_limit(reader, "time_step_limit", mixer);
  if (!reader.get("rms_norm", true)) throw base::Error("config.json: rms_norm false is not supported");
  // time_step_rank is Mamba-1's, chunk_size says how and not what; Transformers reads no norm_before_gate: its gate is
  // always first.
  for (const char* key : {"time_step_rank", "chunk_size", "norm_before_gate"}) reader.ignore(key);
  return mixer;
}

ModelConfig from_transformers(const json& object) {
  JsonReader reader(object, "config.json");
  const bool mamba2 = object.at("model_type") == "mamba2";
  ModelConfig config;
  config.d_model = size_from(reader, "hidden_size", mamba2 ? 4096 : 768);
  config.vocabulary = size_from(reader, "vocab_size", mamba2 ? 32768 : 50280);
  LayerConfig layer;
  layer.mixer = mamba2 ? MixerConfig(transformers_mamba2(reader, config.d_model))
                       : MixerConfig(transformers_mamba1(reader, config.d_model));
  const auto read_shared = [&](auto& mixer) {
    mixer.d_conv = reader.get("conv_kernel", mixer.d_conv);
    mixer.dt_min = reader.get("time_step_min", mixer.dt_min);
    mixer.dt_max = reader.get("time_step_max", mixer.dt_max);
    mixer.dt_init_floor = reader.get("time_step_floor", mixer.dt_init_floor);
    mixer.bias = reader.get("use_bias", mixer.bias);
    mixer.conv_bias = reader.get("use_conv_bias", mixer.conv_bias);
  };
  std::visit(read_shared, layer.mixer);
  if (const auto act = reader.get<std::string>("hidden_act", "silu"); act != "silu" && act != "swish")
    throw base::Error("config.json: hidden_act \"" + act + "\" is not supported (silu is)");
  config.norm_epsilon = reader.get("layer_norm_epsilon", config.norm_epsilon);
  config.residual = reader.get("residual_in_fp32", true) ? ResidualType::kFloat32 : ResidualType::kActivation;
  config.fused_add_norm = false;
  config.tie_embeddings = reader.get("tie_word_embeddings", !mamba2);
  repeat_layer(config, layer, reader.get("num_hidden_layers", std::int64_t{mamba2 ? 64 : 32}));
  for (const char* key : kTransformersBookkeeping) reader.ignore(key);
  reader.refuse_unknown();
  return config;
}

// The one layer that all layers equal, apart from their numbers, or an error: the foreign formats know no other models.
const LayerConfig& uniform_layer(const ModelConfig& config, const std::string& target) {
  const LayerConfig& first = config.layers.front();
  for (std::size_t i = 0; i < config.layers.size(); ++i) {
    LayerConfig layer = config.layers[i];
    if (layer.weights != static_cast<std::int64_t>(i))
      throw base::Error(target + " can't express layers that share weights");
    layer.weights = first.weights;
    if (layer != first) throw base::Error(concat(target, " can't express layers that differ (0 and ", i, ")"));
  }
  if (first.direction != Direction::kForward) throw base::Error(target + " can't express reverse layers");
  if (first.norm != config.final_norm) throw base::Error(target + " can't express two kinds of norm");
  return first;
}

std::int64_t expand_of(const auto& mixer, const ModelConfig& config, const std::string& target) {
  if (mixer.d_inner % config.d_model != 0)
    throw base::Error(
        concat(target, " can't express d_inner = ", mixer.d_inner, ", not a multiple of d_model = ", config.d_model));
  return mixer.d_inner / config.d_model;
}

json ssm_cfg_of(const Mamba1Config& mixer, const ModelConfig& config) {
  return {{"layer", "Mamba1"},
          {"d_state", mixer.d_state},
          {"d_conv", mixer.d_conv},
          {"expand", expand_of(mixer, config, "mamba-ssm")},
          {"dt_rank", mixer.dt_rank},
          {"dt_min", mixer.dt_min},
          {"dt_max", mixer.dt_max},
          {"dt_init", mixer.dt_init_random ? "random" : "constant"},
          {"dt_scale", mixer.dt_scale},
          {"dt_init_floor", mixer.dt_init_floor},
          {"conv_bias", mixer.conv_bias},
          {"bias", mixer.bias}};
}

json ssm_cfg_of(const Mamba2Config& mixer, const ModelConfig& config) {
  return {{"layer", "Mamba2"},
          {"d_state", mixer.d_state},
          {"d_conv", mixer.d_conv},
          {"conv_init", mixer.conv_init ? json(*mixer.conv_init) : json()},
          {"expand", expand_of(mixer, config, "mamba-ssm")},
          {"headdim", mixer.headdim},
          {"d_ssm", mixer.d_ssm},
          {"ngroups", mixer.ngroups},
          {"A_init_range", {mixer.A_init_min, mixer.A_init_max}},
          {"D_has_hdim", mixer.D_has_hdim},
          {"rmsnorm", mixer.rmsnorm},
          {"norm_before_gate", mixer.norm_before_gate},
          {"dt_min", mixer.dt_min},
          {"dt_max", mixer.dt_max},
          {"dt_init_floor", mixer.dt_init_floor},
          {"dt_limit", dt_limit_of(mixer)},
          {"bias", mixer.bias},
          {"conv_bias", mixer.conv_bias}};
}

json transformers_mixer(const Mamba1Config& mixer) {
  return {
      {"architectures", {"MambaForCausalLM"}}, {"model_type", "mamba"},
      {"intermediate_size", mixer.d_inner},    {"time_step_rank", mixer.dt_rank},
      {"time_step_scale", mixer.dt_scale},     {"time_step_init_scheme", mixer.dt_init_random ? "random" : "constant"}};
}

json transformers_mixer(const Mamba2Config& mixer) {
  const auto refuse = [](bool there, const char* what) {
    if (there) throw base::Error(std::string("Transformers' Mamba-2 can't express ") + what);
  };
  refuse(mixer.d_ssm != mixer.d_inner, "d_ssm other than expand * d_model");
  refuse(mixer.D_has_hdim, "D_has_hdim");
  refuse(!mixer.rmsnorm, "a block without rmsnorm");
  refuse(mixer.norm_before_gate, "norm_before_gate");
  return {{"architectures", {"Mamba2ForCausalLM"}},
          {"model_type", "mamba2"},
          {"num_heads", mixer.heads()},
          {"head_dim", mixer.headdim},
          {"n_groups", mixer.ngroups},
          {"time_step_limit", dt_limit_of(mixer)}};
}

// A bare Infinity outside of strings, from `at` on.
std::size_t find_infinity(const std::string& text, std::size_t at) {
  bool quoted = false;
  for (; at < text.size(); ++at) {
    if (text[at] == '"') quoted = !quoted;
    if (quoted && text[at] == '\\') ++at;
    if (!quoted && text.compare(at, 8, "Infinity") == 0) return at;
  }
  return std::string::npos;
}

}  // namespace

json parse_config(const std::string& text) {
  std::string plain = text;
  const std::string infinity = R"({"__float__": "Infinity"})";
  for (std::size_t at = find_infinity(plain, 0); at != std::string::npos;
       at = find_infinity(plain, at + infinity.size()))
    plain.replace(at, 8, infinity);
  return json::parse(plain);
}

FolderKind recognise_config(const json& object) {
  if (!object.is_object()) throw base::Error("config.json is not a JSON object");
  if (object.contains("format")) return FolderKind::kDnamamba;
  if (object.contains("model_type")) {
    const std::string type = object.at("model_type").is_string() ? object.at("model_type").get<std::string>() : "?";
    if (type == "mamba" || type == "mamba2") return FolderKind::kTransformers;
    throw base::Error("config.json: model_type \"" + type + "\" is not supported by this version (mamba, mamba2 are)");
  }
  if (object.contains("d_model") && (object.contains("n_layer") || object.contains("ssm_cfg")))
    return FolderKind::kMambaSsm;
  throw base::Error("config.json is not one of dnamamba, mamba-ssm or Transformers (model_type mamba, mamba2)");
}

ModelConfig any_config_from_json(const json& object) {
  ModelConfig config;
  switch (recognise_config(object)) {
    case FolderKind::kDnamamba:
      return config_from_json(object);
    case FolderKind::kMambaSsm:
      config = from_mamba_ssm(object);
      break;
    case FolderKind::kTransformers:
      config = from_transformers(object);
      break;
  }
  validate(config);
  return config;
}

json to_mamba_ssm_json(const ModelConfig& config) {
  const LayerConfig& layer = uniform_layer(config, "mamba-ssm");
  if (layer.mlp && layer.mlp->d_hidden % 128 != 0)
    throw base::Error(concat("mamba-ssm can't express an MLP of ", layer.mlp->d_hidden, ", not a multiple of 128"));
  if (config.norm_epsilon != 1e-5) throw base::Error("mamba-ssm can't express a norm epsilon other than 1e-5");
  return {{"d_model", config.d_model},
          {"d_intermediate", layer.mlp ? layer.mlp->d_hidden : 0},
          {"n_layer", config.layers.size()},
          {"vocab_size", config.vocabulary},
          {"ssm_cfg", std::visit([&](const auto& mixer) { return ssm_cfg_of(mixer, config); }, layer.mixer)},
          {"attn_layer_idx", json::array()},
          {"attn_cfg", json::object()},
          {"rms_norm", config.final_norm == NormKind::kRms},
          {"residual_in_fp32", config.residual == ResidualType::kFloat32},
          {"fused_add_norm", config.fused_add_norm},
          {"pad_vocab_size_multiple", config.vocabulary % 8 == 0 ? 8 : 1},
          {"tie_embeddings", config.tie_embeddings}};
}

json to_transformers_json(const ModelConfig& config) {
  const LayerConfig& layer = uniform_layer(config, "Transformers");
  if (layer.mlp) throw base::Error("Transformers' Mamba can't express an MLP");
  if (config.final_norm != NormKind::kRms) throw base::Error("Transformers' Mamba can't express LayerNorm");
  json object = {{"hidden_size", config.d_model},
                 {"num_hidden_layers", config.layers.size()},
                 {"hidden_act", "silu"},
                 {"layer_norm_epsilon", config.norm_epsilon},
                 {"residual_in_fp32", config.residual == ResidualType::kFloat32},
                 {"tie_word_embeddings", config.tie_embeddings},
                 {"vocab_size", config.vocabulary},
                 {"dtype", "float32"}};
  const auto add_mixer = [&](const auto& mixer) {
    object.update(transformers_mixer(mixer));
    object.update(json{{"state_size", mixer.d_state},
                       {"conv_kernel", mixer.d_conv},
                       {"expand", expand_of(mixer, config, "Transformers")},
                       {"time_step_min", mixer.dt_min},
                       {"time_step_max", mixer.dt_max},
                       {"time_step_floor", mixer.dt_init_floor},
                       {"use_bias", mixer.bias},
                       {"use_conv_bias", mixer.conv_bias}});
  };
  std::visit(add_mixer, layer.mixer);
  return object;
}

}  // namespace dnamamba::model
