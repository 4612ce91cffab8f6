// The job of `dnamamba pretrain`: next-token training of a model on random segments of the input, exact on any context.
#pragma once
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "core/engine/checkpoint.h"
#include "core/engine/run_settings.h"
#include "core/engine/training_records.h"
#include "core/model/model_folder.h"
#include "core/train/adamw.h"
#include "core/train/gradient_guard.h"
#include "core/train/schedule.h"
#include "core/train/training_data.h"

namespace dnamamba::engine {

struct PretrainOptions {
  train::DataOptions data;
  std::string output;  ///< the model's folder
  bool force = false;
  Compute compute;
  std::int64_t micro_batch = 16'384;  ///< tokens computed at a time, whole sequences
  std::int64_t segment = 16'384;      ///< longer contexts are streamed in segments of this many tokens
  bool truncated = false;             ///< as train::Streaming
  bool states_on_host = false;        ///< the same
  train::ScheduleOptions schedule;    ///< its `steps` is the length of the run
  train::AdamWOptions optimiser;
  train::GuardOptions guard;
  std::int64_t validate_every = 0;      ///< steps; 0: at the end only
  std::int64_t validation_context = 0;  ///< as train::ValidationOptions
  CheckpointOptions checkpoint;
  double time_limit = 0;  ///< seconds of training; 0: none
  RecordOptions records;
};

/// What a step, and now and then a validation, came to.
struct PretrainReport {
  std::int64_t step = 0;  ///< done
  std::int64_t steps = 0;
  std::int64_t first_step = 0;  ///< done before this run, which goes on with another
  std::int64_t tokens = 0;      ///< trained on so far, earlier runs included
  std::int64_t new_tokens = 0;  ///< of this run
  double bits_per_base = 0;
  double rate = 0;
  double gradient_norm = 0;
  double seconds = 0;                        ///< since this run began to train, validations included
  double step_seconds = 0;                   ///< those of its steps
  double utilisation = 0;                    ///< of the device's peak over its steps, 0 … 1; 0: not known
  std::string skipped;                       ///< why the step changed nothing; empty: it did
  std::map<std::string, double> validation;  ///< file -> bits per base, after a validation
};
using PretrainProgress = std::function<void(const PretrainReport&)>;

struct PretrainResult {
  bool complete = false;  ///< false: the time limit came first; the checkpoint holds what is there
  std::int64_t steps = 0;
  std::int64_t tokens = 0;
  std::int64_t skipped = 0;  ///< steps
  double seconds = 0;
  std::map<std::string, double> validation;
  std::int64_t device_bytes = 0;  ///< the most that tensors took of a GPU's memory at a time; 0 on CPUs
};

/// Trains `model` (its alphabet must be there) and writes it to options.output when the last step is done. An existing
/// checkpoint of the same settings is gone on with, in the same bits as if nothing had happened.
/// @throws base::Error if a step is to stop it (GuardOptions), naming step and sequence, base::Interrupted when asked
/// to stop, both after a checkpoint; base::IoError.
PretrainResult pretrain(const PretrainOptions& options, model::Model model, const PretrainProgress& progress);

}  // namespace dnamamba::engine
