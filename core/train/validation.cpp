#include "core/train/validation.h"

#include <bit>
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

void LossByContext::add(std::int64_t bases, double loss, double weight) {
  LossSum& part = parts.at(std::bit_width(static_cast<std::uint64_t>(bases)) - 1);
  part.loss += loss;
  part.weight += weight;
}

namespace {

void add_segment(LossByContext& sums, const NextTokenBatch& segment, std::int64_t first,
                 std::span<const float> losses) {
  for (std::int64_t s = 0; s < segment.inputs.sequences(); ++s)
    for (std::int64_t i = 0; i < segment.inputs.length(s); ++i) {
      const std::int64_t token = segment.inputs.offsets[s] + i;
      if (segment.weights[token] > 0) sums.add(first + i + 1, losses[token], segment.weights[token]);
    }
}

}  // namespace

LossSum validate(const model::Backbone& backbone, const ValidationSet& set, const tokens::Alphabet& alphabet,
                 const ValidationOptions& options, LossByContext* by_context) {
  SegmentLosses told;
  if (by_context != nullptr)
    told = [&](const NextTokenBatch& segment, std::int64_t first, std::span<const float> losses) {
      add_segment(*by_context, segment, first, losses);
    };
  LossSum sum;
  NextTokenBatch batch;
  const auto flush = [&] {
    base::throw_if_stopped();
    const LossSum part = streamed_loss(backbone, batch, options.segment, told);
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
