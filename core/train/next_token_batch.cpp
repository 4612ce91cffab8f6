#include "core/train/next_token_batch.h"

#include <algorithm>
#include <array>
#include <numeric>

namespace dnamamba::train {

void NextTokenBatch::append(std::span<const std::uint8_t> sequence, const tokens::Alphabet& alphabet) {
  if (sequence.size() < 2) {
    inputs.append({});
    return;
  }
  std::array<float, 256> weight_of{};
  for (const std::uint8_t base : alphabet.bases()) weight_of[base] = 1.0F;
  inputs.append(sequence.first(sequence.size() - 1));
  for (const std::uint8_t token : sequence.subspan(1)) {
    targets.push_back(token);
    weights.push_back(weight_of[token]);
  }
}

void NextTokenBatch::append(const Segment& segment, const tokens::Alphabet& alphabet, float soft_mask_weight) {
  const std::size_t before = weights.size();
  append(segment.tokens, alphabet);
  for (std::size_t i = before; i < weights.size(); ++i)
    if (segment.soft_masked[i - before + 1] != 0) weights[i] *= soft_mask_weight;
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
