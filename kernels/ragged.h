// Sequences of different lengths, end to end in one tensor: [tokens, channels] with no padding.
#pragma once
#include <cstdint>

namespace dnamamba::kernels {

/// Sequence s is rows [offsets[s], offsets[s + 1]); offsets[0] = 0; empty sequences are allowed.
struct Ragged {
  const std::int64_t* offsets = nullptr;  ///< [sequences + 1], on the host
  std::int64_t sequences = 0;
  const std::int64_t* on_device =
      nullptr;  ///< the same where a device can read it; CUDA alone, and not for one sequence

  [[nodiscard]] std::int64_t tokens() const { return sequences == 0 ? 0 : offsets[sequences]; }
};

}  // namespace dnamamba::kernels
