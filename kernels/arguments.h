// What every implementation of an operator asks of its arguments, said once. Private to this layer.
#pragma once
#include <cstdint>

#include "kernels/add_rms_norm.h"
#include "kernels/causal_conv1d.h"
#include "kernels/embed_tokens.h"
#include "kernels/gated_rms_norm.h"
#include "kernels/ragged.h"
#include "kernels/selective_scan.h"
#include "kernels/ssd.h"
#include "kernels/token_loss.h"

namespace dnamamba::kernels {

// All of them: @throws std::invalid_argument that names the operator and what is wrong.

void require(bool condition, const char* message);
void check_ragged(const Ragged& ragged, const char* message);

template <typename T>
void check(const SelectiveScanInputs<T>& in);
template <typename T>
void check(const SelectiveScanInputs<T>& in, const SelectiveScanOutputs<T>& out);
template <typename T>
void check(const SelectiveScanInputs<T>& in, const SelectiveScanGradients<T>& gradients);

template <typename T>
void check(const SsdInputs<T>& in);
template <typename T>
void check(const SsdInputs<T>& in, const SsdOutputs<T>& out);
template <typename T>
void check(const SsdInputs<T>& in, const SsdGradients<T>& gradients);

template <typename T>
void check(const CausalConv1dInputs<T>& in);
template <typename T>
void check(const CausalConv1dInputs<T>& in, const CausalConv1dOutputs<T>& out);
template <typename T>
void check(const CausalConv1dInputs<T>& in, const CausalConv1dGradients<T>& gradients);

template <typename T, typename R>
void check(const AddRmsNormInputs<T, R>& in, const AddRmsNormOutputs<T, R>& out);
template <typename T, typename R>
void check(const AddRmsNormInputs<T, R>& in, const AddRmsNormGradients<T, R>& gradients);

template <typename T>
void check_rows(const GatedRmsNormInputs<T>& in);
template <typename T>
void check(const GatedRmsNormInputs<T>& in, const T* y);
template <typename T>
void check(const GatedRmsNormInputs<T>& in, const GatedRmsNormGradients<T>& gradients);

template <typename T>
void check(const TokenLossInputs<T>& in, const TokenLossOutputs<T>& out);
template <typename T>
void check(const TokenLossInputs<T>& in, const TokenLossGradients<T>& gradients);
template <typename T>
void check_targets(const TokenLossInputs<T>& in);  ///< reads them: on the host

void check_sizes(const EmbedTokensSizes& sizes);
void check(const EmbedTokensSizes& sizes, const std::uint8_t* tokens, const void* from, const void* to);

}  // namespace dnamamba::kernels
