// Every option of the three kinds of config.json is honoured or refused by name.
#include "core/model/config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "core/base/error.h"
#include "core/model/foreign_config.h"
#include "core/model/parameters.h"
#include "tests/support/models.h"
#include "tests/support/throws.h"

namespace dnamamba::model {
namespace {

using nlohmann::json;
using test::error_text;
using ::testing::HasSubstr;
using Shape = std::vector<std::int64_t>;

const Shape kAbsent = {-1};

json mamba_ssm() {
  return json::parse(
      R"({"d_model": 32, "d_intermediate": 0, "n_layer": 2, "vocab_size": 12, "ssm_cfg": {"layer": "Mamba1"},
    "attn_layer_idx": [], "attn_cfg": {}, "rms_norm": true, "residual_in_fp32": true, "fused_add_norm": true,
    "pad_vocab_size_multiple": 8, "tie_embeddings": true})");
}

json transformers() {
  return json::parse(
      R"({"architectures": ["MambaForCausalLM"], "model_type": "mamba", "hidden_size": 32, "state_size": 16,
    "num_hidden_layers": 2, "conv_kernel": 4, "expand": 2, "intermediate_size": 64, "time_step_rank": 2, "time_step_min": 0.001,
    "time_step_max": 0.1, "time_step_floor": 0.0001, "time_step_scale": 1.0, "time_step_init_scheme": "random",
    "use_bias": false, "use_conv_bias": true, "hidden_act": "silu", "layer_norm_epsilon": 1e-05, "residual_in_fp32": true,
    "tie_word_embeddings": true, "vocab_size": 16, "use_cache": true, "transformers_version": "5.23.0"})");
}

json mamba_ssm_mamba2() {
  json object = mamba_ssm();
  object["ssm_cfg"] = {{"layer", "Mamba2"}, {"d_state", 16}, {"headdim", 16}};
  return object;
}

json transformers_mamba2() {
  return parse_config(
      R"({"architectures": ["Mamba2ForCausalLM"], "model_type": "mamba2", "hidden_size": 32, "state_size": 16, "n_groups": 2,
    "num_heads": 4, "head_dim": 16, "num_hidden_layers": 2, "conv_kernel": 4, "expand": 2, "chunk_size": 256, "time_step_rank": 2,
    "time_step_min": 0.001, "time_step_max": 0.1, "time_step_floor": 0.0001, "time_step_limit": [0.0, Infinity],
    "use_bias": false, "use_conv_bias": true, "hidden_act": "silu", "layer_norm_epsilon": 1e-05, "residual_in_fp32": true,
    "rms_norm": true, "norm_before_gate": true, "tie_word_embeddings": false, "vocab_size": 16})");
}

const Mamba1Config& mixer_of(const ModelConfig& config) {
  return std::get<Mamba1Config>(config.layers.back().mixer);
}

const Mamba2Config& mamba2_of(const ModelConfig& config) {
  return std::get<Mamba2Config>(config.layers.back().mixer);
}

// The shape of a tensor of the last of two layers, or of the model.
Shape shape_of(const ModelConfig& config, const std::string& name) {
  for (const ParameterSpec& spec : parameter_specs(config))
    if (spec.name == name || spec.name == "backbone.layers.1." + name) return spec.shape;
  return kAbsent;
}

// The config that is read after `change`; it must also survive our own format.
template <typename Change>
ModelConfig changed(json object, Change change) {
  change(object);
  const ModelConfig config = any_config_from_json(object);
  EXPECT_EQ(config_from_json(config_to_json(config)), config);
  return config;
}

template <typename Change>
std::string refusal(json object, Change change) {
  EXPECT_NO_THROW(any_config_from_json(object));
  change(object);
  return error_text<base::Error>([&] { any_config_from_json(object); });
}

TEST(MambaSsmConfig, IsReadWithItsDefaults) {
  const ModelConfig config = any_config_from_json(json{{"d_model", 32}, {"n_layer", 2}, {"vocab_size", 12}});
  EXPECT_EQ(config, any_config_from_json(mamba_ssm()));
  EXPECT_EQ(shape_of(config, "backbone.embedding.weight"), (Shape{16, 32}));
  EXPECT_EQ(shape_of(config, "mixer.in_proj.weight"), (Shape{128, 32}));
  EXPECT_EQ(shape_of(config, "mixer.x_proj.weight"), (Shape{2 + 32, 64}));
  EXPECT_EQ(shape_of(config, "mixer.conv1d.weight"), (Shape{64, 1, 4}));
  EXPECT_EQ(shape_of(config, "lm_head.weight"), kAbsent);
  EXPECT_EQ(config.norm_epsilon, 1e-5);
}

