#include "core/ops/ssd.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/zeros_like.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/library.h>

#include <limits>

#include "core/ops/operator_call.h"
#include "core/ops/ragged_offsets.h"
#include "kernels/ssd.h"

namespace dnamamba::ops {
namespace {

using at::Tensor;
using Limit = std::optional<double>;
using Forward = std::tuple<Tensor, Tensor>;
using Backward = std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor>;

// The tensors of a call, checked and contiguous, as the kernels' struct.
template <typename T>
struct BoundInputs {
  Ssd call;
  RaggedOffsets offsets;
  kernels::SsdInputs<T> inputs;

  explicit BoundInputs(const Ssd& given_call) : call(given_call), offsets(given_call.offsets, given_call.x.size(0)) {
    const std::int64_t tokens = call.x.size(0), heads = call.x.size(1), head_dim = call.x.size(2);
    const std::int64_t groups = call.B.size(1), states = call.B.size(2);
    const bool D_per_channel = given(call.D) && call.D->dim() == 2;
    const auto dtype = call.x.scalar_type();
    call.x = checked_rows("x", call.x, {tokens, heads, head_dim}, dtype);
    call.dt = checked("dt", call.dt, {tokens, heads}, dtype);
    call.A = checked("A", call.A, {heads}, dtype);
    call.B = checked_rows("B", call.B, {tokens, groups, states}, dtype);
    call.C = checked_rows("C", call.C, {tokens, groups, states}, dtype);
    call.D = D_per_channel ? checked("D", call.D, {heads, head_dim}, dtype) : checked("D", call.D, {heads}, dtype);
    call.dt_bias = checked("dt_bias", call.dt_bias, {heads}, dtype);
    call.initial_state =
        checked("initial_state", call.initial_state, {offsets.sequences(), heads, head_dim, states}, dtype);
    inputs = {.ragged = offsets.ragged(),
              .heads = heads,
              .head_dim = head_dim,
              .groups = groups,
              .states = states,
              .x = call.x.template const_data_ptr<T>(),
              .dt = call.dt.template const_data_ptr<T>(),
              .A = call.A.template const_data_ptr<T>(),
              .B = call.B.template const_data_ptr<T>(),
              .C = call.C.template const_data_ptr<T>(),
              .D = pointer<T>(call.D),
              .D_per_channel = D_per_channel,
              .dt_bias = pointer<T>(call.dt_bias),
              .dt_min = call.dt_min,
              .dt_max = call.dt_max.value_or(std::numeric_limits<double>::infinity()),
              .initial_state = pointer<T>(call.initial_state),
              .reverse = call.reverse,
              .x_row = call.x.stride(0),
              .B_row = call.B.stride(0),
              .C_row = call.C.stride(0)};
  }
};

std::vector<std::int64_t> state_shape(const Tensor& x, const Tensor& B, const OptionalTensor& offsets) {
  TORCH_CHECK(x.dim() == 3, "x must be [tokens, heads, channels], not ", x.sizes());
  TORCH_CHECK(B.dim() == 3, "B must be [tokens, groups, states], not ", B.sizes());
  return {sequence_count(offsets), x.size(1), x.size(2), B.size(2)};
}

Forward forward_meta(const Tensor& x, const Tensor& /*dt*/, const Tensor& /*A*/, const Tensor& B, const Tensor& /*C*/,
                     const OptionalTensor& /*D*/, const OptionalTensor& /*dt_bias*/, const OptionalTensor& offsets,
                     const OptionalTensor& /*initial_state*/, double /*dt_min*/, Limit /*dt_max*/,
                     bool want_final_state, bool /*reverse*/) {
  const auto shape = state_shape(x, B, offsets);
  return {at::empty(x.sizes(), x.options()), want_final_state ? at::empty(shape, x.options()) : no_tensor(x)};
}

Forward forward_cpu(const Tensor& x, const Tensor& dt, const Tensor& A, const Tensor& B, const Tensor& C,
                    const OptionalTensor& D, const OptionalTensor& dt_bias, const OptionalTensor& offsets,
                    const OptionalTensor& initial_state, double dt_min, Limit dt_max, bool want_final_state,
                    bool reverse) {
  auto [y, final_state] =
      forward_meta(x, dt, A, B, C, D, dt_bias, offsets, initial_state, dt_min, dt_max, want_final_state, reverse);
  dispatch_floating(x.scalar_type(), "ssd", [&]<typename T>() {
    const BoundInputs<T> bound({x, dt, A, B, C, D, dt_bias, offsets, initial_state, dt_min, dt_max, false, reverse});
    kernels::cpu::ssd<T>(bound.inputs, {y.mutable_data_ptr<T>(), output_pointer<T>(final_state, want_final_state)},
                         torch_threads());
  });
  return {y, final_state};
}

Backward backward_meta(const Tensor& /*dy*/, const OptionalTensor& /*dfinal_state*/, const Tensor& x, const Tensor& dt,
                       const Tensor& A, const Tensor& B, const Tensor& C, const OptionalTensor& D,
                       const OptionalTensor& dt_bias, const OptionalTensor& offsets,
                       const OptionalTensor& initial_state, double /*dt_min*/, Limit /*dt_max*/, bool /*reverse*/) {
  const auto shape = state_shape(x, B, offsets);
  const auto like = [&](const Tensor& tensor) { return at::empty(tensor.sizes(), x.options()); };
  const auto like_optional = [&](const OptionalTensor& tensor) { return given(tensor) ? like(*tensor) : no_tensor(x); };
  return {like(x),
          like(dt),
          like(A),
          like(B),
          like(C),
          like_optional(D),
          like_optional(dt_bias),
          given(initial_state) ? at::empty(shape, x.options()) : no_tensor(x)};
}

Backward backward_cpu(const Tensor& dy, const OptionalTensor& dfinal_state, const Tensor& x, const Tensor& dt,
                      const Tensor& A, const Tensor& B, const Tensor& C, const OptionalTensor& D,
                      const OptionalTensor& dt_bias, const OptionalTensor& offsets, const OptionalTensor& initial_state,
                      double dt_min, Limit dt_max, bool reverse) {
  Backward out =
      backward_meta(dy, dfinal_state, x, dt, A, B, C, D, dt_bias, offsets, initial_state, dt_min, dt_max, reverse);
  auto& [dx, ddt, dA, dB, dC, dD, ddt_bias, dinitial_state] = out;
  dispatch_floating(x.scalar_type(), "ssd", [&]<typename T>() {
    const BoundInputs<T> bound({x, dt, A, B, C, D, dt_bias, offsets, initial_state, dt_min, dt_max, false, reverse});
    const Tensor dy_checked = checked("dy", dy, x.sizes(), x.scalar_type());
    const OptionalTensor dfinal = checked("dfinal_state", dfinal_state, state_shape(x, B, offsets), x.scalar_type());
    const Tensor space = workspace(kernels::cpu::ssd_backward_workspace<T>(bound.inputs));
    kernels::cpu::ssd_backward<T>(bound.inputs,
                                  {.dy = dy_checked.const_data_ptr<T>(),
                                   .dfinal_state = pointer<T>(dfinal),
                                   .dx = dx.mutable_data_ptr<T>(),
                                   .ddt = ddt.mutable_data_ptr<T>(),
                                   .dA = dA.mutable_data_ptr<T>(),
                                   .dB = dB.mutable_data_ptr<T>(),
                                   .dC = dC.mutable_data_ptr<T>(),
                                   .dD = output_pointer<T>(dD, given(D)),
                                   .ddt_bias = output_pointer<T>(ddt_bias, given(dt_bias)),
                                   .dinitial_state = output_pointer<T>(dinitial_state, given(initial_state))},
                                  space.mutable_data_ptr(), torch_threads());
  });
  return out;
}

Forward call_forward(const Ssd& c) {
  static const auto op = find_operator<decltype(forward_cpu)>("dnamamba::ssd");
  return op.call(c.x, c.dt, c.A, c.B, c.C, c.D, c.dt_bias, c.offsets, c.initial_state, c.dt_min, c.dt_max,
                 c.want_final_state, c.reverse);
}

Backward call_backward(const Tensor& dy, const OptionalTensor& dfinal_state, const Ssd& c) {
  static const auto op = find_operator<decltype(backward_cpu)>("dnamamba::ssd_backward");
  return op.call(dy, dfinal_state, c.x, c.dt, c.A, c.B, c.C, c.D, c.dt_bias, c.offsets, c.initial_state, c.dt_min,
                 c.dt_max, c.reverse);
}

class Autograd : public torch::autograd::Function<Autograd> {
 public:
  static torch::autograd::variable_list forward(torch::autograd::AutogradContext* context, const Tensor& x,
                                                const Tensor& dt, const Tensor& A, const Tensor& B, const Tensor& C,
                                                const OptionalTensor& D, const OptionalTensor& dt_bias,
                                                const OptionalTensor& offsets, const OptionalTensor& initial_state,
                                                double dt_min, Limit dt_max, bool want_final_state, bool reverse) {
    const at::AutoDispatchBelowADInplaceOrView below;
    auto [y, final_state] =
        call_forward({x, dt, A, B, C, D, dt_bias, offsets, initial_state, dt_min, dt_max, want_final_state, reverse});
    context->save_for_backward(
        {x, dt, A, B, C, or_undefined(D), or_undefined(dt_bias), or_undefined(offsets), or_undefined(initial_state)});
    context->saved_data["dt_min"] = dt_min;
    context->saved_data["dt_max"] = dt_max;
    context->saved_data["want_final_state"] = want_final_state;
    context->saved_data["reverse"] = reverse;
    if (!want_final_state) context->mark_non_differentiable({final_state});
    context->set_materialize_grads(false);
    return {y, final_state};
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 const torch::autograd::variable_list& gradients) {
    const auto saved = context->get_saved_variables();
    const Ssd call{.x = saved[0],
                   .dt = saved[1],
                   .A = saved[2],
                   .B = saved[3],
                   .C = saved[4],
                   .D = or_absent(saved[5]),
                   .dt_bias = or_absent(saved[6]),
                   .offsets = or_absent(saved[7]),
                   .initial_state = or_absent(saved[8]),
                   .dt_min = context->saved_data["dt_min"].toDouble(),
                   .dt_max = context->saved_data["dt_max"].toOptional<double>(),
                   .reverse = context->saved_data["reverse"].toBool()};
    const Tensor dy = gradients[0].defined() ? gradients[0] : at::zeros_like(call.x);
    const OptionalTensor dfinal_state =
        context->saved_data["want_final_state"].toBool() ? or_absent(gradients[1]) : OptionalTensor();
    const auto [dx, ddt, dA, dB, dC, dD, ddt_bias, dinitial_state] = call_backward(dy, dfinal_state, call);
    return {dx,
            ddt,
            dA,
            dB,
            dC,
            gradient_or_none(dD, given(call.D)),
            gradient_or_none(ddt_bias, given(call.dt_bias)),
            Tensor(),
            gradient_or_none(dinitial_state, given(call.initial_state)),
            Tensor(),
            Tensor(),
            Tensor(),
            Tensor()};
  }
};

Forward forward_autograd(const Tensor& x, const Tensor& dt, const Tensor& A, const Tensor& B, const Tensor& C,
                         const OptionalTensor& D, const OptionalTensor& dt_bias, const OptionalTensor& offsets,
                         const OptionalTensor& initial_state, double dt_min, Limit dt_max, bool want_final_state,
                         bool reverse) {
  const auto out =
      Autograd::apply(x, dt, A, B, C, D, dt_bias, offsets, initial_state, dt_min, dt_max, want_final_state, reverse);
  return {out[0], out[1]};
}

}  // namespace

std::tuple<Tensor, Tensor> ssd(const Ssd& call) {
  return call_forward(call);
}

TORCH_LIBRARY_FRAGMENT(dnamamba, library) {
  library.def(
      "ssd(Tensor x, Tensor dt, Tensor A, Tensor B, Tensor C, Tensor? D=None, Tensor? dt_bias=None, "
      "Tensor? offsets=None, Tensor? initial_state=None, float dt_min=0.0, float? dt_max=None, "
      "bool want_final_state=False, bool reverse=False) -> (Tensor y, Tensor final_state)");
  library.def(
      "ssd_backward(Tensor dy, Tensor? dfinal_state, Tensor x, Tensor dt, Tensor A, Tensor B, Tensor C, "
      "Tensor? D=None, Tensor? dt_bias=None, Tensor? offsets=None, Tensor? initial_state=None, float dt_min=0.0, "
      "float? dt_max=None, bool reverse=False) -> (Tensor dx, Tensor ddt, Tensor dA, Tensor dB, Tensor dC, Tensor dD, "
      "Tensor ddt_bias, Tensor dinitial_state)");
}
TORCH_LIBRARY_IMPL(dnamamba, CPU, library) {
  library.impl("ssd", forward_cpu);
  library.impl("ssd_backward", backward_cpu);
}
TORCH_LIBRARY_IMPL(dnamamba, Meta, library) {
  library.impl("ssd", forward_meta);
  library.impl("ssd_backward", backward_meta);
}
TORCH_LIBRARY_IMPL(dnamamba, Autograd, library) {
  library.impl("ssd", forward_autograd);
}

}  // namespace dnamamba::ops
