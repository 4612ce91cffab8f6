#include "kernels/embed_tokens.h"

#include <cstddef>
#include <vector>

#include "kernels/arguments.h"

namespace dnamamba::kernels::reference {

template <typename T>
void embed_tokens(const EmbedTokensSizes& sizes, const std::uint8_t* tokens, const T* table, T* out) {
  check(sizes, tokens, table, out);
  for (std::int64_t t = 0; t < sizes.tokens; ++t) {
    for (std::int64_t d = 0; d < sizes.width; ++d) out[t * sizes.width + d] = table[tokens[t] * sizes.width + d];
  }
}

template <typename T>
void embed_tokens_backward(const EmbedTokensSizes& sizes, const std::uint8_t* tokens, const T* dout, T* dtable) {
  check(sizes, tokens, dout, dtable);
  require(dtable != nullptr, "embed_tokens: dtable is missing");
  std::vector<double> sums(static_cast<std::size_t>(sizes.vocabulary * sizes.width), 0.0);
  for (std::int64_t t = 0; t < sizes.tokens; ++t) {
    for (std::int64_t d = 0; d < sizes.width; ++d) sums[tokens[t] * sizes.width + d] += dout[t * sizes.width + d];
  }
  for (std::size_t i = 0; i < sums.size(); ++i) dtable[i] = static_cast<T>(sums[i]);
}

template void embed_tokens(const EmbedTokensSizes&, const std::uint8_t*, const float*, float*);
template void embed_tokens(const EmbedTokensSizes&, const std::uint8_t*, const double*, double*);
template void embed_tokens_backward(const EmbedTokensSizes&, const std::uint8_t*, const float*, float*);
template void embed_tokens_backward(const EmbedTokensSizes&, const std::uint8_t*, const double*, double*);

}  // namespace dnamamba::kernels::reference
