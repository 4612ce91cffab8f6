#include "core/ops/selective_scan.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/zeros_like.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/library.h>

#include "core/ops/operator_call.h"
#include "core/ops/ragged_offsets.h"
#include "kernels/selective_scan.h"

namespace dnamamba::ops {
namespace {

using at::Tensor;
using Forward = std::tuple<Tensor, Tensor>;
using Backward = std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor>;

// The tensors of a call, checked and contiguous, as the kernels' struct.
template <typename T>
struct BoundInputs {
  SelectiveScan call;
  RaggedOffsets offsets;
  kernels::SelectiveScanInputs<T> inputs;

  explicit BoundInputs(const SelectiveScan& given_call)
      : call(given_call), offsets(given_call.offsets, given_call.x.size(0)) {
    const std::int64_t tokens = call.x.size(0), channels = call.x.size(1), states = call.A.size(1);
    const auto dtype = call.x.scalar_type();
    call.x = checked("x", call.x, {tokens, channels}, dtype);
    call.delta = checked("delta", call.delta, {tokens, channels}, dtype);
    call.A = checked("A", call.A, {channels, states}, dtype);
    call.B = checked("B", call.B, {tokens, states}, dtype);
    call.C = checked("C", call.C, {tokens, states}, dtype);
    call.D = checked("D", call.D, {channels}, dtype);
    call.z = checked("z", call.z, {tokens, channels}, dtype);
    call.delta_bias = checked("delta_bias", call.delta_bias, {channels}, dtype);
    call.initial_state = checked("initial_state", call.initial_state, {offsets.sequences(), channels, states}, dtype);
    inputs = {.ragged = offsets.ragged(),
              .channels = channels,
              .states = states,
              .x = call.x.template const_data_ptr<T>(),
              .delta = call.delta.template const_data_ptr<T>(),
              .A = call.A.template const_data_ptr<T>(),
              .B = call.B.template const_data_ptr<T>(),
              .C = call.C.template const_data_ptr<T>(),
              .D = pointer<T>(call.D),
              .z = pointer<T>(call.z),
              .delta_bias = pointer<T>(call.delta_bias),
              .initial_state = pointer<T>(call.initial_state),
              .reverse = call.reverse};
  }
};

void check_ranks(const Tensor& x, const Tensor& A) {
  TORCH_CHECK(x.dim() == 2, "x must be [tokens, channels], not ", x.sizes());
  TORCH_CHECK(A.dim() == 2, "A must be [channels, states], not ", A.sizes());
}

std::vector<std::int64_t> state_shape(const Tensor& x, const Tensor& A, const OptionalTensor& offsets) {
  return {sequence_count(offsets), x.size(1), A.size(1)};
}

Forward forward_meta(const Tensor& x, const Tensor& /*delta*/, const Tensor& A, const Tensor& /*B*/,
                     const Tensor& /*C*/, const OptionalTensor& /*D*/, const OptionalTensor& /*z*/,
                     const OptionalTensor& /*delta_bias*/, const OptionalTensor& offsets,
                     const OptionalTensor& /*initial_state*/, bool want_final_state, bool /*reverse*/) {
  check_ranks(x, A);
  return {at::empty(x.sizes(), x.options()),
          want_final_state ? at::empty(state_shape(x, A, offsets), x.options()) : no_tensor(x)};
}

Forward forward_cpu(const Tensor& x, const Tensor& delta, const Tensor& A, const Tensor& B, const Tensor& C,
                    const OptionalTensor& D, const OptionalTensor& z, const OptionalTensor& delta_bias,
                    const OptionalTensor& offsets, const OptionalTensor& initial_state, bool want_final_state,
                    bool reverse) {
  auto [y, final_state] =
      forward_meta(x, delta, A, B, C, D, z, delta_bias, offsets, initial_state, want_final_state, reverse);
  dispatch_floating(x.scalar_type(), "selective_scan", [&]<typename T>() {
    const BoundInputs<T> bound({x, delta, A, B, C, D, z, delta_bias, offsets, initial_state, false, reverse});
    kernels::cpu::selective_scan<T>(
        bound.inputs, {y.mutable_data_ptr<T>(), output_pointer<T>(final_state, want_final_state)}, torch_threads());
  });
  return {y, final_state};
}

Backward backward_meta(const Tensor& /*dy*/, const OptionalTensor& /*dfinal_state*/, const Tensor& x,
                       const Tensor& /*delta*/, const Tensor& A, const Tensor& B, const Tensor& /*C*/,
                       const OptionalTensor& D, const OptionalTensor& z, const OptionalTensor& delta_bias,
                       const OptionalTensor& offsets, const OptionalTensor& initial_state, bool /*reverse*/) {
  check_ranks(x, A);
  const auto like = [&](const Tensor& tensor) { return at::empty(tensor.sizes(), x.options()); };
  const auto like_optional = [&](const OptionalTensor& tensor) { return given(tensor) ? like(*tensor) : no_tensor(x); };
  return {like(x),
          like(x),
          like(A),
          like(B),
          like(B),
          like_optional(D),
          like_optional(z),
          like_optional(delta_bias),
          given(initial_state) ? at::empty(state_shape(x, A, offsets), x.options()) : no_tensor(x)};
}

Backward backward_cpu(const Tensor& dy, const OptionalTensor& dfinal_state, const Tensor& x, const Tensor& delta,
                      const Tensor& A, const Tensor& B, const Tensor& C, const OptionalTensor& D,
                      const OptionalTensor& z, const OptionalTensor& delta_bias, const OptionalTensor& offsets,
                      const OptionalTensor& initial_state, bool reverse) {
  Backward out = backward_meta(dy, dfinal_state, x, delta, A, B, C, D, z, delta_bias, offsets, initial_state, reverse);
  auto& [dx, ddelta, dA, dB, dC, dD, dz, ddelta_bias, dinitial_state] = out;
  dispatch_floating(x.scalar_type(), "selective_scan", [&]<typename T>() {
    const BoundInputs<T> bound({x, delta, A, B, C, D, z, delta_bias, offsets, initial_state, false, reverse});
    const Tensor dy_checked = checked("dy", dy, x.sizes(), x.scalar_type());
    const OptionalTensor dfinal = checked("dfinal_state", dfinal_state, state_shape(x, A, offsets), x.scalar_type());
    const Tensor space = workspace(kernels::cpu::selective_scan_backward_workspace<T>(bound.inputs));
    kernels::cpu::selective_scan_backward<T>(
        bound.inputs,
        {.dy = dy_checked.const_data_ptr<T>(),
         .dfinal_state = pointer<T>(dfinal),
         .dx = dx.mutable_data_ptr<T>(),
         .ddelta = ddelta.mutable_data_ptr<T>(),
         .dA = dA.mutable_data_ptr<T>(),
         .dB = dB.mutable_data_ptr<T>(),
         .dC = dC.mutable_data_ptr<T>(),
         .dD = output_pointer<T>(dD, given(D)),
         .dz = output_pointer<T>(dz, given(z)),
         .ddelta_bias = output_pointer<T>(ddelta_bias, given(delta_bias)),
         .dinitial_state = output_pointer<T>(dinitial_state, given(initial_state))},
        space.mutable_data_ptr(), torch_threads());
  });
  return out;
}

Forward call_forward(const SelectiveScan& c) {
  static const auto op = find_operator<decltype(forward_cpu)>("dnamamba::selective_scan");
  return op.call(c.x, c.delta, c.A, c.B, c.C, c.D, c.z, c.delta_bias, c.offsets, c.initial_state, c.want_final_state,
                 c.reverse);
}

Backward call_backward(const Tensor& dy, const OptionalTensor& dfinal_state, const SelectiveScan& c) {
  static const auto op = find_operator<decltype(backward_cpu)>("dnamamba::selective_scan_backward");
  return op.call(dy, dfinal_state, c.x, c.delta, c.A, c.B, c.C, c.D, c.z, c.delta_bias, c.offsets, c.initial_state,
                 c.reverse);
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
    auto [y, final_state] =
        call_forward({x, delta, A, B, C, D, z, delta_bias, offsets, initial_state, want_final_state, reverse});
    context->save_for_backward({x, delta, A, B, C, or_undefined(D), or_undefined(z), or_undefined(delta_bias),
                                or_undefined(offsets), or_undefined(initial_state)});
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
    const auto [dx, ddelta, dA, dB, dC, dD, dz, ddelta_bias, dinitial_state] = call_backward(dy, dfinal_state, call);
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
      "selective_scan_backward(Tensor dy, Tensor? dfinal_state, Tensor x, Tensor delta, Tensor A, Tensor B, Tensor C, "
      "Tensor? D=None, Tensor? z=None, Tensor? delta_bias=None, Tensor? offsets=None, Tensor? initial_state=None, "
      "bool reverse=False) -> (Tensor dx, Tensor ddelta, Tensor dA, Tensor dB, Tensor dC, Tensor dD, Tensor dz, "
      "Tensor ddelta_bias, Tensor dinitial_state)");
}
TORCH_LIBRARY_IMPL(dnamamba, CPU, library) {
  library.impl("selective_scan", forward_cpu);
  library.impl("selective_scan_backward", backward_cpu);
}
TORCH_LIBRARY_IMPL(dnamamba, Meta, library) {
  library.impl("selective_scan", forward_meta);
  library.impl("selective_scan_backward", backward_meta);
}
TORCH_LIBRARY_IMPL(dnamamba, Autograd, library) {
  library.impl("selective_scan", forward_autograd);
}

}  // namespace dnamamba::ops
