#include "kernels/window_sums.h"

#include <ATen/ops/empty.h>
#include <torch/library.h>

#include "core/ops/cuda/device.h"

namespace dnamamba::ops {
namespace {

at::Tensor window_sums_cuda(const at::Tensor& rows, const at::Tensor& tokens, const at::Tensor& ranges,
                            std::int64_t ambiguous) {
  TORCH_CHECK(rows.dim() == 2, "rows must be [tokens, channels], not ", rows.sizes());
  TORCH_CHECK(ranges.dim() == 2 && ranges.size(1) == 2, "ranges must be [windows, 2], not ", ranges.sizes());
  const at::Tensor places = checked("ranges", ranges, ranges.sizes(), at::kLong);
  for (std::int64_t w = 0; w < places.size(0); ++w) {
    const std::int64_t* const range = values<std::int64_t>(places) + 2 * w;
    TORCH_CHECK_VALUE(0 <= range[0] && range[0] <= range[1] && range[1] <= rows.size(0), "window ", w, " is rows ",
                      range[0], " to ", range[1], " of ", rows.size(0));
  }
  const at::Tensor ids = checked("tokens", tokens, {rows.size(0)}, at::kByte, rows.device());
  const at::Tensor sums = at::empty({places.size(0), rows.size(1)}, rows.options().dtype(at::kDouble));
  Cuda::dispatch(rows.device(), rows.scalar_type(), "window_sums", [&]<typename T>() {
    const at::Tensor contiguous = rows.contiguous(), on_device = to_device(places, rows.device());
    kernels::cuda::window_sums<T>({.columns = rows.size(1),
                                   .windows = places.size(0),
                                   .rows = values<T>(contiguous),
                                   .tokens = values<std::uint8_t>(ids),
                                   .ranges = values<std::int64_t>(on_device),
                                   .ambiguous = static_cast<std::uint8_t>(ambiguous),
                                   .sums = mutable_values<double>(sums)},
                                  current_stream());
  });
  return sums;
}

}  // namespace

TORCH_LIBRARY_IMPL(dnamamba, CUDA, library) {
  library.impl("window_sums", window_sums_cuda);
}

}  // namespace dnamamba::ops
