// The data of a training run: which sequences there are, what each step draws from them, what is validated on.
#pragma once
#include <cstdint>
#include <future>
#include <memory>
#include <string>
#include <vector>

#include "core/tokens/tokenizer.h"
#include "core/train/data_options.h"
#include "core/train/hold_out.h"
#include "core/train/next_token_batch.h"
#include "core/train/segment_sampler.h"
#include "core/train/validation.h"

namespace dnamamba::train {

/// One thread at a time.
class TrainingData {
 public:
  /// Opens all files. `steps`: of the whole run.
  /// @throws base::IoError; base::UsageError if a weight's name is no input's; what divide() and SegmentSampler throw.
  TrainingData(const DataOptions& options, const tokens::Tokenizer& tokenizer, std::int64_t steps);

  /// The step's sequences, in batches to be computed one after the other: as many tokens as `batch` has room for, but
  /// at least one sequence. A batch has at most `micro_batch` tokens, or one sequence. The next step's are drawn in the
  /// background meanwhile, unless they are many.
  [[nodiscard]] std::vector<NextTokenBatch> draw(std::int64_t step, std::int64_t micro_batch);

  /// Where a step's sequence at a place of its batches comes from, for messages.
  [[nodiscard]] std::string origin(std::int64_t step, std::int64_t place);

  /// The validation files, and what is held out of the training files.
  [[nodiscard]] const std::vector<ValidationSet>& validation() const { return validation_; }

 private:
  [[nodiscard]] std::vector<NextTokenBatch> draw_now(std::int64_t step, std::int64_t micro_batch);
  const SegmentSampler& sampler_of(std::int64_t context);
  [[nodiscard]] std::vector<double> weights_of_files() const;

  DataOptions options_;
  tokens::Alphabet alphabet_;
  std::int64_t steps_;
  TrainingFiles files_;
  std::vector<DividedFile> divided_;
  std::vector<ValidationSet> validation_;
  std::vector<double> weights_;
  std::int64_t longest_ = 0;  // inputs of the longest piece
  std::int64_t sampled_context_ = -1;
  std::unique_ptr<const SegmentSampler> sampler_;
  struct Ahead {
    std::int64_t step = 0, micro_batch = 0;
    std::future<std::vector<NextTokenBatch>> batches;
  };
  Ahead ahead_;  // waits for its thread, which uses all of the above, before those are destroyed
};

}  // namespace dnamamba::train
