// embed_tokens on tensors of any device: `Device` brings the kernels.
#pragma once
#include <ATen/ops/empty.h>

#include <optional>

#include "core/ops/tensors.h"
#include "kernels/embed_tokens.h"

namespace dnamamba::ops {

inline at::Tensor embed_tokens_shape(const at::Tensor& tokens, const at::Tensor& table,
                                     std::optional<at::ScalarType> dtype) {
  TORCH_CHECK(tokens.dim() == 1, "tokens must be [tokens], not ", tokens.sizes());
  TORCH_CHECK(table.dim() == 2, "table must be [vocabulary, channels], not ", table.sizes());
  return at::empty({tokens.size(0), table.size(1)}, table.options().dtype(dtype.value_or(table.scalar_type())));
}

template <class Device>
at::Tensor embed_tokens_forward(const at::Tensor& tokens, const at::Tensor& table,
                                std::optional<at::ScalarType> dtype) {
  at::Tensor out = embed_tokens_shape(tokens, table, dtype);
  const at::Tensor ids = checked("tokens", tokens, tokens.sizes(), at::kByte, table.device());
  Device::dispatch(out.device(), out.scalar_type(), "embed_tokens", [&]<typename T>() {
    using Wide = kernels::Wide<T>;
    const at::Tensor rows = checked("table", table, table.sizes(), dtype_of<Wide>(), table.device());
    Device::template forward<T>({ids.size(0), rows.size(0), rows.size(1)}, values<std::uint8_t>(ids),
                                values<Wide>(rows), mutable_values<T>(out));
  });
  return out;
}

inline at::Tensor embed_tokens_backward_shape(const at::Tensor& dout, const at::Tensor& /*tokens*/,
                                              std::int64_t vocabulary) {
  TORCH_CHECK(dout.dim() == 2, "dout must be [tokens, channels], not ", dout.sizes());
  return at::empty({vocabulary, dout.size(1)}, dout.options().dtype(wide_dtype(dout.scalar_type())));
}

template <class Device>
at::Tensor embed_tokens_backward(const at::Tensor& dout, const at::Tensor& tokens, std::int64_t vocabulary) {
  at::Tensor dtable = embed_tokens_backward_shape(dout, tokens, vocabulary);
  const at::Tensor ids = checked("tokens", tokens, {dout.size(0)}, at::kByte, dout.device());
  const kernels::EmbedTokensSizes sizes{ids.size(0), vocabulary, dout.size(1)};
  Device::dispatch(dout.device(), dout.scalar_type(), "embed_tokens", [&]<typename T>() {
    const at::Tensor dout_checked = checked("dout", dout, dout.sizes(), dtype_of<T>(), dout.device());
    const at::Tensor space = workspace(Device::template workspace_bytes<T>(sizes), dout.device());
    Device::template backward<T>(sizes, values<std::uint8_t>(ids), values<T>(dout_checked),
                                 mutable_values<kernels::Wide<T>>(dtable), space.mutable_data_ptr());
  });
  return dtable;
}

}  // namespace dnamamba::ops
