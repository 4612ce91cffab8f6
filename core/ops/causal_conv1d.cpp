#include "core/ops/causal_conv1d.h"

#include <ATen/ops/zeros_like.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/library.h>

#include "core/ops/causal_conv1d_binding.h"
#include "core/ops/operator_call.h"

namespace dnamamba::ops {
namespace {

using at::Tensor;
using Forward = ConvForward;
using Backward = ConvBackward;

struct OnCpu : Cpu {
  template <typename T>
  static void forward(const kernels::CausalConv1dInputs<T>& in, const kernels::CausalConv1dOutputs<T>& out) {
    kernels::cpu::causal_conv1d<T>(in, out, torch_threads());
  }
  template <typename T>
  static std::int64_t workspace_bytes(const kernels::CausalConv1dInputs<T>& in) {
    return kernels::cpu::causal_conv1d_backward_workspace<T>(in);
  }
  template <typename T>
  static void backward(const kernels::CausalConv1dInputs<T>& in, const kernels::CausalConv1dGradients<T>& gradients,
                       void* workspace) {
    kernels::cpu::causal_conv1d_backward<T>(in, gradients, workspace, torch_threads());
  }
};

Forward call_forward(const CausalConv1d& c) {
  static const auto op = find_operator<decltype(causal_conv1d_forward<OnCpu>)>("dnamamba::causal_conv1d");
  return op.call(c.x, c.weight, c.bias, c.offsets, c.initial_state, c.want_final_state, c.silu, c.reverse);
}

Backward call_backward(const Tensor& dy, const OptionalTensor& dfinal_state, const CausalConv1d& c) {
  static const auto op = find_operator<decltype(causal_conv1d_backward<OnCpu>)>("dnamamba::causal_conv1d_backward");
  return op.call(dy, dfinal_state, c.x, c.weight, c.bias, c.offsets, c.initial_state, c.silu, c.reverse);
}

class Autograd : public torch::autograd::Function<Autograd> {
 public:
  static torch::autograd::variable_list forward(torch::autograd::AutogradContext* context, const Tensor& x,
                                                const Tensor& weight, const OptionalTensor& bias,
                                                const OptionalTensor& offsets, const OptionalTensor& initial_state,
                                                bool want_final_state, bool silu, bool reverse) {
    const at::AutoDispatchBelowADInplaceOrView below;
    auto [y, final_state] = call_forward({x, weight, bias, offsets, initial_state, want_final_state, silu, reverse});
    context->save_for_backward({x, weight, or_undefined(bias), or_undefined(offsets), or_undefined(initial_state)});
    context->saved_data["want_final_state"] = want_final_state;
    context->saved_data["silu"] = silu;
    context->saved_data["reverse"] = reverse;
    if (!want_final_state) context->mark_non_differentiable({final_state});
    context->set_materialize_grads(false);
    return {y, final_state};
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 const torch::autograd::variable_list& gradients) {
    const auto saved = context->get_saved_variables();
    const CausalConv1d call{saved[0],
                            saved[1],
                            or_absent(saved[2]),
                            or_absent(saved[3]),
                            or_absent(saved[4]),
                            false,
                            context->saved_data["silu"].toBool(),
                            context->saved_data["reverse"].toBool()};
    const Tensor dy = gradients[0].defined() ? gradients[0] : at::zeros_like(call.x);
    const OptionalTensor dfinal_state =
        context->saved_data["want_final_state"].toBool() ? or_absent(gradients[1]) : OptionalTensor();
    const auto [dx, dweight, dbias, dinitial_state] = call_backward(dy, dfinal_state, call);
    return {dx,
            dweight,
            gradient_or_none(dbias, given(call.bias)),
            Tensor(),
            gradient_or_none(dinitial_state, given(call.initial_state)),
            Tensor(),
            Tensor(),
            Tensor()};
  }
};

Forward forward_autograd(const Tensor& x, const Tensor& weight, const OptionalTensor& bias,
                         const OptionalTensor& offsets, const OptionalTensor& initial_state, bool want_final_state,
                         bool silu, bool reverse) {
  const auto out = Autograd::apply(x, weight, bias, offsets, initial_state, want_final_state, silu, reverse);
  return {out[0], out[1]};
}

}  // namespace

std::tuple<Tensor, Tensor> causal_conv1d(const CausalConv1d& call) {
  return call_forward(call);
}

TORCH_LIBRARY_FRAGMENT(dnamamba, library) {
  library.def(
      "causal_conv1d(Tensor x, Tensor weight, Tensor? bias=None, Tensor? offsets=None, Tensor? initial_state=None, "
      "bool want_final_state=False, bool silu=True, bool reverse=False) -> (Tensor y, Tensor final_state)");
  library.def(
      "causal_conv1d_backward(Tensor dy, Tensor? dfinal_state, Tensor x, Tensor weight, Tensor? bias=None, "
      "Tensor? offsets=None, Tensor? initial_state=None, bool silu=True, bool reverse=False) "
      "-> (Tensor dx, Tensor dweight, Tensor dbias, Tensor dinitial_state)");
}
TORCH_LIBRARY_IMPL(dnamamba, CPU, library) {
  library.impl("causal_conv1d", causal_conv1d_forward<OnCpu>);
  library.impl("causal_conv1d_backward", causal_conv1d_backward<OnCpu>);
}
TORCH_LIBRARY_IMPL(dnamamba, Meta, library) {
  library.impl("causal_conv1d", causal_conv1d_shape);
  library.impl("causal_conv1d_backward", causal_conv1d_backward_shape);
}
TORCH_LIBRARY_IMPL(dnamamba, Autograd, library) {
  library.impl("causal_conv1d", forward_autograd);
}

}  // namespace dnamamba::ops
