#include "core/ops/add_rms_norm.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/zeros_like.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/library.h>

#include "core/ops/operator_call.h"
#include "kernels/add_rms_norm.h"

namespace dnamamba::ops {
namespace {

using at::Tensor;
using Forward = std::tuple<Tensor, Tensor>;
using Backward = std::tuple<Tensor, Tensor, Tensor>;

// The tensors of a call, checked and contiguous, as the kernels' struct.
template <typename T>
struct BoundInputs {
  AddRmsNorm call;
  kernels::AddRmsNormInputs<T> inputs;

  explicit BoundInputs(const AddRmsNorm& given_call) : call(given_call) {
    const auto dtype = call.x.scalar_type();
    call.x = checked("x", call.x, call.x.sizes(), dtype);
    call.residual = checked("residual", call.residual, call.x.sizes(), dtype);
    call.weight = checked("weight", call.weight, {call.x.size(1)}, dtype);
    call.bias = checked("bias", call.bias, {call.x.size(1)}, dtype);
    inputs = {.rows = call.x.size(0),
              .columns = call.x.size(1),
              .x = call.x.template const_data_ptr<T>(),
              .residual = pointer<T>(call.residual),
              .weight = call.weight.template const_data_ptr<T>(),
              .bias = pointer<T>(call.bias),
              .epsilon = call.epsilon,
              .layer_norm = call.layer_norm};
  }
};

Forward forward_meta(const Tensor& x, const OptionalTensor& /*residual*/, const Tensor& /*weight*/,
                     const OptionalTensor& /*bias*/, double /*epsilon*/, bool /*layer_norm*/) {
  TORCH_CHECK(x.dim() == 2, "x must be [tokens, channels], not ", x.sizes());
  return {at::empty(x.sizes(), x.options()), at::empty(x.sizes(), x.options())};
}

Forward forward_cpu(const Tensor& x, const OptionalTensor& residual, const Tensor& weight, const OptionalTensor& bias,
                    double epsilon, bool layer_norm) {
  auto [y, residual_out] = forward_meta(x, residual, weight, bias, epsilon, layer_norm);
  dispatch_floating(x.scalar_type(), "add_rms_norm", [&]<typename T>() {
    const BoundInputs<T> bound({x, residual, weight, bias, epsilon, layer_norm});
    kernels::cpu::add_rms_norm<T>(bound.inputs, {y.mutable_data_ptr<T>(), residual_out.mutable_data_ptr<T>()},
                                  torch_threads());
  });
  return {y, residual_out};
}

Backward backward_meta(const OptionalTensor& /*dy*/, const OptionalTensor& /*dresidual_out*/,
                       const Tensor& residual_out, const Tensor& weight, const OptionalTensor& bias, double /*epsilon*/,
                       bool /*layer_norm*/) {
  const auto& options = residual_out.options();
  return {at::empty(residual_out.sizes(), options), at::empty(weight.sizes(), options),
          given(bias) ? at::empty(bias->sizes(), options) : no_tensor(residual_out)};
}

Backward backward_cpu(const OptionalTensor& dy, const OptionalTensor& dresidual_out, const Tensor& residual_out,
                      const Tensor& weight, const OptionalTensor& bias, double epsilon, bool layer_norm) {
  Backward out = backward_meta(dy, dresidual_out, residual_out, weight, bias, epsilon, layer_norm);
  auto& [dr, dweight, dbias] = out;
  dispatch_floating(residual_out.scalar_type(), "add_rms_norm", [&]<typename T>() {
    const BoundInputs<T> bound({residual_out, std::nullopt, weight, bias, epsilon, layer_norm});
    const Tensor dy_checked =
        checked("dy", given(dy) ? *dy : at::zeros_like(residual_out), residual_out.sizes(), residual_out.scalar_type());
    const OptionalTensor dresidual =
        checked("dresidual_out", dresidual_out, residual_out.sizes(), residual_out.scalar_type());
    const Tensor space = workspace(kernels::cpu::add_rms_norm_backward_workspace<T>(bound.inputs));
    kernels::cpu::add_rms_norm_backward<T>(bound.inputs,
                                           {.dy = dy_checked.const_data_ptr<T>(),
                                            .dresidual_out = pointer<T>(dresidual),
                                            .dr = dr.mutable_data_ptr<T>(),
                                            .dweight = dweight.mutable_data_ptr<T>(),
                                            .dbias = output_pointer<T>(dbias, given(bias))},
                                           space.mutable_data_ptr(), torch_threads());
  });
  return out;
}

Forward call_forward(const AddRmsNorm& c) {
  static const auto op = find_operator<decltype(forward_cpu)>("dnamamba::add_rms_norm");
  return op.call(c.x, c.residual, c.weight, c.bias, c.epsilon, c.layer_norm);
}

Backward call_backward(const OptionalTensor& dy, const OptionalTensor& dresidual_out, const AddRmsNorm& c) {
  static const auto op = find_operator<decltype(backward_cpu)>("dnamamba::add_rms_norm_backward");
  return op.call(dy, dresidual_out, c.x, c.weight, c.bias, c.epsilon, c.layer_norm);
}

class Autograd : public torch::autograd::Function<Autograd> {
 public:
  static torch::autograd::variable_list forward(torch::autograd::AutogradContext* context, const Tensor& x,
                                                const OptionalTensor& residual, const Tensor& weight,
                                                const OptionalTensor& bias, double epsilon, bool layer_norm) {
    const at::AutoDispatchBelowADInplaceOrView below;
    auto [y, residual_out] = call_forward({x, residual, weight, bias, epsilon, layer_norm});
    context->save_for_backward({residual_out, weight, or_undefined(bias)});
    context->saved_data["has_residual"] = given(residual);
    context->saved_data["epsilon"] = epsilon;
    context->saved_data["layer_norm"] = layer_norm;
    context->set_materialize_grads(false);
    return {y, residual_out};
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 const torch::autograd::variable_list& gradients) {
    const auto saved = context->get_saved_variables();
    const AddRmsNorm call{saved[0],
                          std::nullopt,
                          saved[1],
                          or_absent(saved[2]),
                          context->saved_data["epsilon"].toDouble(),
                          context->saved_data["layer_norm"].toBool()};
    const auto [dr, dweight, dbias] = call_backward(or_absent(gradients[0]), or_absent(gradients[1]), call);
    return {dr,       gradient_or_none(dr, context->saved_data["has_residual"].toBool()),
            dweight,  gradient_or_none(dbias, given(call.bias)),
            Tensor(), Tensor()};
  }
};

Forward forward_autograd(const Tensor& x, const OptionalTensor& residual, const Tensor& weight,
                         const OptionalTensor& bias, double epsilon, bool layer_norm) {
  const auto out = Autograd::apply(x, residual, weight, bias, epsilon, layer_norm);
  return {out[0], out[1]};
}

}  // namespace

std::tuple<Tensor, Tensor> add_rms_norm(const AddRmsNorm& call) {
  return call_forward(call);
}

TORCH_LIBRARY_FRAGMENT(dnamamba, library) {
  library.def(
      "add_rms_norm(Tensor x, Tensor? residual, Tensor weight, Tensor? bias=None, float epsilon=1e-05, "
      "bool layer_norm=False) -> (Tensor y, Tensor residual_out)");
  library.def(
      "add_rms_norm_backward(Tensor? dy, Tensor? dresidual_out, Tensor residual_out, Tensor weight, "
      "Tensor? bias=None, float epsilon=1e-05, bool layer_norm=False) -> (Tensor dr, Tensor dweight, Tensor dbias)");
}
TORCH_LIBRARY_IMPL(dnamamba, CPU, library) {
  library.impl("add_rms_norm", forward_cpu);
  library.impl("add_rms_norm_backward", backward_cpu);
}
TORCH_LIBRARY_IMPL(dnamamba, Meta, library) {
  library.impl("add_rms_norm", forward_meta);
  library.impl("add_rms_norm_backward", backward_meta);
}
TORCH_LIBRARY_IMPL(dnamamba, Autograd, library) {
  library.impl("add_rms_norm", forward_autograd);
}

}  // namespace dnamamba::ops
