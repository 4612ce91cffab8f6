// How the selective scan is cut into tasks, and where each puts what it keeps.
#pragma once
#include <algorithm>
#include <cstdint>

#include "kernels/cpu/partition.h"
#include "kernels/selective_scan.h"

namespace dnamamba::kernels::cpu {

/// Tokens that are worked on together: their step sizes and, backwards, four states each, fit the innermost caches.
inline constexpr std::int64_t kScanChunk = 64;

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

  [[nodiscard]] std::int64_t length() const { return end - begin; }
  [[nodiscard]] std::int64_t chunks() const { return ceil_div(length(), kScanChunk); }
  [[nodiscard]] ChunkRows chunk(std::int64_t i) const {
    const std::int64_t skipped = i * kScanChunk;
    return {reverse ? end - 1 - skipped : begin + skipped, reverse ? -1 : 1, std::min(kScanChunk, length() - skipped)};
  }
};

/// Channels go in blocks of 64 bytes, blocks in slots; a task is a slot of one sequence (forward) or of one group of
/// sequences (backward). Within a task, everything happens in one order.
template <typename T>
struct ScanPlan {
  static constexpr std::int64_t kBlockChannels = kBlockBytes / static_cast<std::int64_t>(sizeof(T));

  std::int64_t channels, states, sequences, tokens, blocks;
  Partition slots;      ///< of blocks
  std::int64_t groups;  ///< of sequences, nearly equal in tokens

  ScanPlan(const SelectiveScanInputs<T>& in, std::int64_t blocks_per_slot, std::int64_t most_slots)
      : channels(in.channels),
        states(in.states),
        sequences(in.ragged.sequences),
        tokens(in.ragged.tokens()),
        blocks(ceil_div(in.channels, kBlockChannels)),
        slots{blocks, std::clamp<std::int64_t>(ceil_div(blocks, blocks_per_slot), 1, most_slots)},
        groups(std::clamp<std::int64_t>(sequences, 1, 16)) {}

  [[nodiscard]] std::int64_t padded_channels() const { return blocks * kBlockChannels; }
  [[nodiscard]] std::int64_t first_channel(std::int64_t slot) const { return slots.begin(slot) * kBlockChannels; }
  [[nodiscard]] std::int64_t largest_slot() const { return ceil_div(blocks, slots.parts) * kBlockChannels; }

  /// First sequence of a group; groups gives sequences.
  [[nodiscard]] std::int64_t first_sequence(const Ragged& ragged, std::int64_t group) const {
    if (group == 0 || group == groups) return group == 0 ? 0 : sequences;
    const std::int64_t token = tokens / groups * group;
    return std::lower_bound(ragged.offsets, ragged.offsets + sequences, token) - ragged.offsets;
  }
};

/// What the backward pass keeps in the workspace.
template <typename T>
struct ScanBackwardStore {
  double* sums = nullptr;     ///< [groups, N + 2, padded channels]: dA, then dD, then ddelta_bias
  T* chunk_starts = nullptr;  ///< [chunks after the first, padded channels * N] states
  T* dB = nullptr;            ///< [slots, T, N] or null when there is one slot
  T* dC = nullptr;

  ScanBackwardStore(const ScanPlan<T>& plan, Workspace& workspace) {
    sums = workspace.take<double>(plan.groups * (plan.states + 2) * plan.padded_channels());
    chunk_starts = workspace.take<T>(plan.tokens / kScanChunk * plan.padded_channels() * plan.states);
    if (plan.slots.parts == 1) return;
    dB = workspace.take<T>(plan.slots.parts * plan.tokens * plan.states);
    dC = workspace.take<T>(plan.slots.parts * plan.tokens * plan.states);
  }
  /// A sequence's chunk i >= 1 keeps its first states at index first_start(begin) + i - 1; sequences can't overlap
  /// there.
  static std::int64_t first_start(std::int64_t begin) { return begin / kScanChunk; }
};

}  // namespace dnamamba::kernels::cpu
