#include "core/ops/linear.h"

#include <ATen/ops/addmm.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/mm.h>
#include <torch/csrc/autograd/custom_function.h>

namespace dnamamba::ops {
namespace {

using at::Tensor;

Tensor like(const Tensor& x, const Tensor& parameter) {
  return parameter.scalar_type() == x.scalar_type() ? parameter : parameter.to(x.scalar_type());
}

Tensor product(const Tensor& x, const Tensor& weight, const OptionalTensor& bias) {
  return at::linear(x, like(x, weight), given(bias) ? OptionalTensor(like(x, *bias)) : bias);
}

/// Saves x and the weight as the product took it: it is not rounded again on the way back. A gradient has the dtype
/// that the weight itself has.
void save(torch::autograd::AutogradContext* context, const Tensor& x, const Tensor& weight, const Tensor& taken,
          bool bias) {
  context->save_for_backward({x, taken});
  context->saved_data["dtype"] = weight.scalar_type();
  context->saved_data["bias"] = bias;
}
at::ScalarType weight_dtype(const torch::autograd::AutogradContext* context) {
  return context->saved_data.at("dtype").toScalarType();
}

/// dyᵀ x in the weight's dtype, written to `to`.
void weight_gradient(const Tensor& dy, const Tensor& x, Tensor& to) {
  if (to.scalar_type() == x.scalar_type()) {
    at::mm_out(to, dy.t(), x);
  } else {
    at::mm_out(to, dy.t(), x, to.scalar_type());
  }
}
Tensor weight_gradient(const Tensor& dy, const Tensor& x, at::ScalarType dtype) {
  Tensor gradient = at::empty({dy.size(1), x.size(1)}, x.options().dtype(dtype));
  weight_gradient(dy, x, gradient);
  return gradient;
}

/// What arrived for x, and dy weight added to it: in the memory of the former, which belongs to nobody else.
Tensor add_input_gradient(const Tensor& arrived, const Tensor& dy, const Tensor& weight) {
  if (!dy.defined()) return arrived;
  if (!arrived.defined()) return at::mm(dy, weight);
  Tensor sum = arrived;
  at::addmm_out(sum, sum, dy, weight);
  return sum;
}

// Master weights in float32 under activations of fewer bits.
class MixedLinear : public torch::autograd::Function<MixedLinear> {
 public:
  static Tensor forward(torch::autograd::AutogradContext* context, const Tensor& x, const Tensor& weight,
                        const OptionalTensor& bias) {
    const at::AutoDispatchBelowADInplaceOrView below;
    const Tensor taken = like(x, weight);
    save(context, x, weight, taken, given(bias));
    return product(x, taken, bias);
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 const torch::autograd::variable_list& gradients) {
    const auto saved = context->get_saved_variables();
    const Tensor &x = saved[0], &weight = saved[1], &dy = gradients[0];
    const Tensor dx = context->needs_input_grad(0) ? at::mm(dy, weight) : Tensor();
    const Tensor dweight = context->needs_input_grad(1) ? weight_gradient(dy, x, weight_dtype(context)) : Tensor();
    const Tensor dbias = context->saved_data["bias"].toBool() ? dy.sum(0, false, weight_dtype(context)) : Tensor();
    return {dx, dweight, dbias};
  }
};

class Pair : public torch::autograd::Function<Pair> {
 public:
  static torch::autograd::variable_list forward(torch::autograd::AutogradContext* context, const Tensor& x,
                                                const Tensor& weight, const OptionalTensor& bias, std::int64_t first) {
    const at::AutoDispatchBelowADInplaceOrView below;
    const Tensor taken = like(x, weight);
    save(context, x, weight, taken, given(bias));
    context->saved_data["first"] = first;
    const auto part = [&](std::int64_t from, std::int64_t count) {
      return product(x, taken.narrow(0, from, count),
                     given(bias) ? OptionalTensor(bias->narrow(0, from, count)) : bias);
    };
    return {part(0, first), part(first, weight.size(0) - first)};
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 const torch::autograd::variable_list& gradients) {
    const auto saved = context->get_saved_variables();
    const Tensor &x = saved[0], &weight = saved[1];
    const std::int64_t first = context->saved_data["first"].toInt();
    const auto part = [&](const Tensor& of, int i) {
      return of.narrow(0, i == 0 ? 0 : first, i == 0 ? first : weight.size(0) - first);
    };
    Tensor dx, dweight, dbias;
    if (context->needs_input_grad(1)) dweight = at::empty(weight.sizes(), x.options().dtype(weight_dtype(context)));
    if (context->saved_data["bias"].toBool())
      dbias = at::empty({weight.size(0)}, x.options().dtype(weight_dtype(context)));
    for (int i = 0; i < 2; ++i) {
      const Tensor& dy = gradients[static_cast<std::size_t>(i)];
      if (context->needs_input_grad(0)) dx = add_input_gradient(dx, dy, part(weight, i));
      Tensor of_weight = dweight.defined() ? part(dweight, i) : Tensor();
      if (of_weight.defined()) weight_gradient(dy, x, of_weight);
      if (dbias.defined()) part(dbias, i).copy_(dy.sum(0, false, weight_dtype(context)));
    }
    return {dx, dweight, dbias, Tensor()};
  }
};

class Beside : public torch::autograd::Function<Beside> {
 public:
  static torch::autograd::variable_list forward(torch::autograd::AutogradContext* context, const Tensor& x,
                                                const Tensor& weight) {
    const at::AutoDispatchBelowADInplaceOrView below;
    const Tensor taken = like(x, weight);
    save(context, x, weight, taken, false);
    context->set_materialize_grads(false);
    return {x.view_as(x), product(x, taken, std::nullopt)};
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 const torch::autograd::variable_list& gradients) {
    const auto saved = context->get_saved_variables();
    const Tensor &x = saved[0], &weight = saved[1], &dy = gradients[1];
    const Tensor dweight =
        context->needs_input_grad(1) && dy.defined() ? weight_gradient(dy, x, weight_dtype(context)) : Tensor();
    return {context->needs_input_grad(0) ? add_input_gradient(gradients[0], dy, weight) : Tensor(), dweight};
  }
};

}  // namespace

Tensor linear(const Tensor& x, const Tensor& weight, const OptionalTensor& bias) {
  if (x.scalar_type() == weight.scalar_type()) return at::linear(x, weight, bias);
  return MixedLinear::apply(x, weight, bias);
}

std::pair<Tensor, Tensor> linear_pair(const Tensor& x, const Tensor& weight, const OptionalTensor& bias,
                                      std::int64_t first) {
  const auto products = Pair::apply(x, weight, bias, first);
  return {products[0], products[1]};
}

std::pair<Tensor, Tensor> linear_beside(const Tensor& x, const Tensor& weight) {
  const auto both = Beside::apply(x, weight);
  return {both[0], both[1]};
}

}  // namespace dnamamba::ops
