// What every binding does: check a tensor, make it contiguous, hand out pointers, threads and workspace.
#pragma once
#include <ATen/core/Tensor.h>

#include <optional>
#include <stdexcept>
#include <string_view>
#include <type_traits>

#include "kernels/parallel.h"
#include "kernels/types.h"

namespace dnamamba::ops {

using OptionalTensor = std::optional<at::Tensor>;

/// at::parallel_for as the kernels want it: LibTorch's own threads, at::get_num_threads() of them.
const kernels::ParallelFor& torch_threads();

/// `tensor`, contiguous. @throws c10::Error naming `name` unless it has this shape and dtype and is on this device.
at::Tensor checked(std::string_view name, const at::Tensor& tensor, at::IntArrayRef shape, at::ScalarType dtype,
                   at::Device device = at::kCPU);

/// The same for a tensor that may be absent; undefined counts as absent.
OptionalTensor checked(std::string_view name, const OptionalTensor& tensor, at::IntArrayRef shape, at::ScalarType dtype,
                       at::Device device = at::kCPU);

/// The same, but rows (of the first dimension) may lie apart: a view of some columns is not copied.
at::Tensor checked_rows(std::string_view name, const at::Tensor& tensor, at::IntArrayRef shape, at::ScalarType dtype,
                        at::Device device = at::kCPU);

/// An empty tensor [0] of the options given: what an operator returns in the place of an output that was not asked for.
at::Tensor no_tensor(const at::Tensor& like);

/// 64-byte aligned bytes, 256-byte aligned on a GPU.
at::Tensor workspace(std::int64_t bytes, at::Device device = at::kCPU);

/// A tensor of the host's on `device`, on its way there when this returns.
at::Tensor to_device(const at::Tensor& host, at::Device device);

/// True if the tensor is there.
inline bool given(const OptionalTensor& tensor) {
  return tensor.has_value() && tensor->defined();
}

/// The tensor, or an undefined one: what autograd saves.
inline at::Tensor or_undefined(const OptionalTensor& tensor) {
  return given(tensor) ? *tensor : at::Tensor();
}

/// The other way: an undefined tensor becomes absent.
inline OptionalTensor or_absent(const at::Tensor& tensor) {
  return tensor.defined() ? OptionalTensor(tensor) : OptionalTensor();
}

/// A gradient as autograd wants it: undefined in the place of an output that was not asked for.
inline at::Tensor gradient_or_none(const at::Tensor& gradient, bool wanted) {
  return wanted ? gradient : at::Tensor();
}

/// The dtype of a kernels' type.
template <typename T>
constexpr at::ScalarType dtype_of() {
  if constexpr (std::is_same_v<T, double>) return at::kDouble;
  if constexpr (std::is_same_v<T, float>) return at::kFloat;
  if constexpr (std::is_same_v<T, kernels::BFloat16>) return at::kBFloat16;
}

/// The dtype of states and parameters where activations have this one: kernels::Wide.
inline at::ScalarType wide_dtype(at::ScalarType dtype) {
  return dtype == at::kBFloat16 ? at::kFloat : dtype;
}

/// The values of a tensor whose dtype was checked.
template <typename T>
const T* values(const at::Tensor& tensor) {
  return static_cast<const T*>(tensor.const_data_ptr());
}
template <typename T>
T* mutable_values(const at::Tensor& tensor) {
  return static_cast<T*>(tensor.mutable_data_ptr());
}

template <typename T>
const T* pointer(const OptionalTensor& tensor) {
  return given(tensor) ? values<T>(*tensor) : nullptr;
}

template <typename T>
T* output_pointer(at::Tensor& tensor, bool wanted) {
  return wanted ? mutable_values<T>(tensor) : nullptr;
}

/// Runs the body. @throws c10::Error in the place of the std::invalid_argument by which kernels refuse sizes and ids.
template <typename Body>
void refusing(Body&& body) {
  try {
    body();
  } catch (const std::invalid_argument& refusal) {
    TORCH_CHECK_VALUE(false, refusal.what());
  }
}

/// Calls body.template operator()<float or double>() for the dtype. @throws c10::Error for any other, and as
/// refusing().
template <typename Body>
void dispatch_floating(at::ScalarType dtype, std::string_view op, Body&& body) {
  TORCH_CHECK(dtype == at::kFloat || dtype == at::kDouble, op, " on the CPU takes float32 or float64, not ", dtype);
  refusing([&] {
    if (dtype == at::kDouble) {
      body.template operator()<double>();
    } else {
      body.template operator()<float>();
    }
  });
}

/// What a binding that serves every device asks of the device: here of CPUs. A binding adds its kernels to it.
struct Cpu {
  template <typename Body>
  static void dispatch(at::Device /*device*/, at::ScalarType dtype, std::string_view op, Body&& body) {
    dispatch_floating(dtype, op, body);
  }
  /// Where kernels of the current device read offsets, besides the host's memory: nowhere.
  static const std::int64_t* offsets_on_device(const OptionalTensor& /*offsets*/) { return nullptr; }
  /// Whether the selective scan takes B and C whose rows lie apart.
  static constexpr bool kRowsApart = false;
};

}  // namespace dnamamba::ops
