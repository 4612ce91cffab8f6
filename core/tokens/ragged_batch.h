// Sequences of different lengths end to end, with no padding: what the operators compute on.
#pragma once
#include <cstdint>
#include <span>
#include <vector>

namespace dnamamba::tokens {

/// Sequence s is tokens[offsets[s]] … tokens[offsets[s + 1] − 1]; empty sequences are allowed.
struct RaggedBatch {
  std::vector<std::uint8_t> tokens;
  std::vector<std::int64_t> offsets{0};  ///< [sequences + 1], never decreasing, from 0 to tokens.size()

  void append(std::span<const std::uint8_t> sequence) {
    tokens.insert(tokens.end(), sequence.begin(), sequence.end());
    end_sequence();
  }

  /// Makes one more sequence of what was put behind `tokens` since the last one ended, for those who write there
  /// themselves.
  void end_sequence() { offsets.push_back(static_cast<std::int64_t>(tokens.size())); }

  /// Empty again; keeps its memory.
  void clear() {
    tokens.clear();
    offsets.assign(1, 0);
  }

  [[nodiscard]] std::int64_t sequences() const { return static_cast<std::int64_t>(offsets.size()) - 1; }
  [[nodiscard]] std::int64_t token_count() const { return offsets.back(); }
  [[nodiscard]] std::int64_t length(std::int64_t s) const { return offsets[s + 1] - offsets[s]; }
  [[nodiscard]] std::span<const std::uint8_t> sequence(std::int64_t s) const {
    return std::span(tokens).subspan(static_cast<std::size_t>(offsets[s]), static_cast<std::size_t>(length(s)));
  }
};

}  // namespace dnamamba::tokens
