#include "core/ops/token_loss.h"

#include <torch/csrc/autograd/custom_function.h>
#include <torch/library.h>

#include "core/ops/operator_call.h"
#include "core/ops/token_loss_binding.h"

namespace dnamamba::ops {
namespace {

using at::Tensor;
using Backward = LossBackward;

struct OnCpu : Cpu {
  template <typename T>
  static void forward(const kernels::TokenLossInputs<T>& in, const kernels::TokenLossOutputs<T>& out) {
    kernels::cpu::token_loss<T>(in, out, torch_threads());
  }
  template <typename T>
  static std::int64_t workspace_bytes(const kernels::TokenLossInputs<T>& in) {
    return kernels::cpu::token_loss_backward_workspace<T>(in);
  }
  template <typename T>
  static void backward(const kernels::TokenLossInputs<T>& in, const kernels::TokenLossGradients<T>& gradients,
                       void* workspace) {
    kernels::cpu::token_loss_backward<T>(in, gradients, workspace, torch_threads());
  }
};

Tensor call_forward(const TokenLoss& c) {
  static const auto op = find_operator<decltype(token_loss_forward<OnCpu>)>("dnamamba::token_loss");
  return op.call(c.hidden, c.weight, c.targets, c.token_weights);
}

Backward call_backward(const Tensor& dloss, const TokenLoss& c) {
  static const auto op = find_operator<decltype(token_loss_backward<OnCpu>)>("dnamamba::token_loss_backward");
  return op.call(dloss, c.hidden, c.weight, c.targets, c.token_weights);
}

class Autograd : public torch::autograd::Function<Autograd> {
 public:
  static Tensor forward(torch::autograd::AutogradContext* context, const Tensor& hidden, const Tensor& weight,
                        const Tensor& targets, const OptionalTensor& token_weights) {
    const at::AutoDispatchBelowADInplaceOrView below;
    context->save_for_backward({hidden, weight, targets, or_undefined(token_weights)});
    return call_forward({hidden, weight, targets, token_weights});
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 const torch::autograd::variable_list& gradients) {
    const auto saved = context->get_saved_variables();
    const auto [dhidden, dweight] = call_backward(gradients[0], {saved[0], saved[1], saved[2], or_absent(saved[3])});
    return {dhidden, dweight, Tensor(), Tensor()};
  }
};

Tensor forward_autograd(const Tensor& hidden, const Tensor& weight, const Tensor& targets,
                        const OptionalTensor& token_weights) {
  return Autograd::apply(hidden, weight, targets, token_weights);
}

}  // namespace

Tensor token_loss(const TokenLoss& call) {
  return call_forward(call);
}

TORCH_LIBRARY_FRAGMENT(dnamamba, library) {
  library.def("token_loss(Tensor hidden, Tensor weight, Tensor targets, Tensor? token_weights=None) -> Tensor");
  library.def(
      "token_loss_backward(Tensor dloss, Tensor hidden, Tensor weight, Tensor targets, Tensor? token_weights=None) "
      "-> (Tensor dhidden, Tensor dweight)");
}
TORCH_LIBRARY_IMPL(dnamamba, CPU, library) {
  library.impl("token_loss", token_loss_forward<OnCpu>);
  library.impl("token_loss_backward", token_loss_backward<OnCpu>);
}
TORCH_LIBRARY_IMPL(dnamamba, Meta, library) {
  library.impl("token_loss", token_loss_shape);
  library.impl("token_loss_backward", token_loss_backward_shape);
}
TORCH_LIBRARY_IMPL(dnamamba, Autograd, library) {
  library.impl("token_loss", forward_autograd);
}

}  // namespace dnamamba::ops
