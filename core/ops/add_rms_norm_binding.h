// add_rms_norm on tensors of any device: `Device` brings the kernels.
#pragma once
#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>

#include <tuple>

#include "core/ops/add_rms_norm.h"
#include "kernels/add_rms_norm.h"

namespace dnamamba::ops {

using NormForward = std::tuple<at::Tensor, at::Tensor>;
using NormBackward = std::tuple<at::Tensor, at::Tensor, at::Tensor, at::Tensor>;
using OptionalDtype = std::optional<at::ScalarType>;

/// The parameters of a call, checked and contiguous, and the kernels' struct without rows to read.
template <typename T, typename R>
struct BoundNorm {
  at::Tensor weight;
  OptionalTensor bias;
  kernels::AddRmsNormInputs<T, R> inputs;

  /// `rows`: any tensor [T, D] on the device of all.
  BoundNorm(const at::Tensor& rows, const at::Tensor& given_weight, const OptionalTensor& given_bias, double epsilon,
            bool layer_norm) {
    using Wide = kernels::Wide<T>;
    weight = checked("weight", given_weight, {rows.size(1)}, dtype_of<Wide>(), rows.device());
    bias = checked("bias", given_bias, {rows.size(1)}, dtype_of<Wide>(), rows.device());
    inputs = {.rows = rows.size(0),
              .columns = rows.size(1),
              .weight = values<Wide>(weight),
              .bias = pointer<Wide>(bias),
              .epsilon = epsilon,
              .layer_norm = layer_norm};
  }
};

inline NormForward add_rms_norm_shape(const at::Tensor& x, const OptionalTensor& residual, const at::Tensor& /*weight*/,
                                      const OptionalTensor& /*bias*/, double /*epsilon*/, bool /*layer_norm*/,
                                      OptionalDtype residual_dtype) {
  TORCH_CHECK(x.dim() == 2, "x must be [tokens, channels], not ", x.sizes());
  const at::ScalarType begins = residual_dtype.value_or(x.scalar_type());
  const at::ScalarType dtype = given(residual) ? residual->scalar_type() : begins;
  TORCH_CHECK(residual_dtype.value_or(dtype) == dtype, "residual is ", dtype, ", not ", begins);
  return {at::empty(x.sizes(), x.options()), at::empty(x.sizes(), x.options().dtype(dtype))};
}

template <class Device>
NormForward add_rms_norm_forward(const at::Tensor& x, const OptionalTensor& residual, const at::Tensor& weight,
                                 const OptionalTensor& bias, double epsilon, bool layer_norm,
                                 OptionalDtype residual_dtype) {
  auto out = add_rms_norm_shape(x, residual, weight, bias, epsilon, layer_norm, residual_dtype);
  const auto& [y, residual_out] = out;
  Device::with_types(
      x, residual_out.scalar_type(), [&, &y = y, &residual_out = residual_out]<typename T, typename R>() {
        const at::Tensor rows = checked("x", x, x.sizes(), dtype_of<T>(), x.device());
        const OptionalTensor added = checked("residual", residual, x.sizes(), dtype_of<R>(), x.device());
        BoundNorm<T, R> bound(x, weight, bias, epsilon, layer_norm);
        bound.inputs.x = values<T>(rows);
        bound.inputs.residual = pointer<R>(added);
        Device::template forward<T, R>(bound.inputs, {mutable_values<T>(y), mutable_values<R>(residual_out)});
      });
  return out;
}

/// (dx, dresidual or an empty tensor, dweight, dbias or an empty tensor).
inline NormBackward add_rms_norm_backward_shape(const OptionalTensor& /*dy*/, const OptionalTensor& /*dresidual_out*/,
                                                const at::Tensor& residual_out, const at::Tensor& weight,
                                                const OptionalTensor& bias, double /*epsilon*/, bool /*layer_norm*/,
                                                OptionalDtype dtype, bool want_dresidual) {
  TORCH_CHECK(residual_out.dim() == 2, "residual_out must be [tokens, channels], not ", residual_out.sizes());
  const auto options = residual_out.options();
  const at::ScalarType of_x = dtype.value_or(residual_out.scalar_type());
  const auto wide = options.dtype(wide_dtype(of_x));
  return {at::empty(residual_out.sizes(), options.dtype(of_x)),
          want_dresidual ? at::empty(residual_out.sizes(), options) : no_tensor(residual_out),
          at::empty(weight.sizes(), wide), given(bias) ? at::empty(bias->sizes(), wide) : at::empty({0}, wide)};
}

template <class Device>
NormBackward add_rms_norm_backward(const OptionalTensor& dy, const OptionalTensor& dresidual_out,
                                   const at::Tensor& residual_out, const at::Tensor& weight, const OptionalTensor& bias,
                                   double epsilon, bool layer_norm, OptionalDtype dtype, bool want_dresidual) {
  NormBackward out = add_rms_norm_backward_shape(dy, dresidual_out, residual_out, weight, bias, epsilon, layer_norm,
                                                 dtype, want_dresidual);
  auto& [dx, dresidual, dweight, dbias] = out;
  const auto run = [&, &dx = dx, &dresidual = dresidual, &dweight = dweight, &dbias = dbias]<typename T, typename R>() {
    using Wide = kernels::Wide<T>;
    const auto sizes = residual_out.sizes();
    const at::Device device = residual_out.device();
    const BoundNorm<T, R> bound(residual_out, weight, bias, epsilon, layer_norm);
    const at::Tensor r = checked("residual_out", residual_out, sizes, dtype_of<R>(), device);
    const at::Tensor dy_checked =
        checked("dy", given(dy) ? *dy : at::zeros(sizes, dx.options()), sizes, dtype_of<T>(), device);
    const OptionalTensor passed = checked("dresidual_out", dresidual_out, sizes, dtype_of<R>(), device);
    const at::Tensor space = workspace(Device::template workspace_bytes<T, R>(bound.inputs), device);
    Device::template backward<T, R>(bound.inputs,
                                    {.r = values<R>(r),
                                     .dy = values<T>(dy_checked),
                                     .dresidual_out = pointer<R>(passed),
                                     .dx = mutable_values<T>(dx),
                                     .dresidual = output_pointer<R>(dresidual, want_dresidual),
                                     .dweight = mutable_values<Wide>(dweight),
                                     .dbias = output_pointer<Wide>(dbias, given(bias))},
                                    space.mutable_data_ptr());
  };
  Device::with_types(dx, residual_out.scalar_type(), run);
  return out;
}

}  // namespace dnamamba::ops
