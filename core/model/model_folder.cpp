#include "core/model/model_folder.h"

#include <ATen/ops/equal.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "core/base/error.h"
#include "core/files/atomic_file.h"
#include "core/files/checksum.h"
#include "core/files/safetensors.h"
#include "core/files/torch_state_dict.h"

namespace dnamamba::model {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr const char* kOurEmbedding = "backbone.embedding.weight";
constexpr const char* kTransformersEmbedding = "backbone.embeddings.weight";
constexpr const char* kHead = "lm_head.weight";
constexpr const char* kChecksums = "SHA256SUMS";

json read_json(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  if (!in) throw base::IoError(path.string() + ": can't be opened; a model is a folder with a config.json");
  std::ostringstream text;
  text << in.rdbuf();
  try {
    return parse_config(text.str());
  } catch (const json::exception& error) {
    throw base::IoError(path.string() + ": not JSON: " + error.what());
  }
}

void write_text(const fs::path& path, const std::string& text) {
  files::AtomicFile file(path, /*force=*/false);
  file.append(text);
  file.commit();
}

struct StoredWeights {
  fs::path path;
  files::TensorMap tensors;
};

StoredWeights read_weights(const fs::path& folder) {
  const fs::path safetensors = folder / "model.safetensors", bin = folder / "pytorch_model.bin";
  if (fs::exists(safetensors)) return {safetensors, files::read_safetensors(safetensors).tensors};
  if (fs::exists(bin)) return {bin, files::read_torch_state_dict(bin)};
  throw base::IoError(folder.string() + ": holds neither model.safetensors nor pytorch_model.bin");
}

// Takes a tied head that is stored twice; it must be the embedding, bit for bit.
void drop_tied_head(Parameters& parameters, const fs::path& path) {
  const auto head = parameters.find(kHead);
  if (head == parameters.end()) return;
  const auto embedding = parameters.find(kOurEmbedding);
  if (embedding == parameters.end() || !at::equal(head->second, embedding->second))
    throw base::Error(path.string() + ": the config ties lm_head.weight to the embedding, but the two differ");
  parameters.erase(head);
}

void refuse_low_precision(const Parameters& parameters, const fs::path& path) {
  for (const auto& [name, tensor] : parameters)
    if (!tensor.is_floating_point()) throw base::Error(path.string() + ": tensor " + name + " is not floating point");
}

}  // namespace

Model load_model(const fs::path& folder, at::ScalarType dtype) {
  Model model;
  model.folder = folder;
  const json config = read_json(folder / "config.json");
  try {
    model.kind = recognise_config(config);
    model.config = any_config_from_json(config);
  } catch (const base::Error& error) {
    throw base::Error(folder.string() + ": " + error.what());
  }
  StoredWeights weights = read_weights(folder);
  for (const auto& [name, stored] : weights.tensors)
    if (!model.parameters.emplace(name == kTransformersEmbedding ? kOurEmbedding : name, to_tensor(stored)).second)
      throw base::Error(weights.path.string() + ": holds both " + kOurEmbedding + " and " + kTransformersEmbedding);
  refuse_low_precision(model.parameters, weights.path);
  if (model.config.tie_embeddings) drop_tied_head(model.parameters, weights.path);
  check_parameters(model.config, model.parameters, weights.path.string());
  for (auto& [name, tensor] : model.parameters) tensor = tensor.to(dtype);
  if (const fs::path alphabet = folder / "alphabet.json"; fs::exists(alphabet)) {
    model.alphabet = tokens::Alphabet::load(alphabet);
    if (model.alphabet->vocabulary() > model.config.vocabulary)
      throw base::Error(base::concat(alphabet.string(), ": has ", model.alphabet->vocabulary(), " ids, the model only ",
                                     model.config.vocabulary));
  }
  return model;
}

namespace {

json foreign_config(const ModelConfig& config, FolderKind kind) {
  switch (kind) {
    case FolderKind::kMambaSsm:
      return to_mamba_ssm_json(config);
    case FolderKind::kTransformers:
      return to_transformers_json(config);
    case FolderKind::kDnamamba:
      break;
  }
  return config_to_json(config);
}

files::TensorMap stored_parameters(const Model& model, FolderKind kind) {
  files::TensorMap stored;
  for (const auto& [name, tensor] : model.parameters)
    stored.emplace(kind == FolderKind::kTransformers && name == kOurEmbedding ? kTransformersEmbedding : name,
                   to_stored(tensor.to(at::kFloat)));
  return stored;
}

// The name of the file. mamba-ssm reads pytorch_model.bin only, and wants a tied head in it under both names.
std::string write_weights(const Model& model, FolderKind kind, const fs::path& folder) {
  if (kind != FolderKind::kMambaSsm) {
    files::write_safetensors(folder / "model.safetensors", stored_parameters(model, kind), /*force=*/false);
    return "model.safetensors";
  }
  files::TensorMap tensors = stored_parameters(model, kind);
  if (model.config.tie_embeddings) tensors.emplace(kHead, tensors.at(kOurEmbedding));
  files::write_torch_state_dict(folder / "pytorch_model.bin", tensors, /*force=*/false);
  return "pytorch_model.bin";
}

void write_folder(const Model& model, FolderKind kind, const fs::path& folder, const std::string& card, bool force) {
  files::AtomicFolder out(folder, force, "config.json");
  std::vector<files::Checksum> checksums;
  const auto wrote = [&](const std::string& name) {
    checksums.push_back({files::sha256_of_file(out.path() / name), name});
  };
  write_text(out.path() / "config.json", foreign_config(model.config, kind).dump(2) + "\n");
  wrote("config.json");
  wrote(write_weights(model, kind, out.path()));
  if (model.alphabet) {
    write_text(out.path() / "alphabet.json", model.alphabet->to_json());
    wrote("alphabet.json");
  }
  if (!card.empty()) {
    write_text(out.path() / "README.md", card);
  }
  files::write_checksums(out.path() / kChecksums, checksums, /*force=*/false);
  out.commit();
}

}  // namespace

void save_model(const Model& model, const fs::path& folder, const std::string& card, bool force) {
  write_folder(model, FolderKind::kDnamamba, folder, card, force);
}

void export_model(const Model& model, FolderKind kind, const fs::path& folder, bool force) {
  write_folder(model, kind, folder, "", force);
}

bool verify_checksums(const fs::path& folder) {
  const fs::path list = folder / kChecksums;
  if (!fs::exists(list)) return false;
  for (const files::Checksum& expected : files::read_checksums(list))
    if (const fs::path file = folder / expected.name; files::sha256_of_file(file) != expected.sha256)
      throw base::Error(file.string() + ": its checksum is not the one in " + list.string() +
                        "; fetch the model again");
  return true;
}

}  // namespace dnamamba::model
