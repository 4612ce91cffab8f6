// What a model is made of: a list of layers and what they share. Read from and written to config.json.
#pragma once
#include <cstdint>
#include <limits>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <variant>
#include <vector>

namespace dnamamba::model {

enum class NormKind { kRms, kLayer };
enum class Direction { kForward, kReverse };
enum class ResidualType { kFloat32, kActivation };

/// Mamba-1 (Gu & Dao 2023). Widths are those of the tensors; the dt fields only matter to initialisation.
struct Mamba1Config {
  std::int64_t d_inner = 0;  ///< E, channels of the scan
  std::int64_t d_state = 16;
  std::int64_t d_conv = 4;
  std::int64_t dt_rank = 0;
  bool bias = false;  ///< of in_proj and out_proj
  bool conv_bias = true;
  double dt_min = 1e-3;
  double dt_max = 0.1;
  double dt_init_floor = 1e-4;
  double dt_scale = 1.0;
  bool dt_init_random = true;  ///< false: constant

  friend bool operator==(const Mamba1Config&, const Mamba1Config&) = default;
};

/// Mamba-2 (Dao & Gu 2024). The dt fields but dt_limit, A_init and conv_init only matter to initialisation.
struct Mamba2Config {
  std::int64_t d_inner = 0;  ///< E, channels that leave the mixer
  std::int64_t d_ssm = 0;    ///< those of them that go through convolution and ssd; the others are only gated
  std::int64_t headdim = 64;
  std::int64_t d_state = 128;
  std::int64_t ngroups = 1;  ///< heads of a group share B, C and a norm
  std::int64_t d_conv = 4;
  bool bias = false;  ///< of in_proj and out_proj
  bool conv_bias = true;
  bool D_has_hdim = false;  ///< a D for each channel, not for each head
  bool rmsnorm = true;      ///< false: the gate alone
  bool norm_before_gate = false;
  double dt_limit_min = 0;
  double dt_limit_max = std::numeric_limits<double>::infinity();
  double dt_min = 1e-3;
  double dt_max = 0.1;
  double dt_init_floor = 1e-4;
  double A_init_min = 1;
  double A_init_max = 16;
  std::optional<double> conv_init = {};  ///< weights of the convolution begin in ± this; absent: as Mamba-1's

  [[nodiscard]] std::int64_t heads() const { return d_ssm / headdim; }
  [[nodiscard]] std::int64_t conv_channels() const { return d_ssm + 2 * ngroups * d_state; }  ///< x, B, C
  [[nodiscard]] std::int64_t gated_only() const { return d_inner - d_ssm; }

  friend bool operator==(const Mamba2Config&, const Mamba2Config&) = default;
};

/// Every kind of mixer; more are added here.
using MixerConfig = std::variant<Mamba1Config, Mamba2Config>;

/// Gated MLP: fc2(y * silu(g)), [y | g] = fc1(x).
struct MlpConfig {
  std::int64_t d_hidden = 0;

  friend bool operator==(const MlpConfig&, const MlpConfig&) = default;
};

struct LayerConfig {
  MixerConfig mixer;
  std::optional<MlpConfig> mlp;
  NormKind norm = NormKind::kRms;
  Direction direction = Direction::kForward;
  std::int64_t weights = 0;  ///< whose parameters: layers with the same number share them

  friend bool operator==(const LayerConfig&, const LayerConfig&) = default;
};

struct ModelConfig {
  std::int64_t vocabulary = 16;  ///< rows of the embedding, padding rows included; at most 256
  std::int64_t d_model = 0;
  std::vector<LayerConfig> layers;
  NormKind final_norm = NormKind::kRms;
  double norm_epsilon = 1e-5;
  ResidualType residual = ResidualType::kFloat32;
  bool fused_add_norm = true;  ///< rounding of the residual in low precision, as the weights were trained
  bool tie_embeddings = true;

  friend bool operator==(const ModelConfig&, const ModelConfig&) = default;
};

/// `layers` equal Mamba-1 layers with the published defaults: d_inner = expand * d_model, dt_rank = ceil(d_model / 16).
ModelConfig mamba1_config(std::int64_t d_model, std::int64_t layers, std::int64_t d_state = 16,
                          std::int64_t expand = 2);

/// The same for Mamba-2: d_inner = d_ssm = expand * d_model. @throws base::Error unless headdim divides it.
ModelConfig mamba2_config(std::int64_t d_model, std::int64_t layers, std::int64_t d_state = 128,
                          std::int64_t expand = 2, std::int64_t headdim = 64);

/// @throws base::Error naming the first field that makes no sense.
void validate(const ModelConfig& config);

/// Our own config.json: {"format": "dnamamba", "version": 1, …}. @throws base::Error for an unknown or missing key, by
/// name.
ModelConfig config_from_json(const nlohmann::json& json);
nlohmann::json config_to_json(const ModelConfig& config);

/// One line for people: "mamba1, 8 layers of 128, 0.5 M parameters" without the parameters.
std::string describe(const ModelConfig& config);

}  // namespace dnamamba::model
