#include "core/ops/token_loss.h"

#include <ATen/ops/empty.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/library.h>

#include "core/ops/operator_call.h"
#include "kernels/token_loss.h"

namespace dnamamba::ops {
namespace {

using at::Tensor;
using Backward = std::tuple<Tensor, Tensor>;

// The tensors of a call, checked and contiguous, as the kernels' struct.
template <typename T>
struct BoundInputs {
  TokenLoss call;
  kernels::TokenLossInputs<T> inputs;

  explicit BoundInputs(const TokenLoss& given_call) : call(given_call) {
    const std::int64_t tokens = call.hidden.size(0), width = call.hidden.size(1);
    call.hidden = checked("hidden", call.hidden, {tokens, width}, call.hidden.scalar_type());
    call.weight = checked("weight", call.weight, {call.weight.size(0), width}, call.hidden.scalar_type());
    call.targets = checked("targets", call.targets, {tokens}, at::kByte);
    call.token_weights = checked("token_weights", call.token_weights, {tokens}, at::kFloat);
    inputs = {.tokens = tokens,
              .width = width,
              .vocabulary = call.weight.size(0),
              .hidden = call.hidden.template const_data_ptr<T>(),
              .weight = call.weight.template const_data_ptr<T>(),
              .targets = call.targets.template const_data_ptr<std::uint8_t>(),
              .token_weights = pointer<float>(call.token_weights)};
  }
};

Tensor forward_meta(const Tensor& hidden, const Tensor& weight, const Tensor& /*targets*/,
                    const OptionalTensor& /*token_weights*/) {
  TORCH_CHECK(hidden.dim() == 2, "hidden must be [tokens, channels], not ", hidden.sizes());
  TORCH_CHECK(weight.dim() == 2, "weight must be [vocabulary, channels], not ", weight.sizes());
  return at::empty({hidden.size(0)}, hidden.options());
}

Tensor forward_cpu(const Tensor& hidden, const Tensor& weight, const Tensor& targets,
                   const OptionalTensor& token_weights) {
  Tensor loss = forward_meta(hidden, weight, targets, token_weights);
  dispatch_floating(hidden.scalar_type(), "token_loss", [&]<typename T>() {
    const BoundInputs<T> bound({hidden, weight, targets, token_weights});
    kernels::cpu::token_loss<T>(bound.inputs, {loss.mutable_data_ptr<T>()}, torch_threads());
  });
  return loss;
}

Backward backward_meta(const Tensor& /*dloss*/, const Tensor& hidden, const Tensor& weight, const Tensor& /*targets*/,
                       const OptionalTensor& /*token_weights*/) {
  return {at::empty(hidden.sizes(), hidden.options()), at::empty(weight.sizes(), weight.options())};
}

Backward backward_cpu(const Tensor& dloss, const Tensor& hidden, const Tensor& weight, const Tensor& targets,
                      const OptionalTensor& token_weights) {
  Backward out = backward_meta(dloss, hidden, weight, targets, token_weights);
  auto& [dhidden, dweight] = out;
  dispatch_floating(hidden.scalar_type(), "token_loss", [&]<typename T>() {
    const BoundInputs<T> bound({hidden, weight, targets, token_weights});
    const Tensor dloss_checked = checked("dloss", dloss, {hidden.size(0)}, hidden.scalar_type());
    const Tensor space = workspace(kernels::cpu::token_loss_backward_workspace<T>(bound.inputs));
    kernels::cpu::token_loss_backward<T>(
        bound.inputs, {dloss_checked.const_data_ptr<T>(), dhidden.mutable_data_ptr<T>(), dweight.mutable_data_ptr<T>()},
        space.mutable_data_ptr(), torch_threads());
  });
  return out;
}

Tensor call_forward(const TokenLoss& c) {
  static const auto op = find_operator<decltype(forward_cpu)>("dnamamba::token_loss");
  return op.call(c.hidden, c.weight, c.targets, c.token_weights);
}

Backward call_backward(const Tensor& dloss, const TokenLoss& c) {
  static const auto op = find_operator<decltype(backward_cpu)>("dnamamba::token_loss_backward");
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
  library.impl("token_loss", forward_cpu);
  library.impl("token_loss_backward", backward_cpu);
}
TORCH_LIBRARY_IMPL(dnamamba, Meta, library) {
  library.impl("token_loss", forward_meta);
  library.impl("token_loss_backward", backward_meta);
}
TORCH_LIBRARY_IMPL(dnamamba, Autograd, library) {
  library.impl("token_loss", forward_autograd);
}

}  // namespace dnamamba::ops
