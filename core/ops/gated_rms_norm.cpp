#include "core/ops/gated_rms_norm.h"

#include <ATen/ops/empty.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/library.h>

#include "core/ops/operator_call.h"
#include "kernels/gated_rms_norm.h"

namespace dnamamba::ops {
namespace {

using at::Tensor;
using Backward = std::tuple<Tensor, Tensor, Tensor>;

// The tensors of a call, checked and contiguous, as the kernels' struct.
template <typename T>
struct BoundInputs {
  GatedRmsNorm call;
  kernels::GatedRmsNormInputs<T> inputs;

  explicit BoundInputs(const GatedRmsNorm& given_call) : call(given_call) {
    const auto dtype = call.x.scalar_type();
    call.x = checked("x", call.x, call.x.sizes(), dtype);
    call.z = checked("z", call.z, call.x.sizes(), dtype);
    call.weight = checked("weight", call.weight, {call.x.size(1)}, dtype);
    inputs = {.rows = call.x.size(0),
              .columns = call.x.size(1),
              .groups = call.groups,
              .x = call.x.template const_data_ptr<T>(),
              .z = call.z.template const_data_ptr<T>(),
              .weight = call.weight.template const_data_ptr<T>(),
              .epsilon = call.epsilon,
              .norm_before_gate = call.norm_before_gate};
  }
};

Tensor forward_meta(const Tensor& x, const Tensor& /*z*/, const Tensor& /*weight*/, std::int64_t /*groups*/,
                    double /*epsilon*/, bool /*norm_before_gate*/) {
  TORCH_CHECK(x.dim() == 2, "x must be [tokens, channels], not ", x.sizes());
  return at::empty(x.sizes(), x.options());
}

Tensor forward_cpu(const Tensor& x, const Tensor& z, const Tensor& weight, std::int64_t groups, double epsilon,
                   bool norm_before_gate) {
  Tensor y = forward_meta(x, z, weight, groups, epsilon, norm_before_gate);
  dispatch_floating(x.scalar_type(), "gated_rms_norm", [&]<typename T>() {
    const BoundInputs<T> bound({x, z, weight, groups, epsilon, norm_before_gate});
    kernels::cpu::gated_rms_norm<T>(bound.inputs, y.mutable_data_ptr<T>(), torch_threads());
  });
  return y;
}

Backward backward_meta(const Tensor& /*dy*/, const Tensor& x, const Tensor& z, const Tensor& weight,
                       std::int64_t /*groups*/, double /*epsilon*/, bool /*norm_before_gate*/) {
  return {at::empty(x.sizes(), x.options()), at::empty(z.sizes(), x.options()), at::empty(weight.sizes(), x.options())};
}

Backward backward_cpu(const Tensor& dy, const Tensor& x, const Tensor& z, const Tensor& weight, std::int64_t groups,
                      double epsilon, bool norm_before_gate) {
  Backward out = backward_meta(dy, x, z, weight, groups, epsilon, norm_before_gate);
  auto& [dx, dz, dweight] = out;
  dispatch_floating(x.scalar_type(), "gated_rms_norm", [&]<typename T>() {
    const BoundInputs<T> bound({x, z, weight, groups, epsilon, norm_before_gate});
    const Tensor dy_checked = checked("dy", dy, x.sizes(), x.scalar_type());
    const Tensor space = workspace(kernels::cpu::gated_rms_norm_backward_workspace<T>(bound.inputs));
    kernels::cpu::gated_rms_norm_backward<T>(bound.inputs,
                                             {.dy = dy_checked.const_data_ptr<T>(),
                                              .dx = dx.mutable_data_ptr<T>(),
                                              .dz = dz.mutable_data_ptr<T>(),
                                              .dweight = dweight.mutable_data_ptr<T>()},
                                             space.mutable_data_ptr(), torch_threads());
  });
  return out;
}

Tensor call_forward(const GatedRmsNorm& c) {
  static const auto op = find_operator<decltype(forward_cpu)>("dnamamba::gated_rms_norm");
  return op.call(c.x, c.z, c.weight, c.groups, c.epsilon, c.norm_before_gate);
}

Backward call_backward(const Tensor& dy, const GatedRmsNorm& c) {
  static const auto op = find_operator<decltype(backward_cpu)>("dnamamba::gated_rms_norm_backward");
  return op.call(dy, c.x, c.z, c.weight, c.groups, c.epsilon, c.norm_before_gate);
}

class Autograd : public torch::autograd::Function<Autograd> {
 public:
  static Tensor forward(torch::autograd::AutogradContext* context, const Tensor& x, const Tensor& z,
                        const Tensor& weight, std::int64_t groups, double epsilon, bool norm_before_gate) {
    const at::AutoDispatchBelowADInplaceOrView below;
    context->save_for_backward({x, z, weight});
    context->saved_data["groups"] = groups;
    context->saved_data["epsilon"] = epsilon;
    context->saved_data["norm_before_gate"] = norm_before_gate;
    return call_forward({x, z, weight, groups, epsilon, norm_before_gate});
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 const torch::autograd::variable_list& gradients) {
    const auto saved = context->get_saved_variables();
    const auto [dx, dz, dweight] = call_backward(
        gradients[0], {saved[0], saved[1], saved[2], context->saved_data["groups"].toInt(),
                       context->saved_data["epsilon"].toDouble(), context->saved_data["norm_before_gate"].toBool()});
    return {dx, dz, dweight, Tensor(), Tensor(), Tensor()};
  }
};

Tensor forward_autograd(const Tensor& x, const Tensor& z, const Tensor& weight, std::int64_t groups, double epsilon,
                        bool norm_before_gate) {
  return Autograd::apply(x, z, weight, groups, epsilon, norm_before_gate);
}

}  // namespace

Tensor gated_rms_norm(const GatedRmsNorm& call) {
  return call_forward(call);
}

TORCH_LIBRARY_FRAGMENT(dnamamba, library) {
  library.def(
      "gated_rms_norm(Tensor x, Tensor z, Tensor weight, int groups=1, float epsilon=1e-05, "
      "bool norm_before_gate=False) -> Tensor");
  library.def(
      "gated_rms_norm_backward(Tensor dy, Tensor x, Tensor z, Tensor weight, int groups=1, float epsilon=1e-05, "
      "bool norm_before_gate=False) -> (Tensor dx, Tensor dz, Tensor dweight)");
}
TORCH_LIBRARY_IMPL(dnamamba, CPU, library) {
  library.impl("gated_rms_norm", forward_cpu);
  library.impl("gated_rms_norm_backward", backward_cpu);
}
TORCH_LIBRARY_IMPL(dnamamba, Meta, library) {
  library.impl("gated_rms_norm", forward_meta);
  library.impl("gated_rms_norm_backward", backward_meta);
}
TORCH_LIBRARY_IMPL(dnamamba, Autograd, library) {
  library.impl("gated_rms_norm", forward_autograd);
}

}  // namespace dnamamba::ops
