#include "core/tokens/base_counts.h"

#include <string_view>

namespace dnamamba::tokens {

BaseCounter::BaseCounter(const Alphabet& alphabet) {
  for (const char letter : std::string_view("ACGTUacgtu")) {
    const std::uint8_t id = alphabet.id_of(letter);
    if (id == Alphabet::kInvalid || id == alphabet.ambiguous()) continue;
    known_[id] = true;
    gc_[id] = std::string_view("CGcg").find(letter) != std::string_view::npos;
  }
}

BaseCounts BaseCounter::count(std::span<const std::uint8_t> tokens) const {
  BaseCounts counts;
  for (const std::uint8_t id : tokens) counts += {known_[id], gc_[id]};
  return counts;
}

}  // namespace dnamamba::tokens
