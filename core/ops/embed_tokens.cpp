#include "core/ops/embed_tokens.h"

#include <ATen/ops/empty.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/library.h>

#include "core/ops/operator_call.h"
#include "kernels/embed_tokens.h"

namespace dnamamba::ops {
namespace {

using at::Tensor;

Tensor forward_meta(const Tensor& tokens, const Tensor& table) {
  TORCH_CHECK(tokens.dim() == 1, "tokens must be [tokens], not ", tokens.sizes());
  TORCH_CHECK(table.dim() == 2, "table must be [vocabulary, channels], not ", table.sizes());
  return at::empty({tokens.size(0), table.size(1)}, table.options());
}

Tensor forward_cpu(const Tensor& tokens, const Tensor& table) {
  Tensor out = forward_meta(tokens, table);
  const Tensor ids = checked("tokens", tokens, tokens.sizes(), at::kByte);
  dispatch_floating(table.scalar_type(), "embed_tokens", [&]<typename T>() {
    const Tensor rows = checked("table", table, table.sizes(), table.scalar_type());
    kernels::cpu::embed_tokens<T>({ids.size(0), rows.size(0), rows.size(1)}, ids.const_data_ptr<std::uint8_t>(),
                                  rows.const_data_ptr<T>(), out.mutable_data_ptr<T>(), torch_threads());
  });
  return out;
}

Tensor backward_meta(const Tensor& dout, const Tensor& /*tokens*/, std::int64_t vocabulary) {
  TORCH_CHECK(dout.dim() == 2, "dout must be [tokens, channels], not ", dout.sizes());
  return at::empty({vocabulary, dout.size(1)}, dout.options());
}

Tensor backward_cpu(const Tensor& dout, const Tensor& tokens, std::int64_t vocabulary) {
  Tensor dtable = backward_meta(dout, tokens, vocabulary);
  const Tensor ids = checked("tokens", tokens, {dout.size(0)}, at::kByte);
  const kernels::EmbedTokensSizes sizes{ids.size(0), vocabulary, dout.size(1)};
  dispatch_floating(dout.scalar_type(), "embed_tokens", [&]<typename T>() {
    const Tensor dout_checked = checked("dout", dout, dout.sizes(), dout.scalar_type());
    const Tensor space = workspace(kernels::cpu::embed_tokens_backward_workspace<T>(sizes));
    kernels::cpu::embed_tokens_backward<T>(sizes, ids.const_data_ptr<std::uint8_t>(), dout_checked.const_data_ptr<T>(),
                                           dtable.mutable_data_ptr<T>(), space.mutable_data_ptr(), torch_threads());
  });
  return dtable;
}

Tensor call_forward(const Tensor& tokens, const Tensor& table) {
  static const auto op = find_operator<decltype(forward_cpu)>("dnamamba::embed_tokens");
  return op.call(tokens, table);
}

Tensor call_backward(const Tensor& dout, const Tensor& tokens, std::int64_t vocabulary) {
  static const auto op = find_operator<decltype(backward_cpu)>("dnamamba::embed_tokens_backward");
  return op.call(dout, tokens, vocabulary);
}

class Autograd : public torch::autograd::Function<Autograd> {
 public:
  static Tensor forward(torch::autograd::AutogradContext* context, const Tensor& tokens, const Tensor& table) {
    const at::AutoDispatchBelowADInplaceOrView below;
    context->save_for_backward({tokens});
    context->saved_data["vocabulary"] = table.size(0);
    return call_forward(tokens, table);
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 const torch::autograd::variable_list& gradients) {
    const auto saved = context->get_saved_variables();
    return {Tensor(), call_backward(gradients[0], saved[0], context->saved_data["vocabulary"].toInt())};
  }
};

Tensor forward_autograd(const Tensor& tokens, const Tensor& table) {
  return Autograd::apply(tokens, table);
}

}  // namespace

Tensor embed_tokens(const Tensor& tokens, const Tensor& table) {
  return call_forward(tokens, table);
}

TORCH_LIBRARY_FRAGMENT(dnamamba, library) {
  library.def("embed_tokens(Tensor tokens, Tensor table) -> Tensor");
  library.def("embed_tokens_backward(Tensor dout, Tensor tokens, int vocabulary) -> Tensor");
}
TORCH_LIBRARY_IMPL(dnamamba, CPU, library) {
  library.impl("embed_tokens", forward_cpu);
  library.impl("embed_tokens_backward", backward_cpu);
}
TORCH_LIBRARY_IMPL(dnamamba, Meta, library) {
  library.impl("embed_tokens", forward_meta);
  library.impl("embed_tokens_backward", backward_meta);
}
TORCH_LIBRARY_IMPL(dnamamba, Autograd, library) {
  library.impl("embed_tokens", forward_autograd);
}

}  // namespace dnamamba::ops
