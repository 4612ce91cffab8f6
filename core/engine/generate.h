// The job of `dnamamba generate`: bases drawn one after the other from what a language model says comes next.
#pragma once
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "core/engine/sequence_input.h"
#include "core/files/atomic_file.h"
#include "core/model/model_folder.h"
#include "kernels/step.h"

namespace dnamamba::engine {

/// `inputs` are the prompts; none: sequences begin with a base drawn evenly.
struct GenerateOptions : SequenceInput {
  std::int64_t length = 1000;  ///< bases of each sequence, the prompt not counted
  std::int64_t number = 1;     ///< sequences of each prompt
  double temperature = 1;      ///< probabilities to the power of 1 / temperature; 0: always the most probable base
  std::int64_t top_k = 4;      ///< of so many of the most probable bases, 1 … 4
  std::uint64_t seed = 0;
  kernels::StepWeights weights = kernels::StepWeights::kFloat32;
};

struct GenerateCounts {
  std::int64_t prompts = 0;
  std::int64_t sequences = 0;
  std::int64_t bases = 0;    ///< generated
  std::int64_t invalid = 0;  ///< letters of prompts taken as N or dropped
};

/// Appends FASTA to `out`, the generated bases without the prompt; does not commit. A sequence depends on the model,
/// the options, its prompt and the prompt's place in the input alone. The model must have an alphabet.
/// @throws base::IoError for bad input; base::Error for a prompt without bases, and where the model's answer is no
/// number; base::Interrupted.
GenerateCounts generate(const GenerateOptions& options, const model::Model& model, files::AtomicFile& out,
                        const std::function<void(std::int64_t bases)>& progress);

}  // namespace dnamamba::engine
