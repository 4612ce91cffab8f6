#include <torch/library.h>

#include "core/ops/cuda/device.h"
#include "core/ops/token_loss_binding.h"

namespace dnamamba::ops {
namespace {

struct OnCuda : Cuda {
  template <typename T>
  static void forward(const kernels::TokenLossInputs<T>& in, const kernels::TokenLossOutputs<T>& out) {
    kernels::cuda::token_loss<T>(in, out, current_stream());
  }
  template <typename T>
  static std::int64_t workspace_bytes(const kernels::TokenLossInputs<T>& in) {
    return kernels::cuda::token_loss_backward_workspace<T>(in);
  }
  template <typename T>
  static void backward(const kernels::TokenLossInputs<T>& in, const kernels::TokenLossGradients<T>& gradients,
                       void* workspace) {
    kernels::cuda::token_loss_backward<T>(in, gradients, workspace, current_stream());
  }
};

}  // namespace

TORCH_LIBRARY_IMPL(dnamamba, CUDA, library) {
  library.impl("token_loss", token_loss_forward<OnCuda>);
  library.impl("token_loss_backward", token_loss_backward<OnCuda>);
}

}  // namespace dnamamba::ops
