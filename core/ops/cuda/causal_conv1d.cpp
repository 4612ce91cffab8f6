#include <torch/library.h>

#include "core/ops/causal_conv1d_binding.h"
#include "core/ops/cuda/device.h"

namespace dnamamba::ops {
namespace {

struct OnCuda : Cuda {
  template <typename T>
  static void forward(const kernels::CausalConv1dInputs<T>& in, const kernels::CausalConv1dOutputs<T>& out) {
    kernels::cuda::causal_conv1d<T>(in, out, current_stream());
  }
  template <typename T>
  static std::int64_t workspace_bytes(const kernels::CausalConv1dInputs<T>& in) {
    return kernels::cuda::causal_conv1d_backward_workspace<T>(in);
  }
  template <typename T>
  static void backward(const kernels::CausalConv1dInputs<T>& in, const kernels::CausalConv1dGradients<T>& gradients,
                       void* workspace) {
    kernels::cuda::causal_conv1d_backward<T>(in, gradients, workspace, current_stream());
  }
};

}  // namespace

TORCH_LIBRARY_IMPL(dnamamba, CUDA, library) {
  library.impl("causal_conv1d", causal_conv1d_forward<OnCuda>);
  library.impl("causal_conv1d_backward", causal_conv1d_backward<OnCuda>);
}

}  // namespace dnamamba::ops
