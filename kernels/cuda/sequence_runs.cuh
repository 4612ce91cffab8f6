// Ragged sequences as runs of tokens that don't cross their ends: what threads walk over.
#pragma once
#include "kernels/arguments.h"
#include "kernels/cuda/device.cuh"
#include "kernels/ragged.h"

namespace dnamamba::kernels::cuda {

/// Positions [first, last) of a sequence in the order of reading.
struct Run {
  std::int64_t sequence;
  std::int64_t row;     ///< of position 0
  std::int64_t step;    ///< from the row of a position to that of the next: 1, or -1 when read backwards
  std::int64_t length;  ///< of the whole sequence, tokens
  std::int64_t first, last;

  /// False for a place with no run in it. A sequence without tokens has one run, without tokens.
  __device__ bool exists() const { return first == 0 || first < last; }
  __device__ bool ends_the_sequence() const { return last == length; }
};

/// Places for the runs of all sequences, 2^shift tokens each: those of sequence s start at (offsets[s] >> shift) + s,
/// so that nothing has to be counted first; some stay empty.
struct SequenceRuns {
  const std::int64_t* offsets;  ///< on the device; null: one sequence
  std::int64_t sequences, tokens;
  int shift;
  bool reverse;

  __host__ __device__ std::int64_t places() const { return (tokens >> shift) + sequences; }
  /// Tokens of a run that does not end its sequence.
  __host__ __device__ int size() const { return 1 << shift; }

  __device__ std::int64_t begin(std::int64_t s) const {
    return offsets != nullptr ? __ldg(offsets + s) : s == 0 ? 0 : tokens;
  }
  __device__ std::int64_t first_place(std::int64_t s) const { return (begin(s) >> shift) + s; }
  __device__ std::int64_t runs_in(std::int64_t s) const { return (begin(s + 1) - begin(s) + size() - 1) >> shift; }

  __device__ Run at(std::int64_t place) const {
    const std::int64_t s = offsets != nullptr ? sequence_at(place) : 0, start = begin(s), end = begin(s + 1);
    const std::int64_t first = (place - (start >> shift) - s) << shift;
    const std::int64_t last = min(first + size(), end - start);
    return {s, reverse ? end - 1 : start, reverse ? -1 : 1, end - start, first, last};
  }

  /// The run at `place` together with those behind it in the same sequence, up to place `end`; `next` is the first
  /// place behind them.
  __device__ Run from(std::int64_t place, std::int64_t end, std::int64_t& next) const {
    Run run = at(place);
    const std::int64_t more = (run.length - run.last + size() - 1) >> shift;
    const std::int64_t count = 1 + max(min(more, end - place - 1), std::int64_t{0});
    if (run.exists()) run.last = min(run.first + (count << shift), run.length);
    next = place + count;
    return run;
  }

  /// The last sequence whose places start at `place` or before.
  __device__ std::int64_t sequence_at(std::int64_t place) const {
    std::int64_t low = 0, high = sequences;
    while (high - low > 1) {
      const std::int64_t middle = (low + high) / 2;
      (first_place(middle) <= place ? low : high) = middle;
    }
    return low;
  }
};

inline SequenceRuns runs_of(const Ragged& ragged, int shift, bool reverse) {
  const bool one = ragged.sequences <= 1;
  require(one || ragged.on_device != nullptr, "ragged sequences have no offsets on the device");
  return {one ? nullptr : ragged.on_device, ragged.sequences, ragged.tokens(), shift, reverse};
}

}  // namespace dnamamba::kernels::cuda
