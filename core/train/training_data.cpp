#include "core/train/training_data.h"

#include <algorithm>

#include "core/base/error.h"

namespace dnamamba::train {
namespace {

constexpr std::int64_t kMostAhead = 1 << 22;  // tokens of a step that are drawn before it is its turn: 25 MB

}  // namespace

TrainingData::TrainingData(const DataOptions& options, const tokens::Tokenizer& tokenizer, std::int64_t steps)
    : options_(options),
      alphabet_(tokenizer.alphabet()),
      steps_(steps),
      files_(open_training_files(options.inputs, tokenizer)),
      divided_(divide(files_, options.hold_out, options.seed)),
      weights_(weights_of_files()) {
  for (const auto& file : open_training_files(options.validation, tokenizer)) validation_.push_back(all_of(file));
  for (std::size_t i = 0; i < files_.size(); ++i) {
    if (!divided_[i].held_out.empty())
      validation_.push_back({files_[i]->path() + " (held out)", files_[i], divided_[i].held_out});
    for (const Piece& piece : divided_[i].training) longest_ = std::max(longest_, piece.length() - 1);
  }
  sampler_of(options.context);  // so that input without segments fails before the first step
}

std::vector<double> TrainingData::weights_of_files() const {
  std::vector<double> weights(files_.size(), 1.0);
  for (const auto& [name, weight] : options_.weights) {
    bool known = false;
    for (std::size_t i = 0; i < files_.size(); ++i) {
      if (!files_[i]->is_called(name)) continue;
      weights[i] *= weight;
      known = true;
    }
    if (!known) throw base::UsageError(base::concat("--weight: '", name, "' is no input, and in no token store"));
  }
  return weights;
}

const SegmentSampler& TrainingData::sampler_of(std::int64_t context) {
  if (context != sampled_context_) {
    sampler_ = std::make_unique<const SegmentSampler>(
        files_, divided_, alphabet_,
        SegmentSampler::Options{context, options_.sample_by, weights_, options_.reverse_complement, options_.seed});
    sampled_context_ = context;
  }
  return *sampler_;
}

std::vector<NextTokenBatch> TrainingData::draw(std::int64_t step, std::int64_t micro_batch) {
  std::vector<NextTokenBatch> batches;
  if (ahead_.batches.valid()) batches = ahead_.batches.get();
  if (batches.empty() || ahead_.step != step || ahead_.micro_batch != micro_batch)
    batches = draw_now(step, micro_batch);
  std::int64_t tokens = 0;
  for (const NextTokenBatch& batch : batches) tokens += batch.inputs.token_count();
  if (step + 1 < steps_ && tokens <= kMostAhead)
    ahead_ = {step + 1, micro_batch,
              std::async(std::launch::async, [=, this] { return draw_now(step + 1, micro_batch); })};
  return batches;
}

std::string TrainingData::origin(std::int64_t step, std::int64_t place) {
  if (ahead_.batches.valid()) ahead_.batches.wait();  // it uses the sampler
  return sampler_of(context_at(options_, longest_, steps_, step)).origin(step, place);
}

std::vector<NextTokenBatch> TrainingData::draw_now(std::int64_t step, std::int64_t micro_batch) {
  const std::int64_t context = context_at(options_, longest_, steps_, step);
  const SegmentSampler& sampler = sampler_of(context);
  const std::int64_t room = std::max(context, std::int64_t{1});  // for one more
  std::vector<NextTokenBatch> batches(1);
  std::int64_t tokens = 0;
  // What is drawn next has no part in whether it is taken: else long sequences would be rarer than their chance.
  for (std::int64_t place = 0; place == 0 || tokens <= options_.batch - room; ++place) {
    const Segment segment = sampler.draw(step, place);
    const auto inputs = static_cast<std::int64_t>(segment.tokens.size()) - 1;
    const std::int64_t now = batches.back().inputs.token_count();
    if (now > 0 && now + inputs > micro_batch) batches.emplace_back();
    batches.back().append(segment, alphabet_, static_cast<float>(options_.soft_mask_weight));
    tokens += inputs;
  }
  return batches;
}

}  // namespace dnamamba::train
