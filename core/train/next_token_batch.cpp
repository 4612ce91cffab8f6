#include "core/train/next_token_batch.h"

#include <algorithm>
#include <numeric>

namespace dnamamba::train {

void NextTokenBatch::append(std::span<const std::uint8_t> sequence, const tokens::Alphabet& alphabet) {
  if (sequence.size() < 2) {
    inputs.append({});
    return;
  }
  inputs.append(sequence.first(sequence.size() - 1));
  const auto bases = alphabet.bases();
  for (const std::uint8_t token : sequence.subspan(1)) {
    targets.push_back(token);
    weights.push_back(std::find(bases.begin(), bases.end(), token) != bases.end() ? 1.0F : 0.0F);
  }
}

double NextTokenBatch::total_weight() const {
  return std::accumulate(weights.begin(), weights.end(), 0.0);
}

NextTokenBatch NextTokenBatch::segment(std::int64_t first, std::int64_t count) const {
  NextTokenBatch part;
  for (std::int64_t s = 0; s < inputs.sequences(); ++s) {
    const std::int64_t begin = std::min(first, inputs.length(s));
    const std::int64_t end = std::min(begin + count, inputs.length(s));
    const std::int64_t from = inputs.offsets[s] + begin, to = inputs.offsets[s] + end;
    part.inputs.append(inputs.sequence(s).subspan(begin, end - begin));
    part.targets.insert(part.targets.end(), targets.begin() + from, targets.begin() + to);
    part.weights.insert(part.weights.end(), weights.begin() + from, weights.begin() + to);
  }
  return part;
}

std::int64_t NextTokenBatch::longest() const {
  std::int64_t longest = 0;
  for (std::int64_t s = 0; s < inputs.sequences(); ++s) longest = std::max(longest, inputs.length(s));
  return longest;
}

}  // namespace dnamamba::train
