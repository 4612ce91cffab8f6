// Runs of tokens that a block walks over: at most `length` tokens of one sequence, counted from the sequence's start in
// the order of reading, so that a sequence is cut the same way whatever lies beside it.
#pragma once
#include "kernels/cuda/device.cuh"
#include "kernels/ragged.h"

namespace dnamamba::kernels::cuda {

struct Run {
  std::int64_t sequence;
  std::int64_t first;  ///< the row of its first token in the order of reading
  int length;          ///< 0: there is nothing at this place
};

/// Places of runs: those of sequence s begin at offsets[s] / length + s. There are a few more places than runs, and no
/// table of them.
struct RunGrid {
  const std::int64_t* offsets;  ///< on the device; null: one sequence
  std::int64_t sequences, tokens;
  int length;
  bool reverse;

  RunGrid(const Ragged& ragged, int run_length, bool read_in_reverse)
      : offsets(ragged.on_device),
        sequences(ragged.sequences),
        tokens(ragged.tokens()),
        length(run_length),
        reverse(read_in_reverse) {}

  [[nodiscard]] std::int64_t places() const { return tokens / length + sequences; }
  /// The sequence's first place.
  __device__ std::int64_t place_of(std::int64_t sequence) const { return begin(sequence) / length + sequence; }
  __device__ std::int64_t runs_of(std::int64_t sequence) const {
    return (begin(sequence + 1) - begin(sequence) + length - 1) / length;
  }
  __device__ std::int64_t begin(std::int64_t sequence) const {
    return offsets != nullptr ? offsets[sequence] : sequence == 0 ? 0 : tokens;
  }
  __device__ Run run_at(std::int64_t place) const {
    std::int64_t sequence = 0, end = sequences;
    while (end - sequence > 1) {
      const std::int64_t middle = (sequence + end) / 2;
      (place_of(middle) <= place ? sequence : end) = middle;
    }
    const std::int64_t start = (place - place_of(sequence)) * length;
    const std::int64_t left = begin(sequence + 1) - begin(sequence) - start;
    const std::int64_t first = reverse ? begin(sequence + 1) - 1 - start : begin(sequence) + start;
    return {sequence, first, static_cast<int>(left < 0 ? 0 : left < length ? left : length)};
  }
};

}  // namespace dnamamba::kernels::cuda
