// How ssd is cut into tasks, and where each puts what it keeps.
#pragma once
#include <algorithm>
#include <cstdint>

#include "kernels/cpu/partition.h"
#include "kernels/cpu/sequence_chunks.h"
#include "kernels/ssd.h"

namespace dnamamba::kernels::cpu {

/// Tokens that are worked on together, counted from the start of a sequence. Work among the tokens of a chunk grows
/// with it, work for the states at its ends shrinks: backwards they are kept in memory.
inline constexpr std::int64_t kSsdForwardChunk = 32;
inline constexpr std::int64_t kSsdChunk = 64;

/// Channels of one head that are worked on together.
struct HeadStrip {
  std::int64_t head = 0;
  std::int64_t channel = 0;  ///< the first, of the head's
  std::int64_t count = 0;
};

/// A strip is up to 256 bytes of one head's channels, a slot is consecutive strips of one group of heads, which share B
/// and C. What one strip computes does not depend on which others are in its slot.
///
/// Forward, tasks are strips of a sequence. Backward, the states at the chunks' starts and the gradients at their ends
/// come first, with the same tasks; then every chunk is by itself, and tasks are ranges of chunks of a group of heads.
template <typename T>
struct SsdPlan {
  static constexpr std::int64_t kBlockLanes = kBlockBytes / static_cast<std::int64_t>(sizeof(T));
  static constexpr std::int64_t kStripChannels = 4 * kBlockLanes;
  static constexpr std::int64_t kLargestSlot = 16;  ///< strips
  static constexpr std::int64_t kMostRanges = 64;

  std::int64_t heads, head_dim, groups, states, tokens;
  std::int64_t strips_per_head, strips_per_group;
  std::int64_t width;       ///< from row to row of a strip's channels
  std::int64_t state_rows;  ///< states as kept: with rows of zeros up to a multiple of 8
  Partition ranges;         ///< of the tokens; a chunk belongs to the one in which it begins

  explicit SsdPlan(const SsdInputs<T>& in)
      : heads(in.heads),
        head_dim(in.head_dim),
        groups(in.groups),
        states(in.states),
        tokens(in.ragged.tokens()),
        strips_per_head(ceil_div(in.head_dim, kStripChannels)),
        strips_per_group(heads / groups * strips_per_head),
        width(std::min(kStripChannels, round_up(in.head_dim, kBlockLanes))),
        state_rows(round_up(in.states, 8)),
        ranges(Partition::of(tokens, kSsdChunk, kMostRanges)) {}

  [[nodiscard]] std::int64_t strips() const { return heads * strips_per_head; }
  [[nodiscard]] HeadStrip strip(std::int64_t i) const {
    const std::int64_t channel = i % strips_per_head * kStripChannels;
    return {i / strips_per_head, channel, std::min(kStripChannels, head_dim - channel)};
  }
  [[nodiscard]] std::int64_t group_of(const HeadStrip& strip) const { return strip.head / (heads / groups); }
  /// Behind the last strip of a slot that begins with this one and ends before `end`.
  [[nodiscard]] std::int64_t end_of_slot(std::int64_t first, std::int64_t end) const {
    return std::min({end, round_up(first + 1, strips_per_group), first + kLargestSlot});
  }
  [[nodiscard]] std::int64_t largest_slot() const { return std::min(strips_per_group, kLargestSlot); }
  /// Values of a strip's states: [state_rows, width].
  [[nodiscard]] std::int64_t state_size() const { return state_rows * width; }
};

/// What the backward pass keeps in the workspace.
template <typename T>
struct SsdBackwardStore {
  static constexpr std::int64_t kSums = 2 + SsdPlan<T>::kStripChannels;
  double* sums = nullptr;  ///< [ranges, strips, kSums]: dA, ddt_bias, dD of the strip's channels
  T* starts = nullptr;     ///< [chunks after the first, strips, state_size] states before the chunk
  T* ends = nullptr;       ///< as starts: what flows back into the states behind the chunk before
  T* ddt = nullptr;        ///< [strips of a head, T, H] or null when there is one

  SsdBackwardStore(const SsdPlan<T>& plan, Workspace& workspace) {
    const std::int64_t boundaries = plan.tokens / kSsdChunk * plan.strips() * plan.state_size();
    sums = workspace.take<double>(plan.ranges.parts * plan.strips() * kSums);
    starts = workspace.take<T>(boundaries);
    ends = workspace.take<T>(boundaries);
    if (plan.strips_per_head > 1) ddt = workspace.take<T>(plan.strips_per_head * plan.tokens * plan.heads);
  }
};

}  // namespace dnamamba::kernels::cpu
