#include "core/ops/linear.h"

#include <ATen/ops/linear.h>
#include <ATen/ops/mm.h>
#include <torch/csrc/autograd/custom_function.h>

namespace dnamamba::ops {
namespace {

using at::Tensor;

// Master weights in float32 under activations of fewer bits.
class MixedLinear : public torch::autograd::Function<MixedLinear> {
 public:
  static Tensor forward(torch::autograd::AutogradContext* context, const Tensor& x, const Tensor& weight,
                        const OptionalTensor& bias) {
    const at::AutoDispatchBelowADInplaceOrView below;
    context->save_for_backward({x, weight});
    context->saved_data["bias"] = given(bias);
    return at::linear(x, weight.to(x.scalar_type()), given(bias) ? OptionalTensor(bias->to(x.scalar_type())) : bias);
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 const torch::autograd::variable_list& gradients) {
    const auto saved = context->get_saved_variables();
    const Tensor &x = saved[0], &weight = saved[1], &dy = gradients[0];
    const Tensor dx = context->needs_input_grad(0) ? at::mm(dy, weight.to(dy.scalar_type())) : Tensor();
    const Tensor dweight = context->needs_input_grad(1) ? at::mm(dy.t(), x, weight.scalar_type()) : Tensor();
    const Tensor dbias = context->saved_data["bias"].toBool() ? dy.sum(0, false, weight.scalar_type()) : Tensor();
    return {dx, dweight, dbias};
  }
};

}  // namespace

Tensor linear(const Tensor& x, const Tensor& weight, const OptionalTensor& bias) {
  if (x.scalar_type() == weight.scalar_type()) return at::linear(x, weight, bias);
  return MixedLinear::apply(x, weight, bias);
}

}  // namespace dnamamba::ops