TEST(MambaSsmConfig, EveryOptionOfTheModelChangesWhatIsBuilt) {
  const json base = mamba_ssm();
  EXPECT_EQ(shape_of(changed(base, [](json& j) { j["d_model"] = 40; }), "mixer.out_proj.weight"), (Shape{40, 80}));
  EXPECT_EQ(changed(base, [](json& j) { j["n_layer"] = 5; }).layers.size(), 5U);
  EXPECT_EQ(changed(base, [](json& j) { j["vocab_size"] = 17; }).vocabulary, 24);
  EXPECT_EQ(changed(base, [](json& j) { j["pad_vocab_size_multiple"] = 1; }).vocabulary, 12);
  EXPECT_EQ(changed(base, [](json& j) { j["pad_vocab_size_multiple"] = 64; }).vocabulary, 64);
  const ModelConfig mlp = changed(base, [](json& j) { j["d_intermediate"] = 48; });  // rounded up to 128
  EXPECT_EQ(shape_of(mlp, "mlp.fc1.weight"), (Shape{256, 32}));
  EXPECT_EQ(shape_of(mlp, "mlp.fc2.weight"), (Shape{32, 128}));
  EXPECT_EQ(shape_of(mlp, "norm2.weight"), (Shape{32}));
  const ModelConfig layer_norm = changed(base, [](json& j) { j["rms_norm"] = false; });
  EXPECT_EQ(shape_of(layer_norm, "norm.bias"), (Shape{32}));
  EXPECT_EQ(shape_of(layer_norm, "backbone.norm_f.bias"), (Shape{32}));
  EXPECT_EQ(shape_of(changed(base, [](json& j) { j["tie_embeddings"] = false; }), "lm_head.weight"), (Shape{16, 32}));
  EXPECT_EQ(changed(base, [](json& j) { j["residual_in_fp32"] = false; }).residual, ResidualType::kActivation);
  EXPECT_FALSE(changed(base, [](json& j) { j["fused_add_norm"] = false; }).fused_add_norm);
}

TEST(MambaSsmConfig, EveryOptionOfTheMixerChangesWhatIsBuilt) {
  const auto with = [](const char* key, const json& value) {
    return changed(mamba_ssm(), [&](json& j) { j["ssm_cfg"][key] = value; });
  };
  EXPECT_EQ(shape_of(with("d_state", 5), "mixer.A_log"), (Shape{64, 5}));
  EXPECT_EQ(shape_of(with("d_state", 5), "mixer.x_proj.weight"), (Shape{12, 64}));
  EXPECT_EQ(shape_of(with("d_conv", 3), "mixer.conv1d.weight"), (Shape{64, 1, 3}));
  EXPECT_EQ(shape_of(with("expand", 3), "mixer.in_proj.weight"), (Shape{192, 32}));
  EXPECT_EQ(shape_of(with("dt_rank", 7), "mixer.dt_proj.weight"), (Shape{64, 7}));
  EXPECT_EQ(shape_of(with("dt_rank", "auto"), "mixer.dt_proj.weight"), (Shape{64, 2}));
  EXPECT_EQ(shape_of(with("bias", true), "mixer.in_proj.bias"), (Shape{128}));
  EXPECT_EQ(shape_of(with("bias", true), "mixer.out_proj.bias"), (Shape{32}));
  EXPECT_EQ(shape_of(with("conv_bias", false), "mixer.conv1d.bias"), kAbsent);
  EXPECT_EQ(mixer_of(with("dt_min", 0.002)).dt_min, 0.002);
  EXPECT_EQ(mixer_of(with("dt_max", 0.2)).dt_max, 0.2);
  EXPECT_EQ(mixer_of(with("dt_scale", 2)).dt_scale, 2);
  EXPECT_EQ(mixer_of(with("dt_init_floor", 0.01)).dt_init_floor, 0.01);
  EXPECT_FALSE(mixer_of(with("dt_init", "constant")).dt_init_random);
  EXPECT_EQ(with("use_fast_path", false), any_config_from_json(mamba_ssm()));
}

