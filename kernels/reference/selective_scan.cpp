#include "kernels/selective_scan.h"

#include <cmath>
#include <cstddef>
#include <vector>

#include "kernels/arguments.h"
#include "kernels/reference/activations.h"
#include "kernels/reference/reading.h"

namespace dnamamba::kernels::reference {
namespace {

template <typename T>
double step_size_input(const SelectiveScanInputs<T>& in, std::int64_t row, std::int64_t e) {
  return double{in.delta[row * in.channels + e]} + (in.delta_bias ? double{in.delta_bias[e]} : 0.0);
}

/// The states of channel e before the first token and after each: [length + 1, N].
template <typename T>
std::vector<double> states_of(const SelectiveScanInputs<T>& in, std::int64_t sequence, std::int64_t e) {
  const Reading tokens = reading(in.ragged, sequence, in.reverse);
  const std::int64_t N = in.states;
  std::vector<double> h(static_cast<std::size_t>((tokens.length() + 1) * N), 0.0);
  if (in.initial_state) {
    for (std::int64_t n = 0; n < N; ++n) h[n] = in.initial_state[(sequence * in.channels + e) * N + n];
  }
  for (std::int64_t t = 0; t < tokens.length(); ++t) {
    const std::int64_t row = tokens.row(t);
    const double x = in.x[row * in.channels + e];
    const double dt = softplus(step_size_input(in, row, e));
    for (std::int64_t n = 0; n < N; ++n) {
      h[(t + 1) * N + n] = std::exp(dt * in.A[e * N + n]) * h[t * N + n] + dt * in.B[row * N + n] * x;
    }
  }
  return h;
}

/// sum over n of C h + D x, before the gate.
template <typename T>
double ungated(const SelectiveScanInputs<T>& in, const double* h, std::int64_t row, std::int64_t e) {
  double y = in.D ? double{in.D[e]} * in.x[row * in.channels + e] : 0.0;
  for (std::int64_t n = 0; n < in.states; ++n) y += in.C[row * in.states + n] * h[n];
  return y;
}

template <typename T>
void write(T* to, const std::vector<double>& from) {
  for (std::size_t i = 0; to != nullptr && i < from.size(); ++i) to[i] = static_cast<T>(from[i]);
}

/// Sums over tokens or channels, kept in double until all is added.
struct Sums {
  std::vector<double> dA, dB, dC, dD, dbias;
};

template <typename T>
void backward_of_channel(const SelectiveScanInputs<T>& in, const SelectiveScanGradients<T>& gradients,
                         std::int64_t sequence, std::int64_t e, Sums& sums) {
  const Reading tokens = reading(in.ragged, sequence, in.reverse);
  const std::int64_t N = in.states;
  const std::vector<double> h = states_of(in, sequence, e);
  std::vector<double> carry(static_cast<std::size_t>(N),
                            0.0);  // a[t+1] g[t+1]: what flows into the state after token t
  if (gradients.dfinal_state) {
    for (std::int64_t n = 0; n < N; ++n) carry[n] = gradients.dfinal_state[(sequence * in.channels + e) * N + n];
  }
  for (std::int64_t t = tokens.length() - 1; t >= 0; --t) {
    const std::int64_t row = tokens.row(t);
    const std::int64_t at = row * in.channels + e;
    const double x = in.x[at];
    const double v = step_size_input(in, row, e);
    const double dt = softplus(v);
    const double z = in.z ? double{in.z[at]} : 0.0;
    const double dy = gradients.dy[at] * (in.z ? silu(z) : 1.0);
    if (gradients.dz) {
      gradients.dz[at] = static_cast<T>(gradients.dy[at] * ungated(in, &h[(t + 1) * N], row, e) * silu_slope(z));
    }
    double dx = in.D ? in.D[e] * dy : 0.0;
    double ddt = 0;
    for (std::int64_t n = 0; n < N; ++n) {
      const double A = in.A[e * N + n];
      const double B = in.B[row * N + n];
      const double g = dy * in.C[row * N + n] + carry[n];
      carry[n] = std::exp(dt * A) * g;
      sums.dC[row * N + n] += dy * h[(t + 1) * N + n];
      sums.dB[row * N + n] += g * dt * x;
      sums.dA[e * N + n] += carry[n] * h[t * N + n] * dt;
      dx += g * dt * B;
      ddt += carry[n] * h[t * N + n] * A + g * B * x;
    }
    const double ddelta = ddt * softplus_slope(v);
    sums.dD[e] += dy * x;
    sums.dbias[e] += ddelta;
    if (gradients.dx) gradients.dx[at] = static_cast<T>(dx);
    if (gradients.ddelta) gradients.ddelta[at] = static_cast<T>(ddelta);
  }
  for (std::int64_t n = 0; gradients.dinitial_state != nullptr && n < N; ++n) {
    gradients.dinitial_state[(sequence * in.channels + e) * N + n] = static_cast<T>(carry[n]);
  }
}

}  // namespace

template <typename T>
void selective_scan(const SelectiveScanInputs<T>& in, const SelectiveScanOutputs<T>& out) {
  check(in, out);
  const std::int64_t N = in.states;
  for (std::int64_t s = 0; s < in.ragged.sequences; ++s) {
    const Reading tokens = reading(in.ragged, s, in.reverse);
    for (std::int64_t e = 0; e < in.channels; ++e) {
      const std::vector<double> h = states_of(in, s, e);
      for (std::int64_t t = 0; t < tokens.length(); ++t) {
        const std::int64_t at = tokens.row(t) * in.channels + e;
        out.y[at] = static_cast<T>(ungated(in, &h[(t + 1) * N], tokens.row(t), e) * (in.z ? silu(in.z[at]) : 1.0));
      }
      for (std::int64_t n = 0; out.final_state != nullptr && n < N; ++n) {
        out.final_state[(s * in.channels + e) * N + n] = static_cast<T>(h[tokens.length() * N + n]);
      }
    }
  }
}

template <typename T>
void selective_scan_backward(const SelectiveScanInputs<T>& in, const SelectiveScanGradients<T>& gradients) {
  check(in, gradients);
  const auto zeros = [](std::int64_t count) { return std::vector<double>(static_cast<std::size_t>(count), 0.0); };
  const std::int64_t per_token = in.ragged.tokens() * in.states;
  Sums sums{zeros(in.channels * in.states), zeros(per_token), zeros(per_token), zeros(in.channels), zeros(in.channels)};
  for (std::int64_t s = 0; s < in.ragged.sequences; ++s) {
    for (std::int64_t e = 0; e < in.channels; ++e) backward_of_channel(in, gradients, s, e, sums);
  }
  write(gradients.dA, sums.dA);
  write(gradients.dB, sums.dB);
  write(gradients.dC, sums.dC);
  write(gradients.dD, sums.dD);
  write(gradients.ddelta_bias, sums.dbias);
}

template void selective_scan(const SelectiveScanInputs<float>&, const SelectiveScanOutputs<float>&);
template void selective_scan(const SelectiveScanInputs<double>&, const SelectiveScanOutputs<double>&);
template void selective_scan_backward(const SelectiveScanInputs<float>&, const SelectiveScanGradients<float>&);
template void selective_scan_backward(const SelectiveScanInputs<double>&, const SelectiveScanGradients<double>&);

}  // namespace dnamamba::kernels::reference
