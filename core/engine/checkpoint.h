// What a training run needs to go on exactly where it stopped: weights, optimiser, and how far it was.
#pragma once
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>

#include "core/files/tensor_file.h"
#include "core/model/model_folder.h"

namespace dnamamba::engine {

struct Checkpoint {
  std::int64_t step = 0;     ///< steps done
  nlohmann::json settings;   ///< what must be the same for the run to be the same
  nlohmann::json history;    ///< what was measured so far
  files::TensorMap moments;  ///< of the optimiser
  model::Model model;
};

/// Replaces `folder` as a whole. @throws base::IoError.
void save_checkpoint(const Checkpoint& checkpoint, const std::filesystem::path& folder);

/// @throws base::Error if it is damaged, or naming the first setting that differs from `settings`.
Checkpoint load_checkpoint(const std::filesystem::path& folder, const nlohmann::json& settings);

}  // namespace dnamamba::engine
