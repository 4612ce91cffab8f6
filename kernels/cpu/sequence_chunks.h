// How sequences are cut for a recurrence: chunks of tokens in the order of reading, and groups of whole sequences.
#pragma once
#include <algorithm>
#include <cstdint>

#include "kernels/cpu/partition.h"
#include "kernels/ragged.h"

namespace dnamamba::kernels::cpu {

/// Rows of one chunk of one sequence, in the order of reading.
struct ChunkRows {
  std::int64_t first = 0;   ///< row of the first token read
  std::int64_t step = 1;    ///< +1, or -1 when read backwards
  std::int64_t length = 0;  ///< tokens
  [[nodiscard]] std::int64_t row(std::int64_t i) const { return first + step * i; }
};

struct SequenceRows {
  std::int64_t begin = 0, end = 0;
  bool reverse = false;
  std::int64_t chunk_length = 1;

  [[nodiscard]] std::int64_t length() const { return end - begin; }
  [[nodiscard]] std::int64_t chunks() const { return ceil_div(length(), chunk_length); }
  /// Chunk i; without rows where there is none.
  [[nodiscard]] ChunkRows chunk(std::int64_t i) const {
    if (i < 0 || i >= chunks()) return {};
    const std::int64_t skipped = i * chunk_length;
    return {reverse ? end - 1 - skipped : begin + skipped, reverse ? -1 : 1,
            std::min(chunk_length, length() - skipped)};
  }
};

/// A recurrence keeps the first states of chunk i >= 1 of the sequence that begins at this row at index
/// first_chunk_start(begin, chunk_length) + i - 1: sequences can't overlap there, and tokens / chunk_length places are
/// enough.
inline std::int64_t first_chunk_start(std::int64_t begin, std::int64_t chunk_length) {
  return begin / chunk_length;
}

/// At most 16 groups of sequences, nearly equal in tokens.
struct SequenceGroups {
  std::int64_t sequences = 0;
  std::int64_t tokens = 0;
  std::int64_t count = 1;

  explicit SequenceGroups(const Ragged& ragged)
      : sequences(ragged.sequences),
        tokens(ragged.tokens()),
        count(std::clamp<std::int64_t>(ragged.sequences, 1, 16)) {}

  /// First sequence of a group; `count` gives `sequences`.
  [[nodiscard]] std::int64_t first(const Ragged& ragged, std::int64_t group) const {
    if (group == 0 || group == count) return group == 0 ? 0 : sequences;
    const std::int64_t token = tokens / count * group;
    return std::lower_bound(ragged.offsets, ragged.offsets + sequences, token) - ragged.offsets;
  }
};

}  // namespace dnamamba::kernels::cpu
