#include <torch/library.h>

#include "core/ops/cuda/device.h"
#include "core/ops/selective_scan_binding.h"

namespace dnamamba::ops {
namespace {

using namespace selective_scan_binding;

struct OnCuda : Cuda {
  template <typename T>
  static void forward(const kernels::SelectiveScanInputs<T>& in, const kernels::SelectiveScanOutputs<T>& out) {
    const Tensor space = workspace(kernels::cuda::selective_scan_workspace<T>(in), at::kCUDA);
    kernels::cuda::selective_scan<T>(in, out, space.mutable_data_ptr(), current_stream());
  }
  template <typename T>
  static Tensor run_starts(const kernels::SelectiveScanInputs<T>& in, Tensor room) {
    const Tensor space = workspace(kernels::cuda::selective_scan_workspace<T>(in), at::kCUDA);
    kernels::cuda::selective_scan_run_starts<T>(in, mutable_values<float>(room), space.mutable_data_ptr(),
                                                current_stream());
    return room;
  }
  template <typename T>
  static void backward(const kernels::SelectiveScanInputs<T>& in, const kernels::SelectiveScanGradients<T>& out) {
    const Tensor space = workspace(kernels::cuda::selective_scan_backward_workspace<T>(in), at::kCUDA);
    kernels::cuda::selective_scan_backward<T>(in, out, space.mutable_data_ptr(), current_stream());
  }
};

}  // namespace

TORCH_LIBRARY_IMPL(dnamamba, CUDA, library) {
  library.impl("selective_scan", forward<OnCuda>);
  library.impl("selective_scan_keeping", keeping_forward<OnCuda>);
  library.impl("selective_scan_backward", backward<OnCuda>);
}

}  // namespace dnamamba::ops
