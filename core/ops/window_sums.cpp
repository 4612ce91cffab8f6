#include "core/ops/window_sums.h"

#include <torch/library.h>

#include "core/ops/operator_call.h"

namespace dnamamba::ops {

at::Tensor window_sums(const at::Tensor& rows, const at::Tensor& tokens, const at::Tensor& ranges,
                       std::int64_t ambiguous) {
  static const auto op =
      find_operator<at::Tensor(const at::Tensor&, const at::Tensor&, const at::Tensor&, std::int64_t)>(
          "dnamamba::window_sums");
  return op.call(rows, tokens, ranges, ambiguous).cpu();
}

TORCH_LIBRARY_FRAGMENT(dnamamba, library) {
  library.def("window_sums(Tensor rows, Tensor tokens, Tensor ranges, int ambiguous) -> Tensor");
}

}  // namespace dnamamba::ops
