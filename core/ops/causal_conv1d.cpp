#include "core/ops/causal_conv1d.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/zeros_like.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/library.h>

#include "core/ops/operator_call.h"
#include "core/ops/ragged_offsets.h"
#include "kernels/causal_conv1d.h"

namespace dnamamba::ops {
namespace {

using at::Tensor;
using Forward = std::tuple<Tensor, Tensor>;
using Backward = std::tuple<Tensor, Tensor, Tensor, Tensor>;

std::vector<std::int64_t> state_shape(const Tensor& x, const Tensor& weight, const OptionalTensor& offsets) {
  TORCH_CHECK(x.dim() == 2, "x must be [tokens, channels], not ", x.sizes());
  TORCH_CHECK(weight.dim() == 2, "weight must be [channels, width], not ", weight.sizes());
  return {sequence_count(offsets), weight.size(1) - 1, x.size(1)};
}

// The tensors of a call, checked and contiguous, as the kernels' struct.
template <typename T>
struct BoundInputs {
  CausalConv1d call;
  RaggedOffsets offsets;
  kernels::CausalConv1dInputs<T> inputs;

  explicit BoundInputs(const CausalConv1d& given_call)
      : call(given_call), offsets(given_call.offsets, given_call.x.size(0)) {
    const std::int64_t channels = call.x.size(1), width = call.weight.size(1);
    const auto dtype = call.x.scalar_type();
    call.x = checked_rows("x", call.x, call.x.sizes(), dtype);
    call.weight = checked("weight", call.weight, {channels, width}, dtype);
    call.bias = checked("bias", call.bias, {channels}, dtype);
    call.initial_state =
        checked("initial_state", call.initial_state, state_shape(call.x, call.weight, call.offsets), dtype);
    inputs = {.ragged = offsets.ragged(),
              .channels = channels,
              .width = width,
              .x = call.x.template const_data_ptr<T>(),
              .weight = call.weight.template const_data_ptr<T>(),
              .bias = pointer<T>(call.bias),
              .initial_state = pointer<T>(call.initial_state),
              .silu = call.silu,
              .reverse = call.reverse,
              .x_row = call.x.stride(0)};
  }
};

Forward forward_meta(const Tensor& x, const Tensor& weight, const OptionalTensor& /*bias*/,
                     const OptionalTensor& offsets, const OptionalTensor& /*initial_state*/, bool want_final_state,
                     bool /*silu*/, bool /*reverse*/) {
  const auto shape = state_shape(x, weight, offsets);
  return {at::empty(x.sizes(), x.options()), want_final_state ? at::empty(shape, x.options()) : no_tensor(x)};
}

Forward forward_cpu(const Tensor& x, const Tensor& weight, const OptionalTensor& bias, const OptionalTensor& offsets,
                    const OptionalTensor& initial_state, bool want_final_state, bool silu, bool reverse) {
  auto [y, final_state] = forward_meta(x, weight, bias, offsets, initial_state, want_final_state, silu, reverse);
  dispatch_floating(x.scalar_type(), "causal_conv1d", [&]<typename T>() {
    const BoundInputs<T> bound({x, weight, bias, offsets, initial_state, false, silu, reverse});
    kernels::cpu::causal_conv1d<T>(
        bound.inputs, {y.mutable_data_ptr<T>(), output_pointer<T>(final_state, want_final_state)}, torch_threads());
  });
  return {y, final_state};
}

Backward backward_meta(const Tensor& /*dy*/, const OptionalTensor& /*dfinal_state*/, const Tensor& x,
                       const Tensor& weight, const OptionalTensor& bias, const OptionalTensor& offsets,
                       const OptionalTensor& initial_state, bool /*silu*/, bool /*reverse*/) {
  const auto shape = state_shape(x, weight, offsets);
  return {at::empty(x.sizes(), x.options()), at::empty(weight.sizes(), x.options()),
          given(bias) ? at::empty(bias->sizes(), x.options()) : no_tensor(x),
          given(initial_state) ? at::empty(shape, x.options()) : no_tensor(x)};
}

Backward backward_cpu(const Tensor& dy, const OptionalTensor& dfinal_state, const Tensor& x, const Tensor& weight,
                      const OptionalTensor& bias, const OptionalTensor& offsets, const OptionalTensor& initial_state,
                      bool silu, bool reverse) {
  Backward out = backward_meta(dy, dfinal_state, x, weight, bias, offsets, initial_state, silu, reverse);
  auto& [dx, dweight, dbias, dinitial_state] = out;
  dispatch_floating(x.scalar_type(), "causal_conv1d", [&]<typename T>() {
    const BoundInputs<T> bound({x, weight, bias, offsets, initial_state, false, silu, reverse});
    const Tensor dy_checked = checked("dy", dy, x.sizes(), x.scalar_type());
    const OptionalTensor dfinal =
        checked("dfinal_state", dfinal_state, state_shape(x, weight, offsets), x.scalar_type());
    const Tensor space = workspace(kernels::cpu::causal_conv1d_backward_workspace<T>(bound.inputs));
    kernels::cpu::causal_conv1d_backward<T>(bound.inputs,
                                            {.dy = dy_checked.const_data_ptr<T>(),
                                             .dfinal_state = pointer<T>(dfinal),
                                             .dx = dx.mutable_data_ptr<T>(),
                                             .dweight = dweight.mutable_data_ptr<T>(),
                                             .dbias = output_pointer<T>(dbias, given(bias)),
                                             .dinitial_state = output_pointer<T>(dinitial_state, given(initial_state))},
                                            space.mutable_data_ptr(), torch_threads());
  });
  return out;
}

Forward call_forward(const CausalConv1d& c) {
  static const auto op = find_operator<decltype(forward_cpu)>("dnamamba::causal_conv1d");
  return op.call(c.x, c.weight, c.bias, c.offsets, c.initial_state, c.want_final_state, c.silu, c.reverse);
}

Backward call_backward(const Tensor& dy, const OptionalTensor& dfinal_state, const CausalConv1d& c) {
  static const auto op = find_operator<decltype(backward_cpu)>("dnamamba::causal_conv1d_backward");
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
  library.impl("causal_conv1d", forward_cpu);
  library.impl("causal_conv1d_backward", backward_cpu);
}
TORCH_LIBRARY_IMPL(dnamamba, Meta, library) {
  library.impl("causal_conv1d", forward_meta);
  library.impl("causal_conv1d_backward", backward_meta);
}
TORCH_LIBRARY_IMPL(dnamamba, Autograd, library) {
  library.impl("causal_conv1d", forward_autograd);
}

}  // namespace dnamamba::ops
