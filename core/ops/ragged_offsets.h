// Offsets of ragged sequences as operators take them: an int64 tensor on the host, or none for one sequence.
#pragma once
#include <ATen/core/Tensor.h>

#include <array>

#include "core/ops/tensors.h"
#include "kernels/ragged.h"

namespace dnamamba::ops {

/// Checked once: starts at 0, never falls, ends at `tokens`. Keeps the tensor alive for the kernels' pointer.
class RaggedOffsets {
 public:
  /// @throws c10::Error unless `offsets` is absent or an int64 host tensor [sequences + 1] as above.
  RaggedOffsets(const OptionalTensor& offsets, std::int64_t tokens);
  RaggedOffsets(const RaggedOffsets&) = delete;
  RaggedOffsets& operator=(const RaggedOffsets&) = delete;

  [[nodiscard]] kernels::Ragged ragged() const;
  [[nodiscard]] std::int64_t sequences() const { return sequences_; }

 private:
  at::Tensor offsets_;
  std::array<std::int64_t, 2> whole_{};
  std::int64_t sequences_ = 1;
};

/// The number of sequences, without looking at the values: for shapes alone.
std::int64_t sequence_count(const OptionalTensor& offsets);

}  // namespace dnamamba::ops
