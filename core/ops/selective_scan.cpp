#include "core/ops/selective_scan.h"

#include <ATen/ops/zeros_like.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/library.h>

#include "core/ops/operator_call.h"
#include "core/ops/selective_scan_binding.h"

namespace dnamamba::ops {
namespace {

using namespace selective_scan_binding;

struct OnCpu : Cpu {
  template <typename T>
  static void forward(const kernels::SelectiveScanInputs<T>& in, const kernels::SelectiveScanOutputs<T>& out) {
    kernels::cpu::selective_scan<T>(in, out, torch_threads());
  }
  template <typename T>
  static Tensor run_starts(const kernels::SelectiveScanInputs<T>& /*in*/, Tensor room) {
    return room;
  }
  template <typename T>
  static void backward(const kernels::SelectiveScanInputs<T>& in, const kernels::SelectiveScanGradients<T>& out) {
    const Tensor space = workspace(kernels::cpu::selective_scan_backward_workspace<T>(in));
    kernels::cpu::selective_scan_backward<T>(in, out, space.mutable_data_ptr(), torch_threads());
  }
};

Forward call_forward(const SelectiveScan& c) {
  static const auto op = find_operator<decltype(forward<OnCpu>)>("dnamamba::selective_scan");
  return op.call(c.x, c.delta, c.A, c.B, c.C, c.D, c.z, c.delta_bias, c.offsets, c.initial_state, c.want_final_state,
                 c.reverse);
}

KeepingForward call_keeping_forward(const SelectiveScan& c) {
  static const auto op = find_operator<decltype(keeping_forward<OnCpu>)>("dnamamba::selective_scan_keeping");
  return op.call(c.x, c.delta, c.A, c.B, c.C, c.D, c.z, c.delta_bias, c.offsets, c.initial_state, c.want_final_state,
                 c.reverse);
}

Backward call_backward(const Tensor& dy, const OptionalTensor& dfinal_state, const SelectiveScan& c,
                       const Tensor& run_starts) {
  static const auto op = find_operator<decltype(backward<OnCpu>)>("dnamamba::selective_scan_backward");
  return op.call(dy, dfinal_state, c.x, c.delta, c.A, c.B, c.C, c.D, c.z, c.delta_bias, c.offsets, c.initial_state,
                 c.reverse, run_starts);
}

class Autograd : public torch::autograd::Function<Autograd> {
 public:
  static torch::autograd::variable_list forward(torch::autograd::AutogradContext* context, const Tensor& x,
                                                const Tensor& delta, const Tensor& A, const Tensor& B, const Tensor& C,
                                                const OptionalTensor& D, const OptionalTensor& z,
                                                const OptionalTensor& delta_bias, const OptionalTensor& offsets,
                                                const OptionalTensor& initial_state, bool want_final_state,
                                                bool reverse) {
    const at::AutoDispatchBelowADInplaceOrView below;
    const auto [y, final_state, run_starts] =
        call_keeping_forward({x, delta, A, B, C, D, z, delta_bias, offsets, initial_state, want_final_state, reverse});
    context->save_for_backward({x, delta, A, B, C, or_undefined(D), or_undefined(z), or_undefined(delta_bias),
                                or_undefined(offsets), or_undefined(initial_state), run_starts});
    context->saved_data["want_final_state"] = want_final_state;
    context->saved_data["reverse"] = reverse;
    if (!want_final_state) context->mark_non_differentiable({final_state});
    context->set_materialize_grads(false);
    return {y, final_state};
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 const torch::autograd::variable_list& gradients) {
    const auto saved = context->get_saved_variables();
    const SelectiveScan call{saved[0],
                             saved[1],
                             saved[2],
                             saved[3],
                             saved[4],
                             or_absent(saved[5]),
                             or_absent(saved[6]),
                             or_absent(saved[7]),
                             or_absent(saved[8]),
                             or_absent(saved[9]),
                             false,
                             context->saved_data["reverse"].toBool()};
    const Tensor dy = gradients[0].defined() ? gradients[0] : at::zeros_like(call.x);
    const OptionalTensor dfinal_state =
        context->saved_data["want_final_state"].toBool() ? or_absent(gradients[1]) : OptionalTensor();
    const auto [dx, ddelta, dA, dB, dC, dD, dz, ddelta_bias, dinitial_state] =
        call_backward(dy, dfinal_state, call, saved[10]);
    return {dx,
            ddelta,
            dA,
            dB,
            dC,
            gradient_or_none(dD, given(call.D)),
            gradient_or_none(dz, given(call.z)),
            gradient_or_none(ddelta_bias, given(call.delta_bias)),
            Tensor(),
            gradient_or_none(dinitial_state, given(call.initial_state)),
            Tensor(),
            Tensor()};
  }
};

Forward forward_autograd(const Tensor& x, const Tensor& delta, const Tensor& A, const Tensor& B, const Tensor& C,
                         const OptionalTensor& D, const OptionalTensor& z, const OptionalTensor& delta_bias,
                         const OptionalTensor& offsets, const OptionalTensor& initial_state, bool want_final_state,
                         bool reverse) {
  const auto out =
      Autograd::apply(x, delta, A, B, C, D, z, delta_bias, offsets, initial_state, want_final_state, reverse);
  return {out[0], out[1]};
}

}  // namespace

std::tuple<Tensor, Tensor> selective_scan(const SelectiveScan& call) {
  return call_forward(call);
}

TORCH_LIBRARY_FRAGMENT(dnamamba, library) {
  library.def(
      "selective_scan(Tensor x, Tensor delta, Tensor A, Tensor B, Tensor C, Tensor? D=None, Tensor? z=None, "
      "Tensor? delta_bias=None, Tensor? offsets=None, Tensor? initial_state=None, bool want_final_state=False, "
      "bool reverse=False) -> (Tensor y, Tensor final_state)");
  library.def(
      "selective_scan_keeping(Tensor x, Tensor delta, Tensor A, Tensor B, Tensor C, Tensor? D=None, Tensor? z=None, "
      "Tensor? delta_bias=None, Tensor? offsets=None, Tensor? initial_state=None, bool want_final_state=False, "
      "bool reverse=False) -> (Tensor y, Tensor final_state, Tensor run_starts)");
  library.def(
      "selective_scan_backward(Tensor dy, Tensor? dfinal_state, Tensor x, Tensor delta, Tensor A, Tensor B, Tensor C, "
      "Tensor? D=None, Tensor? z=None, Tensor? delta_bias=None, Tensor? offsets=None, Tensor? initial_state=None, "
      "bool reverse=False, Tensor? run_starts=None) -> (Tensor dx, Tensor ddelta, Tensor dA, Tensor dB, Tensor dC, "
      "Tensor dD, Tensor dz, "
      "Tensor ddelta_bias, Tensor dinitial_state)");
}
TORCH_LIBRARY_IMPL(dnamamba, CPU, library) {
  library.impl("selective_scan", forward<OnCpu>);
  library.impl("selective_scan_keeping", keeping_forward<OnCpu>);
  library.impl("selective_scan_backward", backward<OnCpu>);
}
TORCH_LIBRARY_IMPL(dnamamba, Meta, library) {
  library.impl("selective_scan", forward_shapes);
  library.impl("selective_scan_keeping", keeping_forward_shapes);
  library.impl("selective_scan_backward", backward_shapes);
}
TORCH_LIBRARY_IMPL(dnamamba, Autograd, library) {
  library.impl("selective_scan", forward_autograd);
}

}  // namespace dnamamba::ops
