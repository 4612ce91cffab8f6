// Whether a model answers what its own ecosystem's code answered: golden.safetensors in its folder.
#pragma once
#include <filesystem>
#include <optional>

#include "core/model/model_folder.h"

namespace dnamamba::engine {

/// Largest |ours - golden| / (1 + |golden|) over all values, and the largest |ours - golden|.
struct GoldenError {
  double relative = 0;
  double absolute = 0;
};

struct GoldenComparison {
  GoldenError hidden;  ///< last_hidden_state: what enters the language-model head
  GoldenError logits;
  std::int64_t sequences = 0;
  std::int64_t length = 0;
};

/// nullopt if the folder holds no golden.safetensors. `segment` cuts each sequence, 0 does not: the answer may not
/// depend on it.
/// @throws base::Error if the file is not of the form input_ids int64, last_hidden_state and logits fp32, or an answer
/// is NaN.
std::optional<GoldenComparison> compare_with_golden(const model::Model& model, std::int64_t segment = 0);

}  // namespace dnamamba::engine
