// Counts by size, for charts: of fractions and of lengths.
#pragma once
#include <array>
#include <cstdint>
#include <vector>

#include "core/files/spool.h"

namespace dnamamba::outputs {

/// Fractions from 0 to 1 in bins of a hundredth; 1 is in the last one.
struct FractionHistogram {
  static constexpr std::int64_t kBins = 100;

  /// Counts part / whole, 0 ≤ part ≤ whole; nothing if the whole is 0.
  void add(std::int64_t part, std::int64_t whole);

  std::array<std::int64_t, kBins> counts{};
};

/// Lengths in bins of equal width, or of equal ratio where the largest is over 50 times the smallest.
struct LengthHistogram {
  /// `lengths`: int64, bases.
  static LengthHistogram of(const files::Spool& lengths);

  bool equal_ratio = false;
  std::vector<std::int64_t> edges;   ///< [bins + 1]; a bin holds edges[i] ≤ length < edges[i + 1]
  std::vector<std::int64_t> counts;  ///< [bins]
  std::int64_t zeros = 0;            ///< of length 0: in no bin
};

}  // namespace dnamamba::outputs
