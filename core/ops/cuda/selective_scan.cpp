#include <torch/library.h>

#include "core/ops/cuda/device.h"
#include "core/ops/selective_scan_binding.h"

namespace dnamamba::ops {
namespace {

using namespace selective_scan_binding;

struct OnCuda : Cuda {
  template <typename T>
  static void forward(const BoundInputs<T>& bound, const kernels::SelectiveScanOutputs<T>& out) {
    kernels::SelectiveScanInputs<T> in = bound.inputs;
    in.ragged.on_device = offsets_on_device(bound.call.offsets);
    const Tensor space = workspace(kernels::cuda::selective_scan_workspace<T>(in), bound.call.x.device());
    kernels::cuda::selective_scan<T>(in, out, space.mutable_data_ptr(), current_stream());
  }
  template <typename T>
  static void backward(const BoundInputs<T>& bound, const kernels::SelectiveScanGradients<T>& out) {
    kernels::SelectiveScanInputs<T> in = bound.inputs;
    in.ragged.on_device = offsets_on_device(bound.call.offsets);
    const Tensor space = workspace(kernels::cuda::selective_scan_backward_workspace<T>(in), bound.call.x.device());
    kernels::cuda::selective_scan_backward<T>(in, out, space.mutable_data_ptr(), current_stream());
  }
};

}  // namespace

TORCH_LIBRARY_IMPL(dnamamba, CUDA, library) {
  library.impl("selective_scan", forward<OnCuda>);
  library.impl("selective_scan_backward", backward<OnCuda>);
}

}  // namespace dnamamba::ops
