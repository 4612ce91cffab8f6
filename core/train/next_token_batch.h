// What a step trains on: ragged sequences, the token that comes after each token, and how much each of these counts.
#pragma once
#include <cstdint>
#include <span>
#include <vector>

#include "core/tokens/alphabet.h"
#include "core/tokens/ragged_batch.h"
#include "core/train/training_file.h"

namespace dnamamba::train {

/// inputs.tokens[i] is followed by targets[i], which counts weights[i]. Sequence by sequence, T entries each.
struct NextTokenBatch {
  tokens::RaggedBatch inputs;
  std::vector<std::uint8_t> targets;  ///< [T]
  std::vector<float> weights;         ///< [T] 0: not computed

  /// Adds `sequence` (n tokens): n - 1 inputs, the targets are one to the right; the first base is given, never a
  /// target. Targets that are no base of the alphabet (N, special) weigh 0.
  void append(std::span<const std::uint8_t> sequence, const tokens::Alphabet& alphabet);
  /// The same, but soft-masked bases weigh `soft_mask_weight`.
  void append(const Segment& segment, const tokens::Alphabet& alphabet, float soft_mask_weight);

  [[nodiscard]] double total_weight() const;

  /// Tokens [first, first + count) of every sequence, cut at its end: segment number first / count of each.
  [[nodiscard]] NextTokenBatch segment(std::int64_t first, std::int64_t count) const;

  /// The longest sequence, in inputs.
  [[nodiscard]] std::int64_t longest() const;
};

}  // namespace dnamamba::train
