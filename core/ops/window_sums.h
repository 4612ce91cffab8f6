// Sums of hidden vectors over windows where they are, on a GPU, so that windows and not vectors come to the host.
#pragma once
#include "core/ops/tensors.h"

namespace dnamamba::ops {

/// rows [T, D] and tokens uint8 [T] on a GPU; ranges int64 [W, 2] on the host: the first row of a window and the one
/// behind its last -> float64 [W, D] on the host, waited for. Rows of the token `ambiguous` are left out. Calls
/// torch.ops.dnamamba.window_sums. @throws c10::Error for shapes and dtypes that do not fit.
at::Tensor window_sums(const at::Tensor& rows, const at::Tensor& tokens, const at::Tensor& ranges,
                       std::int64_t ambiguous);

}  // namespace dnamamba::ops
