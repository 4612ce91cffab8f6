// Any JSON as the config.json of a model, ours or another's; ours says the same once written and read again.
#include <nlohmann/json.hpp>

#include "core/model/config.h"
#include "core/model/foreign_config.h"
#include "tests/fuzz/fuzz_target.h"

int LLVMFuzzerInitialize(int*, char***) {
  return 0;
}

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace dnamamba;
  const auto json = nlohmann::json::parse(data, data + size, nullptr, /*allow_exceptions=*/false);
  if (json.is_discarded()) return 0;
  model::ModelConfig config;
  if (!fuzz::refusal([&] { config = model::any_config_from_json(json); }).empty()) return 0;
  fuzz::require(model::config_from_json(model::config_to_json(config)) == config, "our own config says the same");
  fuzz::refusal([&] {
    fuzz::require(model::any_config_from_json(model::to_mamba_ssm_json(config)) == config, "mamba-ssm's does");
  });
  fuzz::refusal([&] {
    model::ModelConfig back = model::any_config_from_json(model::to_transformers_json(config));
    back.fused_add_norm = config.fused_add_norm;  // Transformers never fuses
    fuzz::require(back == config, "Transformers' does");
  });
  return 0;
}
