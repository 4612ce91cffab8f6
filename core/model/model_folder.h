// Models as folders: ours (config.json, alphabet.json, model.safetensors, README.md), mamba-ssm's and Transformers'.
#pragma once
#include <filesystem>
#include <optional>
#include <string>

#include "core/files/tensor_file.h"
#include "core/model/config.h"
#include "core/model/foreign_config.h"
#include "core/model/parameters.h"
#include "core/tokens/alphabet.h"

namespace dnamamba::model {

struct Model {
  std::filesystem::path folder;  ///< where it was read from; empty for a new one
  FolderKind kind = FolderKind::kDnamamba;
  ModelConfig config;
  Parameters parameters;
  std::optional<tokens::Alphabet> alphabet;   ///< foreign folders carry none
  std::optional<at::ScalarType> activations;  ///< of a Backbone over it, where not the parameters'
};

/// Reads a folder of any of the three kinds, weights from model.safetensors or pytorch_model.bin. Activations and
/// parameters are of `dtype` (float32 or float64). @throws base::Error, base::IoError for a missing, unknown or
/// misshapen tensor or option, by name.
Model load_model(const std::filesystem::path& folder, at::ScalarType dtype = at::kFloat);

/// Writes a folder of ours: all or nothing. `card` becomes README.md. Also SHA256SUMS, which `sha256sum -c` checks.
/// @throws base::IoError if the folder exists and `force` is false.
void save_model(const Model& model, const std::filesystem::path& folder, const std::string& card, bool force);

/// Writes what MambaLMHeadModel (kMambaSsm) or Mamba(2)ForCausalLM (kTransformers) reads, or a folder of ours.
void export_model(const Model& model, FolderKind kind, const std::filesystem::path& folder, bool force);

/// @throws base::Error naming the first file of the folder whose checksum is not the one in its SHA256SUMS; false if it
/// has none.
bool verify_checksums(const std::filesystem::path& folder);

/// Tensors between files and LibTorch; values are copied. @throws base::Error for a type LibTorch does not have.
at::Tensor to_tensor(const files::StoredTensor& stored);
files::StoredTensor to_stored(const at::Tensor& tensor);

}  // namespace dnamamba::model
