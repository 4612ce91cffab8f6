#include "kernels/causal_conv1d.h"

#include <cstddef>
#include <vector>

#include "kernels/arguments.h"
#include "kernels/reference/activations.h"

namespace dnamamba::kernels::reference {
namespace {

/// One channel of one sequence in the order of reading. Positions from -(K-1) to -1 are the initial state.
template <typename T>
struct Channel {
  const CausalConv1dInputs<T>& in;
  std::int64_t sequence, e;

  [[nodiscard]] std::int64_t begin() const { return in.ragged.offsets[sequence]; }
  [[nodiscard]] std::int64_t end() const { return in.ragged.offsets[sequence + 1]; }
  [[nodiscard]] std::int64_t length() const { return end() - begin(); }
  [[nodiscard]] std::int64_t row(std::int64_t t) const { return in.reverse ? end() - 1 - t : begin() + t; }
  /// Where position t >= 0 stands in [T, E].
  [[nodiscard]] std::int64_t at(std::int64_t t) const { return row(t) * in.channels + e; }
  /// Where row `j` of the state stands in [S, K-1, E].
  [[nodiscard]] std::int64_t state_at(std::int64_t j) const {
    return (sequence * (in.width - 1) + j) * in.channels + e;
  }
  [[nodiscard]] double input(std::int64_t t) const {
    if (t >= 0) return in.x[row(t) * in.x_step() + e];
    return in.initial_state ? double{in.initial_state[state_at(t + in.width - 1)]} : 0.0;
  }
  [[nodiscard]] double convolved(std::int64_t t) const {
    double v = in.bias ? double{in.bias[e]} : 0.0;
    for (std::int64_t k = 0; k < in.width; ++k) v += in.weight[e * in.width + k] * input(t - (in.width - 1) + k);
    return v;
  }
};

template <typename T>
void backward_of_channel(const Channel<T>& channel, const CausalConv1dGradients<T>& gradients, double* dweight,
                         double* dbias) {
  const CausalConv1dInputs<T>& in = channel.in;
  const std::int64_t K = in.width;
  const std::int64_t L = channel.length();
  std::vector<double> dinput(static_cast<std::size_t>(L + K - 1), 0.0);  // [p + K - 1] is position p
  for (std::int64_t t = 0; t < L; ++t) {
    const double dv = gradients.dy[channel.at(t)] * (in.silu ? silu_slope(channel.convolved(t)) : 1.0);
    *dbias += dv;
    for (std::int64_t k = 0; k < K; ++k) {
      dweight[k] += dv * channel.input(t - (K - 1) + k);
      dinput[t + k] += dv * in.weight[channel.e * K + k];
    }
  }
  for (std::int64_t j = 0; gradients.dfinal_state != nullptr && j < K - 1; ++j) {
    dinput[L + j] += gradients.dfinal_state[channel.state_at(j)];
  }
  for (std::int64_t t = 0; gradients.dx != nullptr && t < L; ++t) {
    gradients.dx[channel.at(t)] = static_cast<T>(dinput[t + K - 1]);
  }
  for (std::int64_t j = 0; gradients.dinitial_state != nullptr && j < K - 1; ++j) {
    gradients.dinitial_state[channel.state_at(j)] = static_cast<T>(dinput[j]);
  }
}

}  // namespace

template <typename T>
void causal_conv1d(const CausalConv1dInputs<T>& in, const CausalConv1dOutputs<T>& out) {
  check(in, out);
  for (std::int64_t s = 0; s < in.ragged.sequences; ++s) {
    for (std::int64_t e = 0; e < in.channels; ++e) {
      const Channel<T> channel{in, s, e};
      const std::int64_t L = channel.length();
      for (std::int64_t t = 0; t < L; ++t) {
        const double v = channel.convolved(t);
        out.y[channel.at(t)] = static_cast<T>(in.silu ? silu(v) : v);
      }
      for (std::int64_t j = 0; out.final_state != nullptr && j < in.width - 1; ++j) {
        out.final_state[channel.state_at(j)] = static_cast<T>(channel.input(L - (in.width - 1) + j));
      }
    }
  }
}

template <typename T>
void causal_conv1d_backward(const CausalConv1dInputs<T>& in, const CausalConv1dGradients<T>& gradients) {
  check(in, gradients);
  for (std::int64_t e = 0; e < in.channels; ++e) {
    std::vector<double> dweight(static_cast<std::size_t>(in.width), 0.0);
    double dbias = 0;
    for (std::int64_t s = 0; s < in.ragged.sequences; ++s) {
      backward_of_channel(Channel<T>{in, s, e}, gradients, dweight.data(), &dbias);
    }
    for (std::int64_t k = 0; gradients.dweight != nullptr && k < in.width; ++k) {
      gradients.dweight[e * in.width + k] = static_cast<T>(dweight[k]);
    }
    if (gradients.dbias) gradients.dbias[e] = static_cast<T>(dbias);
  }
}

template void causal_conv1d(const CausalConv1dInputs<float>&, const CausalConv1dOutputs<float>&);
template void causal_conv1d(const CausalConv1dInputs<double>&, const CausalConv1dOutputs<double>&);
template void causal_conv1d_backward(const CausalConv1dInputs<float>&, const CausalConv1dGradients<float>&);
template void causal_conv1d_backward(const CausalConv1dInputs<double>&, const CausalConv1dGradients<double>&);

}  // namespace dnamamba::kernels::reference
