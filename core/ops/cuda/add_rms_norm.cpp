#include <torch/library.h>

#include "core/ops/add_rms_norm_binding.h"
#include "core/ops/cuda/device.h"

namespace dnamamba::ops {
namespace {

struct OnCuda : Cuda {
  /// Calls body.template operator()<T, R>() for a residual of x's type, or of float.
  template <typename Body>
  static void with_types(const at::Tensor& x, at::ScalarType residual_dtype, Body&& body) {
    dispatch(x.device(), x.scalar_type(), "add_rms_norm", [&]<typename T>() {
      if (residual_dtype == dtype_of<T>()) return body.template operator()<T, T>();
      TORCH_CHECK(residual_dtype == at::kFloat, "add_rms_norm on a GPU takes a residual of x's type, ", x.scalar_type(),
                  ", or float32, not ", residual_dtype);
      body.template operator()<T, float>();
    });
  }
  template <typename T, typename R>
  static void forward(const kernels::AddRmsNormInputs<T, R>& in, const kernels::AddRmsNormOutputs<T, R>& out) {
    kernels::cuda::add_rms_norm<T, R>(in, out, current_stream());
  }
  template <typename T, typename R>
  static std::int64_t workspace_bytes(const kernels::AddRmsNormInputs<T, R>& in) {
    return kernels::cuda::add_rms_norm_backward_workspace<T, R>(in);
  }
  template <typename T, typename R>
  static void backward(const kernels::AddRmsNormInputs<T, R>& in, const kernels::AddRmsNormGradients<T, R>& gradients,
                       void* workspace) {
    kernels::cuda::add_rms_norm_backward<T, R>(in, gradients, workspace, current_stream());
  }
};

}  // namespace

TORCH_LIBRARY_IMPL(dnamamba, CUDA, library) {
  library.impl("add_rms_norm", add_rms_norm_forward<OnCuda>);
  library.impl("add_rms_norm_backward", add_rms_norm_backward<OnCuda>);
}

}  // namespace dnamamba::ops
