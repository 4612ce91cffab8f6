#include "kernels/token_loss.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <vector>

#include "kernels/arguments.h"

namespace dnamamba::kernels::reference {
namespace {

template <typename T>
double weight_of(const TokenLossInputs<T>& in, std::int64_t t) {
  return in.token_weights ? double{in.token_weights[t]} : 1.0;
}

/// log of the softmax over the vocabulary.
template <typename T>
std::vector<double> log_probabilities(const TokenLossInputs<T>& in, std::int64_t t) {
  std::vector<double> logits(static_cast<std::size_t>(in.vocabulary), 0.0);
  for (std::int64_t v = 0; v < in.vocabulary; ++v) {
    for (std::int64_t d = 0; d < in.width; ++d) {
      logits[v] += double{in.hidden[t * in.width + d]} * in.weight[v * in.width + d];
    }
  }
  const double largest = *std::max_element(logits.begin(), logits.end());
  double sum = 0;
  for (const double logit : logits) sum += std::exp(logit - largest);
  for (double& logit : logits) logit -= largest + std::log(sum);
  return logits;
}

}  // namespace

template <typename T>
void token_loss(const TokenLossInputs<T>& in, const TokenLossOutputs<T>& out) {
  check(in, out);
  check_targets(in);
  for (std::int64_t t = 0; t < in.tokens; ++t) {
    const double weight = weight_of(in, t);
    out.loss[t] = weight == 0 ? T{0} : static_cast<T>(-weight * log_probabilities(in, t)[in.targets[t]]);
  }
}

template <typename T>
void token_loss_backward(const TokenLossInputs<T>& in, const TokenLossGradients<T>& gradients) {
  check(in, gradients);
  check_targets(in);
  const std::int64_t D = in.width;
  std::vector<double> dweight(static_cast<std::size_t>(in.vocabulary * D), 0.0);
  for (std::int64_t t = 0; t < in.tokens; ++t) {
    const double weight = weight_of(in, t);
    std::vector<double> dhidden(static_cast<std::size_t>(D), 0.0);
    if (weight != 0) {
      const std::vector<double> log_p = log_probabilities(in, t);
      for (std::int64_t v = 0; v < in.vocabulary; ++v) {
        const double dlogit = weight * gradients.dloss[t] * (std::exp(log_p[v]) - (v == in.targets[t] ? 1.0 : 0.0));
        for (std::int64_t d = 0; d < D; ++d) {
          dhidden[d] += dlogit * in.weight[v * D + d];
          dweight[v * D + d] += dlogit * in.hidden[t * D + d];
        }
      }
    }
    for (std::int64_t d = 0; gradients.dhidden != nullptr && d < D; ++d) {
      gradients.dhidden[t * D + d] = static_cast<T>(dhidden[d]);
    }
  }
  for (std::size_t i = 0; gradients.dweight != nullptr && i < dweight.size(); ++i) {
    gradients.dweight[i] = static_cast<T>(dweight[i]);
  }
}

template void token_loss(const TokenLossInputs<float>&, const TokenLossOutputs<float>&);
template void token_loss(const TokenLossInputs<double>&, const TokenLossOutputs<double>&);
template void token_loss_backward(const TokenLossInputs<float>&, const TokenLossGradients<float>&);
template void token_loss_backward(const TokenLossInputs<double>&, const TokenLossGradients<double>&);

}  // namespace dnamamba::kernels::reference
