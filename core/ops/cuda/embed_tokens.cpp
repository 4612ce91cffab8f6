#include <torch/library.h>

#include "core/ops/cuda/device.h"
#include "core/ops/embed_tokens_binding.h"

namespace dnamamba::ops {
namespace {

struct OnCuda : Cuda {
  template <typename T>
  static void forward(const kernels::EmbedTokensSizes& sizes, const std::uint8_t* tokens, const kernels::Wide<T>* table,
                      T* out) {
    kernels::cuda::embed_tokens<T>(sizes, tokens, table, out, current_stream());
  }
  template <typename T>
  static std::int64_t workspace_bytes(const kernels::EmbedTokensSizes& sizes) {
    return kernels::cuda::embed_tokens_backward_workspace(sizes);
  }
  template <typename T>
  static void backward(const kernels::EmbedTokensSizes& sizes, const std::uint8_t* tokens, const T* dout,
                       kernels::Wide<T>* dtable, void* workspace) {
    kernels::cuda::embed_tokens_backward<T>(sizes, tokens, dout, dtable, workspace, current_stream());
  }
};

}  // namespace

TORCH_LIBRARY_IMPL(dnamamba, CUDA, library) {
  library.impl("embed_tokens", embed_tokens_forward<OnCuda>);
  library.impl("embed_tokens_backward", embed_tokens_backward<OnCuda>);
}

}  // namespace dnamamba::ops
