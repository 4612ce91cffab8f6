#include "core/ops/tensors.h"

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>

#include <algorithm>

namespace dnamamba::ops {

const kernels::ParallelFor& torch_threads() {
  static const kernels::ParallelFor threads = [](std::int64_t count,
                                                 const std::function<void(std::int64_t, std::int64_t)>& body) {
    at::parallel_for(0, count, 1, body);
  };
  return threads;
}

namespace {

void check(std::string_view name, const at::Tensor& tensor, at::IntArrayRef shape, at::ScalarType dtype,
           at::Device device) {
  TORCH_CHECK(tensor.defined(), name, " is missing");
  TORCH_CHECK(tensor.sizes() == shape, name, " has shape ", tensor.sizes(), ", not ", shape);
  TORCH_CHECK(tensor.scalar_type() == dtype, name, " is ", tensor.scalar_type(), ", not ", dtype);
  TORCH_CHECK(tensor.device() == device, name, " is on ", tensor.device(), ", not on ", device);
}

// Whether every row is contiguous and ends before the next one begins.
bool rows_are_contiguous(const at::Tensor& tensor) {
  if (tensor.size(0) == 0) return true;
  const at::Tensor row = tensor.select(0, 0);
  return row.is_contiguous() && tensor.stride(0) >= row.numel();
}

}  // namespace

at::Tensor checked(std::string_view name, const at::Tensor& tensor, at::IntArrayRef shape, at::ScalarType dtype,
                   at::Device device) {
  check(name, tensor, shape, dtype, device);
  return tensor.contiguous();
}

at::Tensor checked_rows(std::string_view name, const at::Tensor& tensor, at::IntArrayRef shape, at::ScalarType dtype,
                        at::Device device) {
  check(name, tensor, shape, dtype, device);
  return rows_are_contiguous(tensor) ? tensor : tensor.contiguous();
}

OptionalTensor checked(std::string_view name, const OptionalTensor& tensor, at::IntArrayRef shape, at::ScalarType dtype,
                       at::Device device) {
  if (!given(tensor)) return std::nullopt;
  return checked(name, *tensor, shape, dtype, device);
}

at::Tensor no_tensor(const at::Tensor& like) {
  return at::empty({0}, like.options());
}

at::Tensor to_device(const at::Tensor& host, at::Device device) {
  return device.is_cpu() ? host : host.pin_memory().to(device, /*non_blocking=*/true);
}

at::Tensor workspace(std::int64_t bytes, at::Device device) {
  // At least one byte: none has no address. Aligned as said by LibTorch's allocators.
  return at::empty({std::max<std::int64_t>(bytes, 1)}, at::TensorOptions().dtype(at::kByte).device(device));
}

}  // namespace dnamamba::ops
