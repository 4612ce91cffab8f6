// Bases that are kept from training to validate on, and the pieces of sequences that are left between them.
#pragma once
#include <cstdint>
#include <vector>

#include "core/train/data_options.h"
#include "core/train/training_file.h"

namespace dnamamba::train {

/// Bases [begin, end) of a sequence of a file.
struct Piece {
  std::int64_t sequence = 0;
  std::int64_t begin = 0;
  std::int64_t end = 0;

  [[nodiscard]] std::int64_t length() const { return end - begin; }
  bool operator==(const Piece&) const = default;
};

/// A file's bases, each in one piece of either kind; pieces by sequence and position.
struct DividedFile {
  std::vector<Piece> training, held_out;
};

/// A block is held out by a hash of its sequence's name, its number and the seed: whatever other files there are.
/// @throws base::Error if a region is in no file or behind a record's end, or if the fraction holds out no block or
/// all.
std::vector<DividedFile> divide(const TrainingFiles& files, const HoldOutOptions& options, std::uint64_t seed);

}  // namespace dnamamba::train