TEST(MambaSsmConfig, WhatItCantHonourIsRefusedByName) {
  const json base = mamba_ssm();
  EXPECT_THAT(refusal(base, [](json& j) { j["window"] = 5; }), HasSubstr("window"));
  EXPECT_THAT(refusal(base, [](json& j) { j["ssm_cfg"]["headdim"] = 64; }), HasSubstr("headdim"));
  EXPECT_THAT(refusal(base, [](json& j) { j["ssm_cfg"]["layer"] = "Mamba3"; }), HasSubstr("Mamba3"));
  EXPECT_THAT(refusal(base, [](json& j) { j["attn_layer_idx"] = {1}; }), HasSubstr("attn_layer_idx"));
  EXPECT_THAT(refusal(base, [](json& j) { j["ssm_cfg"]["dt_init"] = "zero"; }), HasSubstr("zero"));
  EXPECT_THAT(refusal(base, [](json& j) { j["ssm_cfg"]["dt_rank"] = "most"; }), HasSubstr("dt_rank"));
  EXPECT_THAT(refusal(base, [](json& j) { j["ssm_cfg"] = 3; }), HasSubstr("ssm_cfg"));
  EXPECT_THAT(refusal(base, [](json& j) { j["ssm_cfg"]["d_state"] = "16"; }), HasSubstr("d_state"));
  EXPECT_THAT(refusal(base, [](json& j) { j["ssm_cfg"]["d_state"] = 257; }), HasSubstr("d_state"));
  EXPECT_THAT(refusal(base, [](json& j) { j["ssm_cfg"]["expand"] = 1.5; }), HasSubstr("expand"));
  EXPECT_THAT(refusal(base, [](json& j) { j["rms_norm"] = 1; }), HasSubstr("rms_norm"));
  EXPECT_THAT(refusal(base, [](json& j) { j["n_layer"] = 0; }), HasSubstr("0 layers"));
  EXPECT_THAT(refusal(base, [](json& j) { j["vocab_size"] = 50277; }), HasSubstr("vocabulary"));
  EXPECT_THAT(refusal(base, [](json& j) { j["pad_vocab_size_multiple"] = 0; }), HasSubstr("pad_vocab_size_multiple"));
  EXPECT_THAT(refusal(base, [](json& j) { j["d_intermediate"] = -1; }), HasSubstr("d_intermediate"));
  for (const char* key : {"d_model", "vocab_size", "pad_vocab_size_multiple", "d_intermediate"})
    EXPECT_THAT(refusal(base, [&](json& j) { j[key] = INT64_MAX; }), HasSubstr(key));
  EXPECT_THAT(refusal(base, [](json& j) { j["ssm_cfg"]["expand"] = INT64_MAX; }), HasSubstr("expand"));
}

TEST(MambaSsmMamba2Config, IsReadWithItsDefaults) {
  const ModelConfig config = any_config_from_json(
      json{{"d_model", 128}, {"n_layer", 2}, {"vocab_size", 12}, {"ssm_cfg", {{"layer", "Mamba2"}}}});
  ModelConfig expected = mamba2_config(128, 2);
  EXPECT_EQ(config, expected);
  EXPECT_EQ(shape_of(config, "mixer.in_proj.weight"), (Shape{2 * 256 + 2 * 128 + 4, 128}));
  EXPECT_EQ(shape_of(config, "mixer.conv1d.weight"), (Shape{256 + 2 * 128, 1, 4}));
  EXPECT_EQ(shape_of(config, "mixer.A_log"), (Shape{4}));
  EXPECT_EQ(shape_of(config, "mixer.D"), (Shape{4}));
  EXPECT_EQ(shape_of(config, "mixer.dt_bias"), (Shape{4}));
  EXPECT_EQ(shape_of(config, "mixer.norm.weight"), (Shape{256}));
  EXPECT_EQ(shape_of(config, "mixer.x_proj.weight"), kAbsent);
}

