// The job of `dnamamba pretrain`: next-token training of a model on random segments of the input, exact on any context.
#pragma once
#include <functional>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "core/engine/run_settings.h"
#include "core/model/model_folder.h"
#include "core/train/adamw.h"
#include "core/train/training_data.h"

namespace dnamamba::engine {

struct PretrainOptions {
  train::DataOptions data;
  std::string output;  ///< the model's folder
  bool force = false;
  Compute compute;
  std::int64_t micro_batch = 16'384;    ///< tokens computed at a time, whole sequences
  std::int64_t segment = 16'384;        ///< longer contexts are streamed in segments of this many tokens
  train::AdamWOptions optimiser;        ///< its `steps` is the length of the run
  std::int64_t validate_every = 0;      ///< steps; 0: at the end only
  std::int64_t validation_context = 0;  ///< as train::ValidationOptions
  std::string checkpoint;               ///< folder; empty: none
  std::int64_t save_every = 0;          ///< steps; 0: when stopped and at the end only
  double time_limit = 0;                ///< seconds of training; 0: none
};

/// What a step, and now and then a validation, came to.
struct PretrainReport {
  std::int64_t step = 0;  ///< done
  std::int64_t steps = 0;
  std::int64_t tokens = 0;  ///< trained on so far, earlier runs included
  double bits_per_base = 0;
  double rate = 0;
  double gradient_norm = 0;
  double seconds = 0;                        ///< since this run began to train
  std::map<std::string, double> validation;  ///< file -> bits per base, after a validation
};
using PretrainProgress = std::function<void(const PretrainReport&)>;

struct PretrainResult {
  bool complete = false;  ///< false: the time limit came first; the checkpoint holds what is there
  std::int64_t steps = 0;
  std::int64_t tokens = 0;
  double seconds = 0;
  std::map<std::string, double> validation;
};

/// Trains `model` (its alphabet must be there) and writes it to options.output when the last step is done. An existing
/// checkpoint of the same settings is gone on with, in the same bits as if nothing had happened.
/// @throws base::Error if the loss or gradient is not finite, naming the step; base::IoError; base::Interrupted after a
/// checkpoint.
PretrainResult pretrain(const PretrainOptions& options, model::Model model, const PretrainProgress& progress);

}  // namespace dnamamba::engine
