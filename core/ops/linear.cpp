#include "core/ops/linear.h"

#include <ATen/ops/linear.h>

namespace dnamamba::ops {

at::Tensor linear(const at::Tensor& x, const at::Tensor& weight, const OptionalTensor& bias) {
  return at::linear(x, weight, bias);
}

}  // namespace dnamamba::ops