TEST(MambaSsmMamba2Config, EveryOptionChangesWhatIsBuilt) {
  const auto with = [](const char* key, const json& value) {
    return changed(mamba_ssm_mamba2(), [&](json& j) { j["ssm_cfg"][key] = value; });
  };
  EXPECT_EQ(shape_of(with("d_state", 5), "mixer.in_proj.weight"), (Shape{2 * 64 + 2 * 5 + 4, 32}));
  EXPECT_EQ(shape_of(with("headdim", 32), "mixer.A_log"), (Shape{2}));
  EXPECT_EQ(shape_of(with("ngroups", 4), "mixer.conv1d.weight"), (Shape{64 + 2 * 4 * 16, 1, 4}));
  EXPECT_EQ(shape_of(with("d_conv", 3), "mixer.conv1d.weight"), (Shape{64 + 32, 1, 3}));
  EXPECT_EQ(shape_of(with("expand", 3), "mixer.out_proj.weight"), (Shape{32, 96}));
  const ModelConfig part = with("d_ssm", 48);
  EXPECT_EQ(shape_of(part, "mixer.in_proj.weight"), (Shape{2 * 64 + 2 * 16 + 3, 32}));
  EXPECT_EQ(shape_of(part, "mixer.conv1d.bias"), (Shape{48 + 32}));
  EXPECT_EQ(shape_of(part, "mixer.norm.weight"), (Shape{48}));
  EXPECT_EQ(shape_of(part, "mixer.out_proj.weight"), (Shape{32, 64}));
  EXPECT_EQ(shape_of(with("D_has_hdim", true), "mixer.D"), (Shape{64}));
  EXPECT_EQ(shape_of(with("rmsnorm", false), "mixer.norm.weight"), kAbsent);
  EXPECT_TRUE(mamba2_of(with("norm_before_gate", true)).norm_before_gate);
  EXPECT_EQ(shape_of(with("bias", true), "mixer.in_proj.bias"), (Shape{2 * 64 + 2 * 16 + 4}));
  EXPECT_EQ(shape_of(with("bias", true), "mixer.out_proj.bias"), (Shape{32}));
  EXPECT_EQ(shape_of(with("conv_bias", false), "mixer.conv1d.bias"), kAbsent);
  EXPECT_EQ(mamba2_of(with("conv_init", 0.3)).conv_init, 0.3);
  EXPECT_EQ(mamba2_of(with("A_init_range", {2, 3})).A_init_max, 3);
  EXPECT_EQ(mamba2_of(with("dt_min", 0.002)).dt_min, 0.002);
  EXPECT_EQ(mamba2_of(with("dt_max", 0.2)).dt_max, 0.2);
  EXPECT_EQ(mamba2_of(with("dt_init_floor", 0.01)).dt_init_floor, 0.01);
  const Mamba2Config limited = mamba2_of(with("dt_limit", {0.01, 0.5}));
  EXPECT_EQ(limited.dt_limit_min, 0.01);
  EXPECT_EQ(limited.dt_limit_max, 0.5);
  const ModelConfig base = any_config_from_json(mamba_ssm_mamba2());
  EXPECT_EQ(with("dt_limit", {0, nullptr}), base);
  EXPECT_EQ(with("chunk_size", 64), base);
  EXPECT_EQ(with("use_mem_eff_path", false), base);
}

TEST(MambaSsmMamba2Config, WhatMakesNoSenseIsRefusedByName) {
  const auto refused = [](const char* key, const json& value) {
    return refusal(mamba_ssm_mamba2(), [&](json& j) { j["ssm_cfg"][key] = value; });
  };
  EXPECT_THAT(refused("headdim", 17), HasSubstr("headdim = 17 does not divide"));
  EXPECT_THAT(refused("headdim", 0), HasSubstr("headdim"));
  EXPECT_THAT(refused("ngroups", 3), HasSubstr("ngroups = 3 does not divide"));
  EXPECT_THAT(refused("d_ssm", 80), HasSubstr("d_ssm = 80"));
  EXPECT_THAT(refused("d_state", 257), HasSubstr("d_state"));
  EXPECT_THAT(refused("dt_rank", 4), HasSubstr("dt_rank"));
  EXPECT_THAT(refused("dt_limit", {0.5, 0.1}), HasSubstr("dt_limit"));
  EXPECT_THAT(refused("dt_limit", {0.5}), HasSubstr("dt_limit"));
  EXPECT_THAT(refused("dt_limit", "none"), HasSubstr("dt_limit"));
  EXPECT_THAT(refused("A_init_range", {0, 16}), HasSubstr("A_init_range"));
  EXPECT_THAT(refused("A_init_range", {1, nullptr}), HasSubstr("A_init_range"));
  EXPECT_THAT(refused("conv_init", -1.0), HasSubstr("conv_init"));
}

