#include "kernels/embed_tokens.h"

#include <algorithm>

#include "kernels/arguments.h"
#include "kernels/cpu/partial_sums.h"
#include "kernels/cpu/partition.h"

// Moving rows is all there is to do here: memory sets the pace, and the compiler's own vectors keep it.
namespace dnamamba::kernels::cpu {
namespace {

constexpr std::int64_t kRows = 1024;  // tokens of a task

/// Parts of the tokens, each with a table of sums of its own in the workspace.
Partition backward_parts(const EmbedTokensSizes& sizes) {
  return Partition::of(sizes.tokens, kRows, 32);
}

}  // namespace

template <typename T>
void embed_tokens(const EmbedTokensSizes& sizes, const std::uint8_t* tokens, const T* table, T* out,
                  const ParallelFor& parallel) {
  check(sizes, tokens, table, out);
  parallel(ceil_div(sizes.tokens, kRows), [&](std::int64_t first, std::int64_t last) {
    for (std::int64_t t = first * kRows; t < std::min(last * kRows, sizes.tokens); ++t) {
      std::copy_n(table + tokens[t] * sizes.width, sizes.width, out + t * sizes.width);
    }
  });
}

template <typename T>
std::int64_t embed_tokens_backward_workspace(const EmbedTokensSizes& sizes) {
  check_sizes(sizes);
  Workspace counted(nullptr);
  counted.take<double>(backward_parts(sizes).parts * sizes.vocabulary * sizes.width);
  return counted.bytes();
}

template <typename T>
void embed_tokens_backward(const EmbedTokensSizes& sizes, const std::uint8_t* tokens, const T* dout, T* dtable,
                           void* workspace, const ParallelFor& parallel) {
  check(sizes, tokens, dout, dtable);
  require(dtable != nullptr && workspace != nullptr, "embed_tokens: dtable or the workspace is missing");
  const Partition parts = backward_parts(sizes);
  const std::int64_t table_size = sizes.vocabulary * sizes.width;
  double* const sums = Workspace(workspace).take<double>(parts.parts * table_size);
  parallel(parts.parts, [&](std::int64_t first, std::int64_t last) {
    for (std::int64_t part = first; part < last; ++part) {
      double* const table = sums + part * table_size;
      std::fill_n(table, table_size, 0.0);
      for (std::int64_t t = parts.begin(part); t < parts.begin(part + 1); ++t) {
        double* const row = table + tokens[t] * sizes.width;
        for (std::int64_t d = 0; d < sizes.width; ++d) row[d] += dout[t * sizes.width + d];
      }
    }
  });
  sum_parts<double>(sums, parts.parts, table_size, dtable, parallel);
}

#define DNAMAMBA_INSTANTIATE(T)                                                                               \
  template void embed_tokens(const EmbedTokensSizes&, const std::uint8_t*, const T*, T*, const ParallelFor&); \
  template std::int64_t embed_tokens_backward_workspace<T>(const EmbedTokensSizes&);                          \
  template void embed_tokens_backward(const EmbedTokensSizes&, const std::uint8_t*, const T*, T*, void*,      \
                                      const ParallelFor&);
DNAMAMBA_INSTANTIATE(float)
DNAMAMBA_INSTANTIATE(double)
#undef DNAMAMBA_INSTANTIATE

}  // namespace dnamamba::kernels::cpu
