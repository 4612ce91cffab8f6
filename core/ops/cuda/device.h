// What bindings ask of a GPU: types, the current stream of the tensors' device, and offsets where kernels can read
// them.
#pragma once
#include <ATen/core/Tensor.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>

#include <string_view>

#include "core/ops/tensors.h"
#include "kernels/ragged.h"
#include "kernels/stream.h"

namespace dnamamba::ops {

/// What kernels are launched on.
inline kernels::cuda::Stream current_stream() {
  return c10::cuda::getCurrentCUDAStream().stream();
}

/// int64 offsets of the host, copied to the current device without waiting for it. The last ones are kept: the layers
/// of a network ask for the same ones.
const std::int64_t* offsets_on_device(const OptionalTensor& offsets);

struct Cuda {
  static constexpr bool kRowsApart = true;
  /// Calls body.template operator()<float or kernels::BFloat16>() with the device as the current one. @throws
  /// c10::Error for any other dtype.
  template <typename Body>
  static void dispatch(at::Device device, at::ScalarType dtype, std::string_view op, Body&& body) {
    TORCH_CHECK(dtype == at::kFloat || dtype == at::kBFloat16, op, " on a GPU takes float32 or bfloat16, not ", dtype);
    const c10::cuda::CUDAGuard guard(device);
    refusing([&] {
      if (dtype == at::kFloat) {
        body.template operator()<float>();
      } else {
        body.template operator()<kernels::BFloat16>();
      }
    });
  }
  static const std::int64_t* offsets_on_device(const OptionalTensor& offsets) {
    return ops::offsets_on_device(offsets);
  }
};

}  // namespace dnamamba::ops