TEST(TransformersMamba2Config, EveryOptionChangesWhatIsBuilt) {
  const auto with = [](const char* key, const json& value) {
    return changed(transformers_mamba2(), [&](json& j) { j[key] = value; });
  };
  EXPECT_EQ(shape_of(with("state_size", 5), "mixer.in_proj.weight"), (Shape{2 * 64 + 2 * 2 * 5 + 4, 32}));
  EXPECT_EQ(shape_of(with("n_groups", 1), "mixer.conv1d.weight"), (Shape{64 + 2 * 16, 1, 4}));
  EXPECT_EQ(shape_of(with("conv_kernel", 3), "mixer.conv1d.weight"), (Shape{64 + 4 * 16, 1, 3}));
  EXPECT_EQ(shape_of(with("use_bias", true), "mixer.out_proj.bias"), (Shape{32}));
  EXPECT_EQ(shape_of(with("use_conv_bias", false), "mixer.conv1d.bias"), kAbsent);
  EXPECT_EQ(shape_of(with("tie_word_embeddings", true), "lm_head.weight"), kAbsent);
  EXPECT_EQ(with("num_hidden_layers", 3).layers.size(), 3U);
  EXPECT_EQ(with("layer_norm_epsilon", 1e-6).norm_epsilon, 1e-6);
  EXPECT_EQ(mamba2_of(with("time_step_limit", {0.01, 0.5})).dt_limit_max, 0.5);
  EXPECT_EQ(mamba2_of(with("time_step_min", 0.002)).dt_min, 0.002);
  EXPECT_EQ(mamba2_of(with("time_step_max", 0.2)).dt_max, 0.2);
  EXPECT_EQ(mamba2_of(with("time_step_floor", 0.01)).dt_init_floor, 0.01);
  const ModelConfig base = any_config_from_json(transformers_mamba2());
  EXPECT_EQ(with("time_step_limit", {0, {{"__float__", "Infinity"}}}), base);
  EXPECT_EQ(with("norm_before_gate", false), base);  // Transformers reads none: the gate is first
  EXPECT_FALSE(mamba2_of(base).norm_before_gate);
  EXPECT_EQ(shape_of(base, "lm_head.weight"), (Shape{16, 32}));
  const ModelConfig heads = changed(transformers_mamba2(), [](json& j) {
    j["num_heads"] = 8;
    j["head_dim"] = 8;
  });
  EXPECT_EQ(shape_of(heads, "mixer.A_log"), (Shape{8}));
}

TEST(TransformersMamba2Config, WhatItCantHonourIsRefusedByName) {
  const json base = transformers_mamba2();
  EXPECT_THAT(refusal(base, [](json& j) { j["num_heads"] = 3; }), HasSubstr("num_heads"));
  EXPECT_THAT(refusal(base, [](json& j) { j["rms_norm"] = false; }), HasSubstr("rms_norm"));
  EXPECT_THAT(refusal(base, [](json& j) { j["time_step_scale"] = 2; }), HasSubstr("time_step_scale"));
  EXPECT_THAT(refusal(base, [](json& j) { j["time_step_limit"] = 3; }), HasSubstr("time_step_limit"));
}

TEST(AConfigsText, MayHoldInfinityAsPythonWritesIt) {
  const json infinity = {{"__float__", "Infinity"}};
  EXPECT_EQ(parse_config(R"({"a": [0.0, Infinity], "b": Infinity})"), (json{{"a", {0.0, infinity}}, {"b", infinity}}));
  EXPECT_EQ(parse_config(R"({"to Infinity": "\"Infinity\\"})"), (json{{"to Infinity", "\"Infinity\\"}}));
  EXPECT_THROW(parse_config(R"({"a": -Infinity})"), json::exception);
  EXPECT_THROW(parse_config(R"({"a": NaN})"), json::exception);
}

