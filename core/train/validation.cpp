#include "core/train/validation.h"

#include <cmath>
#include <numbers>

#include "core/base/stop.h"

namespace dnamamba::train {

double bits_per_base(const LossSum& sum) {
  return sum.loss / std::numbers::ln2 / sum.weight;
}

LossSum validate(const model::Backbone& backbone, const TrainingFile& file, const tokens::Alphabet& alphabet,
                 const ValidationOptions& options) {
  LossSum sum;
  NextTokenBatch batch;
  const auto flush = [&] {
    base::throw_if_stopped();
    const LossSum part = streamed_loss(backbone, batch, options.segment);
    sum.loss += part.loss;
    sum.weight += part.weight;
    batch = {};
  };
  for (const TrainingSequence& sequence : file.sequences) {
    const std::span<const std::uint8_t> tokens(sequence.tokens);
    const auto length = static_cast<std::int64_t>(tokens.size());
    const std::int64_t context = options.context > 0 ? options.context : std::max(length, std::int64_t{1});
    for (std::int64_t begin = 0; begin + 1 < length; begin += context) {
      // One token more than the context: the last one is a target here and the first input of the next piece.
      batch.append(tokens.subspan(begin, std::min(context + 1, length - begin)), alphabet);
      if (batch.inputs.token_count() >= options.segment) flush();
    }
  }
  if (batch.inputs.sequences() > 0) flush();
  return sum;
}

}  // namespace dnamamba::train
