#include "core/ops/add_rms_norm.h"

#include <torch/csrc/autograd/custom_function.h>
#include <torch/library.h>

#include "core/ops/add_rms_norm_binding.h"
#include "core/ops/operator_call.h"

namespace dnamamba::ops {
namespace {

using at::Tensor;

struct OnCpu : Cpu {
  /// Calls body.template operator()<T, R>(): R is T.
  template <typename Body>
  static void with_types(const Tensor& x, at::ScalarType residual_dtype, Body&& body) {
    dispatch(x.device(), x.scalar_type(), "add_rms_norm", [&]<typename T>() {
      TORCH_CHECK(residual_dtype == dtype_of<T>(), "add_rms_norm on the CPU takes a residual of x's type, ",
                  x.scalar_type(), ", not ", residual_dtype);
      body.template operator()<T, T>();
    });
  }
  template <typename T, typename R>
  static void forward(const kernels::AddRmsNormInputs<T>& in, const kernels::AddRmsNormOutputs<T>& out) {
    kernels::cpu::add_rms_norm<T>(in, out, torch_threads());
  }
  template <typename T, typename R>
  static std::int64_t workspace_bytes(const kernels::AddRmsNormInputs<T>& in) {
    return kernels::cpu::add_rms_norm_backward_workspace<T>(in);
  }
  template <typename T, typename R>
  static void backward(const kernels::AddRmsNormInputs<T>& in, const kernels::AddRmsNormGradients<T>& gradients,
                       void* workspace) {
    kernels::cpu::add_rms_norm_backward<T>(in, gradients, workspace, torch_threads());
  }
};

NormForward call_forward(const AddRmsNorm& c) {
  static const auto op = find_operator<decltype(add_rms_norm_forward<OnCpu>)>("dnamamba::add_rms_norm");
  return op.call(c.x, c.residual, c.weight, c.bias, c.epsilon, c.layer_norm, c.residual_dtype);
}

/// `dtype` is x's.
NormBackward call_backward(const OptionalTensor& dy, const OptionalTensor& dresidual_out, const Tensor& residual_out,
                           const Tensor& weight, const OptionalTensor& bias, double epsilon, bool layer_norm,
                           at::ScalarType dtype, bool want_dresidual) {
  static const auto op = find_operator<decltype(add_rms_norm_backward<OnCpu>)>("dnamamba::add_rms_norm_backward");
  return op.call(dy, dresidual_out, residual_out, weight, bias, epsilon, layer_norm, dtype, want_dresidual);
}

class Autograd : public torch::autograd::Function<Autograd> {
 public:
  static torch::autograd::variable_list forward(torch::autograd::AutogradContext* context, const Tensor& x,
                                                const OptionalTensor& residual, const Tensor& weight,
                                                const OptionalTensor& bias, double epsilon, bool layer_norm,
                                                OptionalDtype residual_dtype) {
    const at::AutoDispatchBelowADInplaceOrView below;
    auto [y, residual_out] = call_forward({x, residual, weight, bias, epsilon, layer_norm, residual_dtype});
    context->save_for_backward({residual_out, weight, or_undefined(bias)});
    context->saved_data["has_residual"] = given(residual);
    context->saved_data["dtype"] = static_cast<std::int64_t>(x.scalar_type());
    context->saved_data["epsilon"] = epsilon;
    context->saved_data["layer_norm"] = layer_norm;
    context->set_materialize_grads(false);
    return {y, residual_out};
  }

  // Where the types of x and residual are one, so is their gradient.
  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 const torch::autograd::variable_list& gradients) {
    const auto saved = context->get_saved_variables();
    auto& data = context->saved_data;
    const auto dtype = static_cast<at::ScalarType>(data["dtype"].toInt());
    const bool has_residual = data["has_residual"].toBool();
    const bool two_types = has_residual && dtype != saved[0].scalar_type();
    const auto [dx, dresidual, dweight, dbias] =
        call_backward(or_absent(gradients[0]), or_absent(gradients[1]), saved[0], saved[1], or_absent(saved[2]),
                      data["epsilon"].toDouble(), data["layer_norm"].toBool(), dtype, two_types);
    return {dx,       gradient_or_none(two_types ? dresidual : dx, has_residual),
            dweight,  gradient_or_none(dbias, saved[2].defined()),
            Tensor(), Tensor(),
            Tensor()};
  }
};

NormForward forward_autograd(const Tensor& x, const OptionalTensor& residual, const Tensor& weight,
                             const OptionalTensor& bias, double epsilon, bool layer_norm,
                             OptionalDtype residual_dtype) {
  const auto out = Autograd::apply(x, residual, weight, bias, epsilon, layer_norm, residual_dtype);
  return {out[0], out[1]};
}

}  // namespace

std::tuple<Tensor, Tensor> add_rms_norm(const AddRmsNorm& call) {
  return call_forward(call);
}

TORCH_LIBRARY_FRAGMENT(dnamamba, library) {
  library.def(
      "add_rms_norm(Tensor x, Tensor? residual, Tensor weight, Tensor? bias=None, float epsilon=1e-05, "
      "bool layer_norm=False, ScalarType? residual_dtype=None) -> (Tensor y, Tensor residual_out)");
  library.def(
      "add_rms_norm_backward(Tensor? dy, Tensor? dresidual_out, Tensor residual_out, Tensor weight, "
      "Tensor? bias=None, float epsilon=1e-05, bool layer_norm=False, ScalarType? dtype=None, "
      "bool want_dresidual=False) -> (Tensor dx, Tensor dresidual, Tensor dweight, Tensor dbias)");
}
TORCH_LIBRARY_IMPL(dnamamba, CPU, library) {
  library.impl("add_rms_norm", add_rms_norm_forward<OnCpu>);
  library.impl("add_rms_norm_backward", add_rms_norm_backward<OnCpu>);
}
TORCH_LIBRARY_IMPL(dnamamba, Meta, library) {
  library.impl("add_rms_norm", add_rms_norm_shape);
  library.impl("add_rms_norm_backward", add_rms_norm_backward_shape);
}
TORCH_LIBRARY_IMPL(dnamamba, Autograd, library) {
  library.impl("add_rms_norm", forward_autograd);
}

}  // namespace dnamamba::ops