TEST(TransformersConfig, EveryOptionChangesWhatIsBuilt) {
  const auto with = [](const char* key, const json& value) {
    return changed(transformers(), [&](json& j) { j[key] = value; });
  };
  EXPECT_EQ(shape_of(with("vocab_size", 19), "backbone.embedding.weight"), (Shape{19, 32}));
  EXPECT_EQ(shape_of(with("state_size", 5), "mixer.A_log"), (Shape{64, 5}));
  EXPECT_EQ(shape_of(with("conv_kernel", 3), "mixer.conv1d.weight"), (Shape{64, 1, 3}));
  EXPECT_EQ(shape_of(with("time_step_rank", 7), "mixer.dt_proj.weight"), (Shape{64, 7}));
  EXPECT_EQ(shape_of(with("use_bias", true), "mixer.out_proj.bias"), (Shape{32}));
  EXPECT_EQ(shape_of(with("use_conv_bias", false), "mixer.conv1d.bias"), kAbsent);
  EXPECT_EQ(shape_of(with("tie_word_embeddings", false), "lm_head.weight"), (Shape{16, 32}));
  EXPECT_EQ(with("num_hidden_layers", 3).layers.size(), 3U);
  EXPECT_EQ(with("layer_norm_epsilon", 1e-6).norm_epsilon, 1e-6);
  EXPECT_EQ(with("residual_in_fp32", false).residual, ResidualType::kActivation);
  EXPECT_EQ(mixer_of(with("time_step_min", 0.002)).dt_min, 0.002);
  EXPECT_EQ(mixer_of(with("time_step_max", 0.2)).dt_max, 0.2);
  EXPECT_EQ(mixer_of(with("time_step_floor", 0.01)).dt_init_floor, 0.01);
  EXPECT_EQ(mixer_of(with("time_step_scale", 2.0)).dt_scale, 2);
  EXPECT_FALSE(mixer_of(with("time_step_init_scheme", "constant")).dt_init_random);
  const ModelConfig wide = changed(transformers(), [](json& j) {
    j["expand"] = 3;
    j["intermediate_size"] = 96;
  });
  EXPECT_EQ(shape_of(wide, "mixer.in_proj.weight"), (Shape{192, 32}));
  const ModelConfig small = changed(transformers(), [](json& j) {
    j["hidden_size"] = 16;
    j.erase("intermediate_size");
  });
  EXPECT_EQ(shape_of(small, "mixer.in_proj.weight"), (Shape{64, 16}));
  EXPECT_EQ(with("hidden_act", "swish"), any_config_from_json(transformers()));
}

TEST(TransformersConfig, WhatItCantHonourIsRefusedByName) {
  const json base = transformers();
  EXPECT_THAT(refusal(base, [](json& j) { j["sliding_window"] = 5; }), HasSubstr("sliding_window"));
  EXPECT_THAT(refusal(base, [](json& j) { j["hidden_act"] = "gelu"; }), HasSubstr("gelu"));
  EXPECT_THAT(refusal(base, [](json& j) { j["model_type"] = "mamba3"; }), HasSubstr("mamba3"));
  EXPECT_THAT(refusal(base, [](json& j) { j["intermediate_size"] = 65; }), HasSubstr("intermediate_size"));
  EXPECT_THAT(refusal(base, [](json& j) { j["layer_norm_epsilon"] = 0; }), HasSubstr("norm_epsilon"));
  EXPECT_THAT(refusal(base, [](json& j) { j["use_bias"] = "no"; }), HasSubstr("use_bias"));
  EXPECT_THAT(refusal(base, [](json& j) { j["time_step_init_scheme"] = "zero"; }), HasSubstr("zero"));
}

TEST(AConfigOfAnotherKind, IsRefused) {
  for (const char* text : {"[]", "{}", R"({"model_type": 3})", R"({"hidden_size": 4})", R"({"format": "other"})"})
    EXPECT_THROW(any_config_from_json(json::parse(text)), base::Error) << text;
}

// One of our own, with all there is.
ModelConfig own(test::Mixer mixer = test::Mixer::kMamba1) {
  test::RandomTensors random(4);
  ModelConfig config = test::random_config(random, 30, mixer);
  config.layers[0].mlp = MlpConfig{12};
  config.layers.resize(1);
  return config;
}

TEST(OurConfig, IsTheSameAfterARoundTrip) {
  for (std::uint64_t seed = 0; seed < 50; ++seed) {
    test::RandomTensors random(seed);
    ModelConfig config = test::random_config(random, 30, seed % 2 == 0 ? test::Mixer::kMamba1 : test::Mixer::kMamba2);
    config.norm_epsilon = 1e-5 + static_cast<double>(seed) / 3e7;
    config.residual = random.coin() ? ResidualType::kFloat32 : ResidualType::kActivation;
    config.fused_add_norm = random.coin();
    EXPECT_EQ(config_from_json(json::parse(config_to_json(config).dump())), config);
  }
}

