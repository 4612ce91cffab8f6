// causal_conv1d on tensors of any device: `Device` brings the kernels.
#pragma once
#include <ATen/ops/empty.h>

#include <tuple>
#include <vector>

#include "core/ops/causal_conv1d.h"
#include "core/ops/ragged_offsets.h"
#include "kernels/causal_conv1d.h"

namespace dnamamba::ops {

using ConvForward = std::tuple<at::Tensor, at::Tensor>;
using ConvBackward = std::tuple<at::Tensor, at::Tensor, at::Tensor, at::Tensor>;

inline std::vector<std::int64_t> conv_state_shape(const at::Tensor& x, const at::Tensor& weight,
                                                  const OptionalTensor& offsets) {
  TORCH_CHECK(x.dim() == 2, "x must be [tokens, channels], not ", x.sizes());
  TORCH_CHECK(weight.dim() == 2, "weight must be [channels, width], not ", weight.sizes());
  return {sequence_count(offsets), weight.size(1) - 1, x.size(1)};
}

/// The tensors of a call, checked and contiguous, as the kernels' struct. x's device is the current one.
template <class Device, typename T>
struct BoundConv {
  CausalConv1d call;
  RaggedOffsets offsets;
  kernels::CausalConv1dInputs<T> inputs;

  explicit BoundConv(const CausalConv1d& given_call)
      : call(given_call), offsets(given_call.offsets, given_call.x.size(0)) {
    using Wide = kernels::Wide<T>;
    const std::int64_t channels = call.x.size(1), width = call.weight.size(1);
    const at::ScalarType wide = dtype_of<Wide>();
    const at::Device device = call.x.device();
    call.x = device.is_cpu() ? checked_rows("x", call.x, call.x.sizes(), dtype_of<T>())
                             : checked("x", call.x, call.x.sizes(), dtype_of<T>(), device);
    call.weight = checked("weight", call.weight, {channels, width}, wide, device);
    call.bias = checked("bias", call.bias, {channels}, wide, device);
    call.initial_state =
        checked("initial_state", call.initial_state, conv_state_shape(call.x, call.weight, call.offsets), wide, device);
    inputs = {.ragged = offsets.ragged(),
              .channels = channels,
              .width = width,
              .x = values<T>(call.x),
              .weight = values<Wide>(call.weight),
              .bias = pointer<Wide>(call.bias),
              .initial_state = pointer<Wide>(call.initial_state),
              .silu = call.silu,
              .reverse = call.reverse,
              .x_row = call.x.stride(0)};
    inputs.ragged.on_device = Device::offsets_on_device(call.offsets);
  }
};

inline ConvForward causal_conv1d_shape(const at::Tensor& x, const at::Tensor& weight, const OptionalTensor& /*bias*/,
                                       const OptionalTensor& offsets, const OptionalTensor& /*initial_state*/,
                                       bool want_final_state, bool /*silu*/, bool /*reverse*/) {
  const auto shape = conv_state_shape(x, weight, offsets);
  const auto wide = x.options().dtype(wide_dtype(x.scalar_type()));
  return {at::empty(x.sizes(), x.options()), want_final_state ? at::empty(shape, wide) : at::empty({0}, wide)};
}

template <class Device>
ConvForward causal_conv1d_forward(const at::Tensor& x, const at::Tensor& weight, const OptionalTensor& bias,
                                  const OptionalTensor& offsets, const OptionalTensor& initial_state,
                                  bool want_final_state, bool silu, bool reverse) {
  auto [y, final_state] = causal_conv1d_shape(x, weight, bias, offsets, initial_state, want_final_state, silu, reverse);
  Device::dispatch(x.device(), x.scalar_type(), "causal_conv1d", [&]<typename T>() {
    const BoundConv<Device, T> bound({x, weight, bias, offsets, initial_state, false, silu, reverse});
    Device::template forward<T>(
        bound.inputs, {mutable_values<T>(y), output_pointer<kernels::Wide<T>>(final_state, want_final_state)});
  });
  return {y, final_state};
}

inline ConvBackward causal_conv1d_backward_shape(const at::Tensor& /*dy*/, const OptionalTensor& /*dfinal_state*/,
                                                 const at::Tensor& x, const at::Tensor& weight,
                                                 const OptionalTensor& bias, const OptionalTensor& offsets,
                                                 const OptionalTensor& initial_state, bool /*silu*/, bool /*reverse*/) {
  const auto shape = conv_state_shape(x, weight, offsets);
  const auto wide = x.options().dtype(wide_dtype(x.scalar_type()));
  return {at::empty(x.sizes(), x.options()), at::empty(weight.sizes(), wide),
          given(bias) ? at::empty(bias->sizes(), wide) : at::empty({0}, wide),
          given(initial_state) ? at::empty(shape, wide) : at::empty({0}, wide)};
}

template <class Device>
ConvBackward causal_conv1d_backward(const at::Tensor& dy, const OptionalTensor& dfinal_state, const at::Tensor& x,
                                    const at::Tensor& weight, const OptionalTensor& bias, const OptionalTensor& offsets,
                                    const OptionalTensor& initial_state, bool silu, bool reverse) {
  ConvBackward out =
      causal_conv1d_backward_shape(dy, dfinal_state, x, weight, bias, offsets, initial_state, silu, reverse);
  auto& [dx, dweight, dbias, dinitial_state] = out;
  Device::dispatch(x.device(), x.scalar_type(), "causal_conv1d", [&]<typename T>() {
    using Wide = kernels::Wide<T>;
    const BoundConv<Device, T> bound({x, weight, bias, offsets, initial_state, false, silu, reverse});
    const at::Tensor dy_checked = checked("dy", dy, x.sizes(), dtype_of<T>(), x.device());
    const OptionalTensor dfinal =
        checked("dfinal_state", dfinal_state, conv_state_shape(x, weight, offsets), dtype_of<Wide>(), x.device());
    const at::Tensor space = workspace(Device::template workspace_bytes<T>(bound.inputs), x.device());
    Device::template backward<T>(bound.inputs,
                                 {.dy = values<T>(dy_checked),
                                  .dfinal_state = pointer<Wide>(dfinal),
                                  .dx = mutable_values<T>(dx),
                                  .dweight = mutable_values<Wide>(dweight),
                                  .dbias = output_pointer<Wide>(dbias, given(bias)),
                                  .dinitial_state = output_pointer<Wide>(dinitial_state, given(initial_state))},
                                 space.mutable_data_ptr());
  });
  return out;
}

}  // namespace dnamamba::ops
