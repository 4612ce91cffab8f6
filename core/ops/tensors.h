// What every binding does: check a tensor, make it contiguous, hand out pointers, threads and workspace.
#pragma once
#include <ATen/core/Tensor.h>

#include <optional>
#include <stdexcept>
#include <string_view>

#include "kernels/parallel.h"

namespace dnamamba::ops {

using OptionalTensor = std::optional<at::Tensor>;

/// at::parallel_for as the kernels want it: LibTorch's own threads, at::get_num_threads() of them.
const kernels::ParallelFor& torch_threads();

/// `tensor`, contiguous. @throws c10::Error naming `name` unless it has this shape, `like`'s dtype and is on the CPU.
at::Tensor checked(std::string_view name, const at::Tensor& tensor, at::IntArrayRef shape, at::ScalarType dtype);

/// The same for a tensor that may be absent; undefined counts as absent.
OptionalTensor checked(std::string_view name, const OptionalTensor& tensor, at::IntArrayRef shape,
                       at::ScalarType dtype);

/// The same, but rows (of the first dimension) may lie apart: a view of some columns is not copied.
at::Tensor checked_rows(std::string_view name, const at::Tensor& tensor, at::IntArrayRef shape, at::ScalarType dtype);

/// An empty tensor [0] of the options given: what an operator returns in the place of an output that was not asked for.
at::Tensor no_tensor(const at::Tensor& like);

/// 64-byte aligned bytes on the CPU.
at::Tensor workspace(std::int64_t bytes);

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

template <typename T>
const T* pointer(const OptionalTensor& tensor) {
  return given(tensor) ? tensor->const_data_ptr<T>() : nullptr;
}

template <typename T>
T* output_pointer(at::Tensor& tensor, bool wanted) {
  return wanted ? tensor.mutable_data_ptr<T>() : nullptr;
}

/// Calls body.template operator()<float or double>() for the dtype. @throws c10::Error for any other, and in the place
/// of the std::invalid_argument by which kernels refuse sizes and ids out of range.
template <typename Body>
void dispatch_floating(at::ScalarType dtype, std::string_view op, Body&& body) {
  TORCH_CHECK(dtype == at::kFloat || dtype == at::kDouble, op, " on the CPU takes float32 or float64, not ", dtype);
  try {
    if (dtype == at::kDouble) {
      body.template operator()<double>();
    } else {
      body.template operator()<float>();
    }
  } catch (const std::invalid_argument& refusal) {
    TORCH_CHECK_VALUE(false, refusal.what());
  }
}

}  // namespace dnamamba::ops
