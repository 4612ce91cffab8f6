#include "kernels/arguments.h"

#include <stdexcept>

namespace dnamamba::kernels {

void require(bool condition, const char* message) {
  if (!condition) throw std::invalid_argument(message);
}

void check_ragged(const Ragged& ragged, const char* message) {
  require(ragged.sequences >= 0 && (ragged.sequences == 0 || ragged.offsets != nullptr), message);
  if (ragged.sequences == 0) return;
  require(ragged.offsets[0] == 0, message);
  for (std::int64_t s = 0; s < ragged.sequences; ++s) require(ragged.offsets[s] <= ragged.offsets[s + 1], message);
}

template <typename T>
void check(const SelectiveScanInputs<T>& in) {
  check_ragged(in.ragged, "selective_scan: offsets must begin with 0 and not decrease");
  constexpr std::int64_t kWidest = std::int64_t{1} << 22;  // offsets within a run of tokens have 32 bits
  require(in.channels >= 1 && in.channels <= kWidest, "selective_scan: channels must be in 1 ... 4194304");
  require(in.states >= 1 && in.states <= 256, "selective_scan: states must be in 1 ... 256");
  require(in.state_step() >= in.states && in.state_step() <= kWidest,
          "selective_scan: rows of B and C overlap, or are more than 4194304 values apart");
  require(in.A != nullptr, "selective_scan: A is missing");
  if (in.ragged.tokens() == 0) return;
  require(in.x != nullptr && in.delta != nullptr, "selective_scan: x or delta is missing");
  require(in.B != nullptr && in.C != nullptr, "selective_scan: B or C is missing");
}

template <typename T>
void check(const SelectiveScanInputs<T>& in, const SelectiveScanOutputs<T>& out) {
  check(in);
  require(out.y != nullptr || in.ragged.tokens() == 0, "selective_scan: y is missing");
}

template <typename T>
void check(const SelectiveScanInputs<T>& in, const SelectiveScanGradients<T>& gradients) {
  check(in);
  require(gradients.dy != nullptr || in.ragged.tokens() == 0, "selective_scan: dy is missing");
  require(gradients.dD == nullptr || in.D != nullptr, "selective_scan: dD is wanted, but D is null");
  require(gradients.dz == nullptr || in.z != nullptr, "selective_scan: dz is wanted, but z is null");
  require(gradients.ddelta_bias == nullptr || in.delta_bias != nullptr,
          "selective_scan: ddelta_bias is wanted, but delta_bias is null");
}

template <typename T>
void check(const SsdInputs<T>& in) {
  check_ragged(in.ragged, "ssd: offsets must begin with 0 and not decrease");
  require(in.heads >= 1, "ssd: heads must be at least 1");
  require(in.head_dim >= 1 && in.head_dim <= 256, "ssd: head_dim must be in 1 ... 256");
  require(in.states >= 1 && in.states <= 256, "ssd: states must be in 1 ... 256");
  require(in.groups >= 1 && in.heads % in.groups == 0, "ssd: groups must divide heads");
  require(in.dt_min >= 0 && in.dt_min <= in.dt_max, "ssd: 0 <= dt_min <= dt_max must hold");
  require(in.A != nullptr, "ssd: A is missing");
  if (in.ragged.tokens() == 0) return;
  require(in.x != nullptr && in.dt != nullptr, "ssd: x or dt is missing");
  require(in.B != nullptr && in.C != nullptr, "ssd: B or C is missing");
}

template <typename T>
void check(const SsdInputs<T>& in, const SsdOutputs<T>& out) {
  check(in);
  require(out.y != nullptr || in.ragged.tokens() == 0, "ssd: y is missing");
}

template <typename T>
void check(const SsdInputs<T>& in, const SsdGradients<T>& gradients) {
  check(in);
  require(gradients.dy != nullptr || in.ragged.tokens() == 0, "ssd: dy is missing");
  require(gradients.dD == nullptr || in.D != nullptr, "ssd: dD is wanted, but D is null");
  require(gradients.ddt_bias == nullptr || in.dt_bias != nullptr, "ssd: ddt_bias is wanted, but dt_bias is null");
}

template <typename T>
void check(const CausalConv1dInputs<T>& in) {
  check_ragged(in.ragged, "causal_conv1d: offsets must begin with 0 and not decrease");
  require(in.channels >= 1, "causal_conv1d: channels must be at least 1");
  require(in.width >= 1 && in.width <= 64, "causal_conv1d: width must be in 1 ... 64");
  require(in.weight != nullptr, "causal_conv1d: weight is missing");
  require(in.x != nullptr || in.ragged.tokens() == 0, "causal_conv1d: x is missing");
}

template <typename T>
void check(const CausalConv1dInputs<T>& in, const CausalConv1dOutputs<T>& out) {
  check(in);
  require(out.y != nullptr || in.ragged.tokens() == 0, "causal_conv1d: y is missing");
}

template <typename T>
void check(const CausalConv1dInputs<T>& in, const CausalConv1dGradients<T>& gradients) {
  check(in);
  require(gradients.dy != nullptr || in.ragged.tokens() == 0, "causal_conv1d: dy is missing");
  require(gradients.dbias == nullptr || in.bias != nullptr, "causal_conv1d: dbias is wanted, but bias is null");
}

namespace {

template <typename T, typename R>
void check_rows(const AddRmsNormInputs<T, R>& in) {
  require(in.rows >= 0, "add_rms_norm: rows must not be negative");
  require(in.columns >= 1, "add_rms_norm: columns must be at least 1");
  require(in.epsilon >= 0, "add_rms_norm: epsilon must not be negative");
  require(in.weight != nullptr, "add_rms_norm: weight is missing");
}

template <typename T>
void check_tokens(const TokenLossInputs<T>& in) {
  require(in.tokens >= 0, "token_loss: tokens must not be negative");
  require(in.width >= 1, "token_loss: width must be at least 1");
  require(in.vocabulary >= 1 && in.vocabulary <= 1024, "token_loss: vocabulary must be in 1 ... 1024");
  require(in.weight != nullptr, "token_loss: weight is missing");
  if (in.tokens == 0) return;
  require(in.hidden != nullptr && in.targets != nullptr, "token_loss: hidden or targets is missing");
}

}  // namespace

template <typename T, typename R>
void check(const AddRmsNormInputs<T, R>& in, const AddRmsNormOutputs<T, R>& out) {
  check_rows(in);
  require(in.x != nullptr || in.rows == 0, "add_rms_norm: x is missing");
  require(out.y != nullptr || in.rows == 0, "add_rms_norm: y is missing");
}

template <typename T, typename R>
void check(const AddRmsNormInputs<T, R>& in, const AddRmsNormGradients<T, R>& gradients) {
  check_rows(in);
  require(gradients.r != nullptr || in.rows == 0, "add_rms_norm: r is missing");
  require(gradients.dy != nullptr || in.rows == 0, "add_rms_norm: dy is missing");
}

template <typename T>
void check_rows(const GatedRmsNormInputs<T>& in) {
  require(in.rows >= 0, "gated_rms_norm: rows must not be negative");
  require(in.columns >= 1, "gated_rms_norm: columns must be at least 1");
  require(in.groups >= 1 && in.columns % in.groups == 0, "gated_rms_norm: groups must divide columns");
  require(in.epsilon >= 0, "gated_rms_norm: epsilon must not be negative");
  require(in.weight != nullptr, "gated_rms_norm: weight is missing");
  require((in.x != nullptr && in.z != nullptr) || in.rows == 0, "gated_rms_norm: x or z is missing");
}

template <typename T>
void check(const GatedRmsNormInputs<T>& in, const T* y) {
  check_rows(in);
  require(y != nullptr || in.rows == 0, "gated_rms_norm: y is missing");
}

template <typename T>
void check(const GatedRmsNormInputs<T>& in, const GatedRmsNormGradients<T>& gradients) {
  check_rows(in);
  const bool all = gradients.dy != nullptr && gradients.dx != nullptr && gradients.dz != nullptr;
  require(all || in.rows == 0, "gated_rms_norm: dy, dx or dz is missing");
}

template <typename T>
void check(const TokenLossInputs<T>& in, const TokenLossOutputs<T>& out) {
  check_tokens(in);
  require(out.loss != nullptr || in.tokens == 0, "token_loss: loss is missing");
}

template <typename T>
void check(const TokenLossInputs<T>& in, const TokenLossGradients<T>& gradients) {
  check_tokens(in);
  require(gradients.dloss != nullptr || in.tokens == 0, "token_loss: dloss is missing");
}

template <typename T>
void check_targets(const TokenLossInputs<T>& in) {
  for (std::int64_t t = 0; t < in.tokens; ++t) {
    const bool counts = in.token_weights == nullptr || in.token_weights[t] != 0;
    require(!counts || in.targets[t] < in.vocabulary, "token_loss: a target is not below vocabulary");
  }
}

void check_sizes(const EmbedTokensSizes& sizes) {
  require(sizes.tokens >= 0, "embed_tokens: tokens must not be negative");
  require(sizes.vocabulary >= 1 && sizes.vocabulary <= 256, "embed_tokens: vocabulary must be in 1 ... 256");
  require(sizes.width >= 1, "embed_tokens: width must be at least 1");
}

void check(const EmbedTokensSizes& sizes, const std::uint8_t* tokens, const void* from, const void* to) {
  check_sizes(sizes);
  require(sizes.tokens == 0 || (tokens != nullptr && from != nullptr && to != nullptr),
          "embed_tokens: a pointer is missing");
  for (std::int64_t t = 0; t < sizes.tokens; ++t) {
    require(tokens[t] < sizes.vocabulary, "embed_tokens: a token is not below vocabulary");
  }
}

#define DNAMAMBA_INSTANTIATE(T)                                                         \
  template void check(const SelectiveScanInputs<T>&);                                   \
  template void check(const SelectiveScanInputs<T>&, const SelectiveScanOutputs<T>&);   \
  template void check(const SelectiveScanInputs<T>&, const SelectiveScanGradients<T>&); \
  template void check(const SsdInputs<T>&);                                             \
  template void check(const SsdInputs<T>&, const SsdOutputs<T>&);                       \
  template void check(const SsdInputs<T>&, const SsdGradients<T>&);                     \
  template void check(const CausalConv1dInputs<T>&);                                    \
  template void check(const CausalConv1dInputs<T>&, const CausalConv1dOutputs<T>&);     \
  template void check(const CausalConv1dInputs<T>&, const CausalConv1dGradients<T>&);   \
  template void check(const AddRmsNormInputs<T, T>&, const AddRmsNormOutputs<T, T>&);   \
  template void check(const AddRmsNormInputs<T, T>&, const AddRmsNormGradients<T, T>&); \
  template void check_rows(const GatedRmsNormInputs<T>&);                               \
  template void check(const GatedRmsNormInputs<T>&, const T*);                          \
  template void check(const GatedRmsNormInputs<T>&, const GatedRmsNormGradients<T>&);   \
  template void check(const TokenLossInputs<T>&, const TokenLossOutputs<T>&);           \
  template void check(const TokenLossInputs<T>&, const TokenLossGradients<T>&);         \
  template void check_targets(const TokenLossInputs<T>&);
DNAMAMBA_INSTANTIATE(float)
DNAMAMBA_INSTANTIATE(double)
DNAMAMBA_INSTANTIATE(BFloat16)
#undef DNAMAMBA_INSTANTIATE

template void check(const AddRmsNormInputs<BFloat16, float>&, const AddRmsNormOutputs<BFloat16, float>&);
template void check(const AddRmsNormInputs<BFloat16, float>&, const AddRmsNormGradients<BFloat16, float>&);

}  // namespace dnamamba::kernels
