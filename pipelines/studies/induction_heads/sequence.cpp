#include "pipelines/studies/induction_heads/sequence.h"

#include <algorithm>

namespace dnamamba::studies {

InductionSequence::InductionSequence(std::uint64_t seed, std::uint32_t stream, std::uint32_t number,
                                     std::int64_t length)
    : random_(seed, (std::uint64_t{stream} << 32) | number),
      length_(length),
      place_(below(length - 2)),
      answer_(ordinary()) {}

std::int64_t InductionSequence::below(std::int64_t count) {
  const std::uint64_t high = random_(), low = random_();
  return static_cast<std::int64_t>(((high << 32) | low) % static_cast<std::uint64_t>(count));
}

std::uint8_t InductionSequence::ordinary() {
  return static_cast<std::uint8_t>(1 + random_() % (kVocabulary - 1));
}

void InductionSequence::read(std::int64_t count, std::vector<std::uint8_t>& tokens) {
  for (const std::int64_t end = std::min(next_ + count, length_); next_ < end; ++next_) {
    if (next_ == place_ || next_ == length_ - 1)
      tokens.push_back(kSpecial);
    else
      tokens.push_back(next_ == place_ + 1 ? answer_ : ordinary());
  }
}

}  // namespace dnamamba::studies
