#include "core/train/validation.h"

#include <cmath>
#include <numbers>
#include <utility>

#include "core/base/stop.h"

namespace dnamamba::train {

double bits_per_base(const LossSum& sum) {
  return sum.loss / std::numbers::ln2 / sum.weight;
}

ValidationSet all_of(std::shared_ptr<const TrainingFile> file) {
  ValidationSet set{file->path(), std::move(file), {}};
  for (std::int64_t i = 0; i < set.file->sequences(); ++i) set.pieces.push_back({i, 0, set.file->length(i)});
  return set;
}

LossSum validate(const model::Backbone& backbone, const ValidationSet& set, const tokens::Alphabet& alphabet,
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
  for (const Piece& piece : set.pieces) {
    const std::int64_t context = options.context > 0 ? options.context : std::max(piece.length(), std::int64_t{1});
    for (std::int64_t begin = piece.begin; begin + 1 < piece.end; begin += context) {
      // One token more than the context: the last one is a target here and the first input of the next part.
      const std::int64_t left = piece.end - begin, count = left <= context ? left : context + 1;
      batch.append(set.file->read(piece.sequence, begin, count).tokens, alphabet);
      if (batch.inputs.token_count() >= options.segment) flush();
      if (left <= context) break;
    }
  }
  if (batch.inputs.sequences() > 0) flush();
  return sum;
}

}  // namespace dnamamba::train
