// selective_scan on tensors of any device: `Device` brings the kernels.
#pragma once
#include <ATen/ops/empty.h>

#include <tuple>
#include <vector>

#include "core/ops/ragged_offsets.h"
#include "core/ops/selective_scan.h"
#include "kernels/selective_scan.h"

namespace dnamamba::ops::selective_scan_binding {

using at::Tensor;
using Forward = std::tuple<Tensor, Tensor>;
using KeepingForward = std::tuple<Tensor, Tensor, Tensor>;
using Backward = std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor>;

// The tensors of a call, checked and contiguous, as the kernels' struct. x's device is the current one.
template <class Device, typename T>
struct BoundInputs {
  using Wide = kernels::Wide<T>;
  SelectiveScan call;
  RaggedOffsets offsets;
  kernels::SelectiveScanInputs<T> inputs;

  explicit BoundInputs(const SelectiveScan& given_call)
      : call(given_call), offsets(given_call.offsets, given_call.x.size(0)) {
    const std::int64_t tokens = call.x.size(0), channels = call.x.size(1), states = call.A.size(1);
    const auto dtype = call.x.scalar_type(), wide = wide_dtype(dtype);
    const at::Device device = call.x.device();
    call.x = checked("x", call.x, {tokens, channels}, dtype, device);
    call.delta = checked("delta", call.delta, {tokens, channels}, dtype, device);
    call.A = checked("A", call.A, {channels, states}, wide, device);
    call.B = checked_rows("B", call.B, {tokens, states}, dtype, device);
    call.C = checked_rows("C", call.C, {tokens, states}, dtype, device);
    if (!Device::kRowsApart || call.B.stride(0) != call.C.stride(0)) {
      call.B = call.B.contiguous(), call.C = call.C.contiguous();
    }
    call.D = checked("D", call.D, {channels}, wide, device);
    call.z = checked("z", call.z, {tokens, channels}, dtype, device);
    call.delta_bias = checked("delta_bias", call.delta_bias, {channels}, wide, device);
    call.initial_state =
        checked("initial_state", call.initial_state, {offsets.sequences(), channels, states}, wide, device);
    inputs = {.ragged = offsets.ragged(),
              .channels = channels,
              .states = states,
              .x = values<T>(call.x),
              .delta = values<T>(call.delta),
              .A = values<Wide>(call.A),
              .B = values<T>(call.B),
              .C = values<T>(call.C),
              .D = pointer<Wide>(call.D),
              .z = pointer<T>(call.z),
              .delta_bias = pointer<Wide>(call.delta_bias),
              .initial_state = pointer<Wide>(call.initial_state),
              .reverse = call.reverse,
              .state_row = tokens > 1 ? call.B.stride(0) : states};
    inputs.ragged.on_device = Device::offsets_on_device(call.offsets);
  }
};

inline void check_ranks(const Tensor& x, const Tensor& A) {
  TORCH_CHECK(x.dim() == 2, "x must be [tokens, channels], not ", x.sizes());
  TORCH_CHECK(A.dim() == 2, "A must be [channels, states], not ", A.sizes());
}

inline std::vector<std::int64_t> state_shape(const Tensor& x, const Tensor& A, const OptionalTensor& offsets) {
  return {sequence_count(offsets), x.size(1), A.size(1)};
}

inline Forward forward_shapes(const Tensor& x, const Tensor& /*delta*/, const Tensor& A, const Tensor& /*B*/,
                              const Tensor& /*C*/, const OptionalTensor& /*D*/, const OptionalTensor& /*z*/,
                              const OptionalTensor& /*delta_bias*/, const OptionalTensor& offsets,
                              const OptionalTensor& /*initial_state*/, bool want_final_state, bool /*reverse*/) {
  check_ranks(x, A);
  return {at::empty(x.sizes(), x.options()),
          want_final_state ? at::empty(state_shape(x, A, offsets), A.options()) : no_tensor(A)};
}

// kernels::scan_run_starts as a tensor, the same on every device; only GPUs fill it in.
inline std::vector<std::int64_t> run_starts_shape(const Tensor& x, const Tensor& A, const OptionalTensor& offsets) {
  const kernels::ScanRunStarts s = kernels::scan_run_starts(x.size(0), sequence_count(offsets), x.size(1), A.size(1));
  return {s.groups, s.places, s.channels, s.group};
}

inline KeepingForward keeping_forward_shapes(const Tensor& x, const Tensor& delta, const Tensor& A, const Tensor& B,
                                             const Tensor& C, const OptionalTensor& D, const OptionalTensor& z,
                                             const OptionalTensor& delta_bias, const OptionalTensor& offsets,
                                             const OptionalTensor& initial_state, bool want_final_state, bool reverse) {
  auto [y, final_state] =
      forward_shapes(x, delta, A, B, C, D, z, delta_bias, offsets, initial_state, want_final_state, reverse);
  return {y, final_state, at::empty(run_starts_shape(x, A, offsets), A.options())};
}

template <class Device>
Forward forward(const Tensor& x, const Tensor& delta, const Tensor& A, const Tensor& B, const Tensor& C,
                const OptionalTensor& D, const OptionalTensor& z, const OptionalTensor& delta_bias,
                const OptionalTensor& offsets, const OptionalTensor& initial_state, bool want_final_state,
                bool reverse) {
  auto [y, final_state] =
      forward_shapes(x, delta, A, B, C, D, z, delta_bias, offsets, initial_state, want_final_state, reverse);
  Device::dispatch(x.device(), x.scalar_type(), "selective_scan", [&]<typename T>() {
    const BoundInputs<Device, T> bound({x, delta, A, B, C, D, z, delta_bias, offsets, initial_state, false, reverse});
    Device::template forward<T>(
        bound.inputs, {mutable_values<T>(y), output_pointer<kernels::Wide<T>>(final_state, want_final_state)});
  });
  return {y, final_state};
}

/// As forward(), and what the backward pass can use.
template <class Device>
KeepingForward keeping_forward(const Tensor& x, const Tensor& delta, const Tensor& A, const Tensor& B, const Tensor& C,
                               const OptionalTensor& D, const OptionalTensor& z, const OptionalTensor& delta_bias,
                               const OptionalTensor& offsets, const OptionalTensor& initial_state,
                               bool want_final_state, bool reverse) {
  auto [y, final_state, run_starts] =
      keeping_forward_shapes(x, delta, A, B, C, D, z, delta_bias, offsets, initial_state, want_final_state, reverse);
  Device::dispatch(x.device(), x.scalar_type(), "selective_scan", [&]<typename T>() {
    using Wide = kernels::Wide<T>;
    const BoundInputs<Device, T> bound({x, delta, A, B, C, D, z, delta_bias, offsets, initial_state, false, reverse});
    Device::template forward<T>(
        bound.inputs,
        {mutable_values<T>(y), output_pointer<Wide>(final_state, want_final_state), mutable_values<Wide>(run_starts)});
  });
  return {y, final_state, run_starts};
}

inline Backward backward_shapes(const Tensor& /*dy*/, const OptionalTensor& /*dfinal_state*/, const Tensor& x,
                                const Tensor& /*delta*/, const Tensor& A, const Tensor& B, const Tensor& /*C*/,
                                const OptionalTensor& D, const OptionalTensor& z, const OptionalTensor& delta_bias,
                                const OptionalTensor& offsets, const OptionalTensor& initial_state, bool /*reverse*/,
                                const OptionalTensor& /*run_starts*/) {
  check_ranks(x, A);
  const auto like = [&](const Tensor& tensor) { return at::empty(tensor.sizes(), tensor.options()); };
  const auto like_optional = [&](const OptionalTensor& tensor) { return given(tensor) ? like(*tensor) : no_tensor(x); };
  return {like(x),
          like(x),
          like(A),
          like(B),
          like(B),
          like_optional(D),
          like_optional(z),
          like_optional(delta_bias),
          given(initial_state) ? at::empty(state_shape(x, A, offsets), A.options()) : no_tensor(A)};
}

template <class Device>
Backward backward(const Tensor& dy, const OptionalTensor& dfinal_state, const Tensor& x, const Tensor& delta,
                  const Tensor& A, const Tensor& B, const Tensor& C, const OptionalTensor& D, const OptionalTensor& z,
                  const OptionalTensor& delta_bias, const OptionalTensor& offsets, const OptionalTensor& initial_state,
                  bool reverse, const OptionalTensor& run_starts) {
  Backward out = backward_shapes(dy, dfinal_state, x, delta, A, B, C, D, z, delta_bias, offsets, initial_state, reverse,
                                 run_starts);
  auto& [dx, ddelta, dA, dB, dC, dD, dz, ddelta_bias, dinitial_state] = out;
  Device::dispatch(x.device(), x.scalar_type(), "selective_scan", [&]<typename T>() {
    using Wide = kernels::Wide<T>;
    const BoundInputs<Device, T> bound({x, delta, A, B, C, D, z, delta_bias, offsets, initial_state, false, reverse});
    const Tensor dy_checked = checked("dy", dy, x.sizes(), x.scalar_type(), x.device());
    const OptionalTensor dfinal =
        checked("dfinal_state", dfinal_state, state_shape(x, A, offsets), dtype_of<Wide>(), x.device());
    const auto starts_shape = run_starts_shape(x, A, offsets);
    const Tensor starts =
        given(run_starts)
            ? checked("run_starts", *run_starts, starts_shape, dtype_of<Wide>(), x.device())
            : Device::template run_starts<T>(bound.inputs, at::empty(starts_shape, bound.call.A.options()));
    Device::template backward<T>(bound.inputs,
                                 {.dy = values<T>(dy_checked),
                                  .dfinal_state = pointer<Wide>(dfinal),
                                  .dx = mutable_values<T>(dx),
                                  .ddelta = mutable_values<T>(ddelta),
                                  .dA = mutable_values<Wide>(dA),
                                  .dB = mutable_values<T>(dB),
                                  .dC = mutable_values<T>(dC),
                                  .dD = output_pointer<Wide>(dD, given(D)),
                                  .dz = output_pointer<T>(dz, given(z)),
                                  .ddelta_bias = output_pointer<Wide>(ddelta_bias, given(delta_bias)),
                                  .dinitial_state = output_pointer<Wide>(dinitial_state, given(initial_state)),
                                  .run_starts = values<Wide>(starts)});
  });
  return out;
}

}  // namespace dnamamba::ops::selective_scan_binding
