#include "core/ops/embed_tokens.h"

#include <torch/csrc/autograd/custom_function.h>
#include <torch/library.h>

#include "core/ops/embed_tokens_binding.h"
#include "core/ops/operator_call.h"

namespace dnamamba::ops {
namespace {

using at::Tensor;
using Dtype = std::optional<at::ScalarType>;

struct OnCpu : Cpu {
  template <typename T>
  static void forward(const kernels::EmbedTokensSizes& sizes, const std::uint8_t* tokens, const T* table, T* out) {
    kernels::cpu::embed_tokens<T>(sizes, tokens, table, out, torch_threads());
  }
  template <typename T>
  static std::int64_t workspace_bytes(const kernels::EmbedTokensSizes& sizes) {
    return kernels::cpu::embed_tokens_backward_workspace<T>(sizes);
  }
  template <typename T>
  static void backward(const kernels::EmbedTokensSizes& sizes, const std::uint8_t* tokens, const T* dout, T* dtable,
                       void* workspace) {
    kernels::cpu::embed_tokens_backward<T>(sizes, tokens, dout, dtable, workspace, torch_threads());
  }
};

Tensor call_forward(const Tensor& tokens, const Tensor& table, Dtype dtype) {
  static const auto op = find_operator<decltype(embed_tokens_forward<OnCpu>)>("dnamamba::embed_tokens");
  return op.call(tokens, table, dtype);
}

Tensor call_backward(const Tensor& dout, const Tensor& tokens, std::int64_t vocabulary) {
  static const auto op = find_operator<decltype(embed_tokens_backward<OnCpu>)>("dnamamba::embed_tokens_backward");
  return op.call(dout, tokens, vocabulary);
}

class Autograd : public torch::autograd::Function<Autograd> {
 public:
  static Tensor forward(torch::autograd::AutogradContext* context, const Tensor& tokens, const Tensor& table,
                        Dtype dtype) {
    const at::AutoDispatchBelowADInplaceOrView below;
    context->save_for_backward({tokens});
    context->saved_data["vocabulary"] = table.size(0);
    return call_forward(tokens, table, dtype);
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 const torch::autograd::variable_list& gradients) {
    const auto saved = context->get_saved_variables();
    return {Tensor(), call_backward(gradients[0], saved[0], context->saved_data["vocabulary"].toInt()), Tensor()};
  }
};

Tensor forward_autograd(const Tensor& tokens, const Tensor& table, Dtype dtype) {
  return Autograd::apply(tokens, table, dtype);
}

}  // namespace

Tensor embed_tokens(const Tensor& tokens, const Tensor& table, Dtype dtype) {
  return call_forward(tokens, table, dtype);
}

TORCH_LIBRARY_FRAGMENT(dnamamba, library) {
  library.def("embed_tokens(Tensor tokens, Tensor table, ScalarType? dtype=None) -> Tensor");
  library.def("embed_tokens_backward(Tensor dout, Tensor tokens, int vocabulary) -> Tensor");
}
TORCH_LIBRARY_IMPL(dnamamba, CPU, library) {
  library.impl("embed_tokens", embed_tokens_forward<OnCpu>);
  library.impl("embed_tokens_backward", embed_tokens_backward<OnCpu>);
}
TORCH_LIBRARY_IMPL(dnamamba, Meta, library) {
  library.impl("embed_tokens", embed_tokens_shape);
  library.impl("embed_tokens_backward", embed_tokens_backward_shape);
}
TORCH_LIBRARY_IMPL(dnamamba, Autograd, library) {
  library.impl("embed_tokens", forward_autograd);
}

}  // namespace dnamamba::ops