TEST(OurConfig, RefusesEveryKeyThatIsMissingAndAnyThatIsUnknown) {
  const std::vector<std::string> objects = {"", "/layers/0", "/layers/0/mixer", "/layers/0/mlp"};
  for (const test::Mixer mixer : {test::Mixer::kMamba1, test::Mixer::kMamba2})
    for (const std::string& place : objects) {
      const json good = config_to_json(own(mixer));
      ASSERT_NO_THROW(config_from_json(good));
      json more = good;
      more[json::json_pointer(place)]["surprise"] = 1;
      EXPECT_THAT(error_text<base::Error>([&] { config_from_json(more); }), HasSubstr("surprise")) << place;
      for (const auto& item : good[json::json_pointer(place)].items()) {
        json less = good;
        less[json::json_pointer(place)].erase(item.key());
        EXPECT_THAT(error_text<base::Error>([&] { config_from_json(less); }), HasSubstr(item.key())) << place;
        json other = good;
        other[json::json_pointer(place)][item.key()] = json::array({json::object()});
        EXPECT_THROW(config_from_json(other), base::Error) << place << "/" << item.key();
      }
    }
}

TEST(OurConfig, RefusesValuesThatMakeNoSense) {
  const auto refused = [](const char* place, const json& value) {
    json object = config_to_json(own());
    object[json::json_pointer(place)] = value;
    return error_text<base::Error>([&] { config_from_json(object); });
  };
  EXPECT_THAT(refused("/version", 2), HasSubstr("version 2"));
  EXPECT_THAT(refused("/vocabulary", 257), HasSubstr("vocabulary"));
  EXPECT_THAT(refused("/d_model", 0), HasSubstr("d_model"));
  EXPECT_THAT(refused("/final_norm", "batch_norm"), HasSubstr("batch_norm"));
  EXPECT_THAT(refused("/residual", "bfloat16"), HasSubstr("bfloat16"));
  EXPECT_THAT(refused("/layers", json::array()), HasSubstr("no layers"));
  EXPECT_THAT(refused("/layers/0/direction", "sideways"), HasSubstr("sideways"));
  EXPECT_THAT(refused("/layers/0/weights", 1), HasSubstr("weights = 1"));
  EXPECT_THAT(refused("/layers/0/mixer/type", "mamba3"), HasSubstr("mamba3"));
  EXPECT_THAT(refused("/layers/0/mixer/d_conv", 65), HasSubstr("d_conv"));
  EXPECT_THAT(refused("/layers/0/mixer/dt_min", 5.0), HasSubstr("dt_min"));
  ModelConfig shared = mamba1_config(16, 2);
  shared.layers[1].weights = 0;
  ASSERT_NO_THROW(validate(shared));
  std::get<Mamba1Config>(shared.layers[1].mixer).d_state = 4;
  EXPECT_THAT(error_text<base::Error>([&] { validate(shared); }), HasSubstr("share weights 0"));
}

TEST(ForeignConfigs, AreWrittenSoThatTheyReadBackAsTheModelThatWasWritten) {
  ModelConfig config = mamba1_config(32, 3, 8, 3);
  auto& mixer = std::get<Mamba1Config>(config.layers[0].mixer);
  mixer.bias = true;
  mixer.conv_bias = false;
  mixer.dt_max = 0.3;
  mixer.dt_init_random = false;
  mixer.d_conv = 3;
  for (LayerConfig& layer : config.layers) layer.mixer = config.layers[0].mixer;
  config.tie_embeddings = false;
  config.residual = ResidualType::kActivation;
  config.vocabulary = 13;
  EXPECT_EQ(any_config_from_json(to_mamba_ssm_json(config)), config);
  ModelConfig unfused = config;
  unfused.fused_add_norm = false;
  unfused.norm_epsilon = 1e-6;
  EXPECT_EQ(any_config_from_json(to_transformers_json(unfused)), unfused);
  for (LayerConfig& layer : config.layers) {
    layer.mlp = MlpConfig{256};
    layer.norm = NormKind::kLayer;
  }
  config.final_norm = NormKind::kLayer;
  EXPECT_EQ(any_config_from_json(to_mamba_ssm_json(config)), config);
}

