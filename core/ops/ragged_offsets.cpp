#include "core/ops/ragged_offsets.h"

namespace dnamamba::ops {

std::int64_t sequence_count(const OptionalTensor& offsets) {
  return given(offsets) ? offsets->size(0) - 1 : 1;
}

RaggedOffsets::RaggedOffsets(const OptionalTensor& offsets, std::int64_t tokens) : whole_{0, tokens} {
  if (!given(offsets)) return;
  TORCH_CHECK(
      offsets->dim() == 1 && offsets->size(0) >= 1 && offsets->scalar_type() == at::kLong && offsets->device().is_cpu(),
      "offsets must be an int64 tensor [sequences + 1] on the host");
  offsets_ = offsets->contiguous();
  sequences_ = offsets_.size(0) - 1;
  const std::int64_t* values = offsets_.const_data_ptr<std::int64_t>();
  TORCH_CHECK(values[0] == 0 && values[sequences_] == tokens, "offsets must run from 0 to ", tokens, ", not from ",
              values[0], " to ", values[sequences_]);
  for (std::int64_t s = 0; s < sequences_; ++s)
    TORCH_CHECK(values[s] <= values[s + 1], "offsets fall from ", values[s], " to ", values[s + 1], " at sequence ", s);
}

kernels::Ragged RaggedOffsets::ragged() const {
  return {offsets_.defined() ? offsets_.const_data_ptr<std::int64_t>() : whole_.data(), sequences_};
}

}  // namespace dnamamba::ops
