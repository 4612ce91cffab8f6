// How ssd is cut into tasks, and where each puts what it keeps.
#pragma once
#include <algorithm>
#include <cstdint>

#include "kernels/cpu/partition.h"
#include "kernels/cpu/sequence_chunks.h"
#include "kernels/ssd.h"

namespace dnamamba::kernels::cpu {

/// Tokens that are worked on together: B, C and, backwards, four states each, fit the innermost caches.
inline constexpr std::int64_t kSsdChunk = 32;

/// Channels of one head that are worked on together.
struct HeadStrip {
  std::int64_t head = 0;
  std::int64_t channel = 0;  ///< the first, of the head's
  std::int64_t count = 0;
};

/// A strip is up to 128 bytes of one head's channels, a slot is consecutive strips of one group of heads, which share B
/// and C. Forward, tasks are strips of a sequence: what one computes does not depend on which others are in its slot.
/// Backward, where dB and dC are sums over the strips, tasks are fixed slots of a group of sequences, and within a task
/// everything happens in one order.
template <typename T>
struct SsdPlan {
  static constexpr std::int64_t kStripChannels = 2 * kBlockBytes / static_cast<std::int64_t>(sizeof(T));

  static constexpr std::int64_t kLargestSlot = 16;  ///< strips

  std::int64_t heads, head_dim, groups, states, tokens;
  std::int64_t strips_per_head;
  SequenceGroups sequence_groups;
  Partition slots;  ///< backward: of the strips of a group of heads

  explicit SsdPlan(const SsdInputs<T>& in)
      : heads(in.heads),
        head_dim(in.head_dim),
        groups(in.groups),
        states(in.states),
        tokens(in.ragged.tokens()),
        strips_per_head(ceil_div(in.head_dim, kStripChannels)),
        sequence_groups(in.ragged),
        slots{heads / groups * strips_per_head, 1} {
    // Slots mean partial sums of dB and dC: only as many as keep 8 threads busy, and none too large for a cache.
    constexpr std::int64_t kTasks = 8;
    const std::int64_t wanted =
        std::max(ceil_div(kTasks, groups * sequence_groups.count), ceil_div(slots.count, kLargestSlot));
    slots.parts = std::min(wanted, slots.count);
  }

  [[nodiscard]] std::int64_t strips() const { return heads * strips_per_head; }
  [[nodiscard]] HeadStrip strip(std::int64_t i) const {
    const std::int64_t channel = i % strips_per_head * kStripChannels;
    return {i / strips_per_head, channel, std::min(kStripChannels, head_dim - channel)};
  }
  [[nodiscard]] std::int64_t group_of(const HeadStrip& strip) const { return strip.head / (heads / groups); }
  /// The first strip of a slot of a group of heads; slot = slots.parts gives the end.
  [[nodiscard]] std::int64_t first_strip(std::int64_t group, std::int64_t slot) const {
    return group * slots.count + slots.begin(slot);
  }
  /// Behind the last strip of a slot that begins with this one and ends before `end`.
  [[nodiscard]] std::int64_t end_of_slot(std::int64_t first, std::int64_t end) const {
    return std::min({end, round_up(first + 1, slots.count), first + kLargestSlot});
  }
  [[nodiscard]] std::int64_t largest_slot() const { return std::min(slots.count, kLargestSlot); }
};

/// What the backward pass keeps in the workspace.
template <typename T>
struct SsdBackwardStore {
  static constexpr std::int64_t kSums = 2 + SsdPlan<T>::kStripChannels;
  double* sums = nullptr;     ///< [groups of sequences, strips, kSums]: dA, ddt_bias, dD of the strip's channels
  T* chunk_starts = nullptr;  ///< [chunks after the first, strips, N, kStripChannels] states
  T* ddt = nullptr;           ///< [strips of a head, T, H] or null when there is one
  T* dB = nullptr;            ///< [slots, T, G, N] or null when there is one slot
  T* dC = nullptr;

  SsdBackwardStore(const SsdPlan<T>& plan, Workspace& workspace) {
    sums = workspace.take<double>(plan.sequence_groups.count * plan.strips() * kSums);
    chunk_starts =
        workspace.take<T>(plan.tokens / kSsdChunk * plan.strips() * plan.states * SsdPlan<T>::kStripChannels);
    if (plan.strips_per_head > 1) ddt = workspace.take<T>(plan.strips_per_head * plan.tokens * plan.heads);
    if (plan.slots.parts == 1) return;
    dB = workspace.take<T>(plan.slots.parts * plan.tokens * plan.groups * plan.states);
    dC = workspace.take<T>(plan.slots.parts * plan.tokens * plan.groups * plan.states);
  }
};

}  // namespace dnamamba::kernels::cpu