TEST(ForeignConfigs, OfMamba2AreWrittenSoThatTheyReadBackAsTheModelThatWasWritten) {
  ModelConfig config = mamba2_config(32, 3, 8, 3, 16);
  Mamba2Config mixer{.d_inner = 96, .d_ssm = 64, .headdim = 16, .d_state = 8, .ngroups = 2, .d_conv = 3};
  mixer.bias = mixer.D_has_hdim = mixer.norm_before_gate = true;
  mixer.conv_bias = false;
  mixer.dt_limit_min = 0.01;
  mixer.A_init_max = 8;
  mixer.conv_init = 0.5;
  for (LayerConfig& layer : config.layers) layer.mixer = mixer;
  EXPECT_EQ(any_config_from_json(to_mamba_ssm_json(config)), config);
  EXPECT_THROW(to_transformers_json(config), base::Error);
  mixer = {.d_inner = 96, .d_ssm = 96, .headdim = 16, .d_state = 8, .ngroups = 2, .d_conv = 3};
  mixer.bias = true;
  mixer.dt_limit_max = 0.5;
  for (LayerConfig& layer : config.layers) layer.mixer = mixer;
  config.fused_add_norm = false;
  config.norm_epsilon = 1e-6;
  EXPECT_EQ(any_config_from_json(to_transformers_json(config)), config);
}

TEST(ForeignConfigs, RefuseMamba2ModelsThatTransformersCantExpress) {
  const auto refused = [](auto change) {
    ModelConfig config = mamba2_config(32, 1, 8, 2, 16);
    to_transformers_json(config);
    change(std::get<Mamba2Config>(config.layers[0].mixer));
    return error_text<base::Error>([&] { to_transformers_json(config); });
  };
  EXPECT_THAT(refused([](Mamba2Config& m) { m.d_ssm = 48; }), HasSubstr("d_ssm"));
  EXPECT_THAT(refused([](Mamba2Config& m) { m.D_has_hdim = true; }), HasSubstr("D_has_hdim"));
  EXPECT_THAT(refused([](Mamba2Config& m) { m.rmsnorm = false; }), HasSubstr("rmsnorm"));
  EXPECT_THAT(refused([](Mamba2Config& m) { m.norm_before_gate = true; }), HasSubstr("norm_before_gate"));
}

TEST(Describe, SaysWhatKindOfLayersThereAre) {
  EXPECT_THAT(describe(mamba1_config(32, 1)), HasSubstr("Mamba-1, 1 layer of 32, 64 channels, 16 states"));
  ModelConfig config = mamba2_config(64, 2);
  EXPECT_THAT(describe(config), HasSubstr("Mamba-2, 2 layers of 64, 128 channels, 2 heads of 64, 128 states"));
  config.layers[1].mixer = Mamba1Config{.d_inner = 64, .dt_rank = 4};
  EXPECT_THAT(describe(config), HasSubstr("Mamba-1 and Mamba-2"));
}

TEST(ForeignConfigs, RefuseModelsThatTheOtherSideCantExpress) {
  const auto refused = [](auto change) {
    ModelConfig config = mamba1_config(32, 2);
    change(config);
    return error_text<base::Error>([&] { to_mamba_ssm_json(config); }) + " " +
           error_text<base::Error>([&] { to_transformers_json(config); });
  };
  EXPECT_THAT(refused([](ModelConfig& c) { c.layers[1].weights = 0; }), HasSubstr("share weights"));
  EXPECT_THAT(refused([](ModelConfig& c) { std::get<Mamba1Config>(c.layers[1].mixer).d_conv = 3; }),
              HasSubstr("differ"));
  EXPECT_THAT(refused([](ModelConfig& c) { c.final_norm = NormKind::kLayer; }), HasSubstr("two kinds of norm"));
  EXPECT_THAT(refused([](ModelConfig& c) {
                for (LayerConfig& layer : c.layers) std::get<Mamba1Config>(layer.mixer).d_inner = 33;
              }),
              HasSubstr("d_inner = 33"));
  EXPECT_THAT(refused([](ModelConfig& c) {
                for (LayerConfig& layer : c.layers) layer.mlp = MlpConfig{100};
              }),
              HasSubstr("MLP"));
  ModelConfig config = mamba1_config(32, 2);
  config.norm_epsilon = 1e-6;
  EXPECT_THROW(to_mamba_ssm_json(config), base::Error);
}

}  // namespace
}  // namespace dnamamba::model
