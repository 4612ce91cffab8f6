// token_loss on tensors of any device: `Device` brings the kernels.
#pragma once
#include <ATen/ops/empty.h>

#include <tuple>

#include "core/ops/token_loss.h"
#include "kernels/token_loss.h"

namespace dnamamba::ops {

using LossBackward = std::tuple<at::Tensor, at::Tensor>;

/// The tensors of a call, checked and contiguous, as the kernels' struct.
template <typename T>
struct BoundLoss {
  TokenLoss call;
  kernels::TokenLossInputs<T> inputs;

  explicit BoundLoss(const TokenLoss& given_call) : call(given_call) {
    using Wide = kernels::Wide<T>;
    const std::int64_t tokens = call.hidden.size(0), width = call.hidden.size(1), vocabulary = call.weight.size(0);
    const at::Device device = call.hidden.device();
    call.hidden = checked("hidden", call.hidden, {tokens, width}, dtype_of<T>(), device);
    call.weight = checked("weight", call.weight, {vocabulary, width}, dtype_of<Wide>(), device);
    call.targets = checked("targets", call.targets, {tokens}, at::kByte, device);
    call.token_weights = checked("token_weights", call.token_weights, {tokens}, at::kFloat, device);
    inputs = {.tokens = tokens,
              .width = width,
              .vocabulary = vocabulary,
              .hidden = values<T>(call.hidden),
              .weight = values<Wide>(call.weight),
              .targets = values<std::uint8_t>(call.targets),
              .token_weights = pointer<float>(call.token_weights)};
  }
};

inline at::Tensor token_loss_shape(const at::Tensor& hidden, const at::Tensor& weight, const at::Tensor& /*targets*/,
                                   const OptionalTensor& /*token_weights*/) {
  TORCH_CHECK(hidden.dim() == 2, "hidden must be [tokens, channels], not ", hidden.sizes());
  TORCH_CHECK(weight.dim() == 2, "weight must be [vocabulary, channels], not ", weight.sizes());
  return at::empty({hidden.size(0)}, hidden.options().dtype(wide_dtype(hidden.scalar_type())));
}

template <class Device>
at::Tensor token_loss_forward(const at::Tensor& hidden, const at::Tensor& weight, const at::Tensor& targets,
                              const OptionalTensor& token_weights) {
  at::Tensor loss = token_loss_shape(hidden, weight, targets, token_weights);
  Device::dispatch(hidden.device(), hidden.scalar_type(), "token_loss", [&]<typename T>() {
    const BoundLoss<T> bound({hidden, weight, targets, token_weights});
    Device::template forward<T>(bound.inputs, {mutable_values<kernels::Wide<T>>(loss)});
  });
  return loss;
}

inline LossBackward token_loss_backward_shape(const at::Tensor& /*dloss*/, const at::Tensor& hidden,
                                              const at::Tensor& weight, const at::Tensor& /*targets*/,
                                              const OptionalTensor& /*token_weights*/) {
  return {at::empty(hidden.sizes(), hidden.options()), at::empty(weight.sizes(), weight.options())};
}

template <class Device>
LossBackward token_loss_backward(const at::Tensor& dloss, const at::Tensor& hidden, const at::Tensor& weight,
                                 const at::Tensor& targets, const OptionalTensor& token_weights) {
  LossBackward out = token_loss_backward_shape(dloss, hidden, weight, targets, token_weights);
  auto& [dhidden, dweight] = out;
  Device::dispatch(
      hidden.device(), hidden.scalar_type(), "token_loss", [&, &dhidden = dhidden, &dweight = dweight]<typename T>() {
        using Wide = kernels::Wide<T>;
        const BoundLoss<T> bound({hidden, weight, targets, token_weights});
        const at::Tensor dloss_checked = checked("dloss", dloss, {hidden.size(0)}, dtype_of<Wide>(), hidden.device());
        const at::Tensor space = workspace(Device::template workspace_bytes<T>(bound.inputs), hidden.device());
        Device::template backward<T>(
            bound.inputs, {values<Wide>(dloss_checked), mutable_values<T>(dhidden), mutable_values<Wide>(dweight)},
            space.mutable_data_ptr());
      });
  return out;
}

}  // namespace dnamamba::ops
