#include "core/train/validation.h"

#include <bit>
#include <cmath>
#include <numbers>

#include "core/base/stop.h"

namespace dnamamba::train {

double bits_per_base(const LossSum& sum) {
  return sum.loss / std::numbers::ln2 / sum.weight;
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

LossSum validate(const model::Backbone& backbone, const TrainingFile& file, const tokens::Alphabet& alphabet,
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
