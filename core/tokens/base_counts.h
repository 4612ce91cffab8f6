// How many of a sequence's tokens are known bases, and how many of those are G or C.
#pragma once
#include <array>
#include <cstdint>
#include <span>

#include "core/tokens/alphabet.h"

namespace dnamamba::tokens {

struct BaseCounts {
  std::int64_t known = 0;  ///< A, C, G, T (or U)
  std::int64_t gc = 0;     ///< G and C

  BaseCounts& operator+=(const BaseCounts& other) {
    known += other.known;
    gc += other.gc;
    return *this;
  }
  bool operator==(const BaseCounts&) const = default;
};

class BaseCounter {
 public:
  explicit BaseCounter(const Alphabet& alphabet);
  [[nodiscard]] BaseCounts count(std::span<const std::uint8_t> tokens) const;

 private:
  std::array<bool, 256> known_{};  // of an id
  std::array<bool, 256> gc_{};
};

}  // namespace dnamamba::tokens
