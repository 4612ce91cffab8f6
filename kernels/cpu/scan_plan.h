// How the selective scan is cut into tasks, and where each puts what it keeps.
#pragma once
#include <algorithm>
#include <cstdint>

#include "kernels/cpu/partition.h"
#include "kernels/cpu/sequence_chunks.h"
#include "kernels/selective_scan.h"

namespace dnamamba::kernels::cpu {

/// Tokens that are worked on together: backwards, the history and the sums of four states (32 KiB) fit the innermost
/// cache.
inline constexpr std::int64_t kScanChunk = 32;

/// Channels go in blocks of 64 bytes, blocks in slots; a task is a slot of one sequence (forward) or of one group of
/// sequences (backward). Within a task, everything happens in one order.
template <typename T>
struct ScanPlan {
  static constexpr std::int64_t kBlockChannels = kBlockBytes / static_cast<std::int64_t>(sizeof(T));

  std::int64_t channels, states, sequences, tokens, blocks;
  Partition slots;  ///< of blocks
  SequenceGroups groups;

  ScanPlan(const SelectiveScanInputs<T>& in, std::int64_t blocks_per_slot, std::int64_t most_slots)
      : channels(in.channels),
        states(in.states),
        sequences(in.ragged.sequences),
        tokens(in.ragged.tokens()),
        blocks(ceil_div(in.channels, kBlockChannels)),
        slots{blocks, std::clamp<std::int64_t>(ceil_div(blocks, blocks_per_slot), 1, most_slots)},
        groups(in.ragged) {}

  [[nodiscard]] std::int64_t padded_channels() const { return blocks * kBlockChannels; }
  [[nodiscard]] std::int64_t first_channel(std::int64_t slot) const { return slots.begin(slot) * kBlockChannels; }
  [[nodiscard]] std::int64_t largest_slot() const { return ceil_div(blocks, slots.parts) * kBlockChannels; }
};

/// What the backward pass keeps in the workspace.
template <typename T>
struct ScanBackwardStore {
  double* sums = nullptr;     ///< [groups of sequences, N + 2, padded channels]: dA, then dD, then ddelta_bias
  T* chunk_starts = nullptr;  ///< [chunks after the first, padded channels * N] states
  T* dB = nullptr;            ///< [slots, T, N] or null when there is one slot
  T* dC = nullptr;

  ScanBackwardStore(const ScanPlan<T>& plan, Workspace& workspace) {
    sums = workspace.take<double>(plan.groups.count * (plan.states + 2) * plan.padded_channels());
    chunk_starts = workspace.take<T>(plan.tokens / kScanChunk * plan.padded_channels() * plan.states);
    if (plan.slots.parts == 1) return;
    dB = workspace.take<T>(plan.slots.parts * plan.tokens * plan.states);
    dC = workspace.take<T>(plan.slots.parts * plan.tokens * plan.states);
  }
};

}  // namespace dnamamba::kernels::cpu
