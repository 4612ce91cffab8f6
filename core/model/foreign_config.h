// Configs of mamba-ssm and Transformers, translated into ours and back. Every option is honoured or refused by name.
#pragma once
#include <nlohmann/json_fwd.hpp>
#include <string>

#include "core/model/config.h"

namespace dnamamba::model {

/// Whose config.json, and so whose tensor names, a folder has.
enum class FolderKind { kDnamamba, kMambaSsm, kTransformers };

/// The text of a config.json. Python also writes Infinity, which is not JSON: it becomes {"__float__": "Infinity"}.
/// @throws nlohmann::json::exception for anything else that is not JSON.
nlohmann::json parse_config(const std::string& text);

/// @throws base::Error for a config of another kind of model, by name.
FolderKind recognise_config(const nlohmann::json& json);

/// Reads any of the three. @throws base::Error naming an option that can't be honoured.
ModelConfig any_config_from_json(const nlohmann::json& json);

/// The config.json that MambaLMHeadModel of mamba-ssm, or Mamba(2)ForCausalLM of Transformers, reads.
/// @throws base::Error naming what the other side can't express (an MLP in Transformers, shared layers …).
nlohmann::json to_mamba_ssm_json(const ModelConfig& config);
nlohmann::json to_transformers_json(const ModelConfig& config);

}  // namespace dnamamba::model
