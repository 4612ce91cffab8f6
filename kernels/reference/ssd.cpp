#include "kernels/ssd.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <vector>

#include "kernels/arguments.h"
#include "kernels/reference/activations.h"
#include "kernels/reference/reading.h"

namespace dnamamba::kernels::reference {
namespace {

/// One channel of one head of one sequence.
struct Channel {
  std::int64_t sequence, head, channel;
};

template <typename T>
double step_size_input(const SsdInputs<T>& in, std::int64_t row, std::int64_t h) {
  return double{in.dt[row * in.heads + h]} + (in.dt_bias ? double{in.dt_bias[h]} : 0.0);
}
template <typename T>
double step_size(const SsdInputs<T>& in, std::int64_t row, std::int64_t h) {
  return std::clamp(softplus(step_size_input(in, row, h)), in.dt_min, in.dt_max);
}
/// The slope of step_size.
template <typename T>
double step_size_slope(const SsdInputs<T>& in, std::int64_t row, std::int64_t h) {
  const double v = step_size_input(in, row, h), dt = softplus(v);
  return dt < in.dt_min || dt > in.dt_max ? 0.0 : softplus_slope(v);
}

template <typename T>
std::int64_t group_of(const SsdInputs<T>& in, const Channel& c) {
  return c.head / (in.heads / in.groups);
}
/// Where a token's values stand that lie like [T, H, P] and [T, G, N] end to end.
template <typename T>
std::int64_t x_at(const SsdInputs<T>& in, std::int64_t row, const Channel& c) {
  return (row * in.heads + c.head) * in.head_dim + c.channel;
}
template <typename T>
std::int64_t B_at(const SsdInputs<T>& in, std::int64_t row, const Channel& c) {
  return (row * in.groups + group_of(in, c)) * in.states;
}
/// A token's inputs, whose rows may lie apart: x, and the N values of B and C.
template <typename T>
double x_of(const SsdInputs<T>& in, std::int64_t row, const Channel& c) {
  return in.x[row * in.x_step() + c.head * in.head_dim + c.channel];
}
template <typename T>
const T* B_of(const SsdInputs<T>& in, std::int64_t row, const Channel& c) {
  return in.B + row * in.B_step() + group_of(in, c) * in.states;
}
template <typename T>
const T* C_of(const SsdInputs<T>& in, std::int64_t row, const Channel& c) {
  return in.C + row * in.C_step() + group_of(in, c) * in.states;
}
template <typename T>
std::int64_t state_at(const SsdInputs<T>& in, const Channel& c) {
  return ((c.sequence * in.heads + c.head) * in.head_dim + c.channel) * in.states;
}
template <typename T>
std::int64_t D_at(const SsdInputs<T>& in, const Channel& c) {
  return in.D_per_channel ? c.head * in.head_dim + c.channel : c.head;
}

/// The states of a channel before the first token and after each: [length + 1, N].
template <typename T>
std::vector<double> states_of(const SsdInputs<T>& in, const Channel& c) {
  const Reading tokens = reading(in.ragged, c.sequence, in.reverse);
  const std::int64_t N = in.states;
  std::vector<double> s(static_cast<std::size_t>((tokens.length() + 1) * N), 0.0);
  for (std::int64_t n = 0; in.initial_state != nullptr && n < N; ++n) s[n] = in.initial_state[state_at(in, c) + n];
  for (std::int64_t t = 0; t < tokens.length(); ++t) {
    const std::int64_t row = tokens.row(t);
    const double dt = step_size(in, row, c.head), decay = std::exp(dt * in.A[c.head]);
    const double x = x_of(in, row, c);
    const T* const B = B_of(in, row, c);
    for (std::int64_t n = 0; n < N; ++n) s[(t + 1) * N + n] = decay * s[t * N + n] + dt * x * B[n];
  }
  return s;
}

template <typename T>
void write(T* to, const std::vector<double>& from) {
  for (std::size_t i = 0; to != nullptr && i < from.size(); ++i) to[i] = static_cast<T>(from[i]);
}

/// Sums over tokens, heads or channels, kept in double until all is added.
struct Sums {
  std::vector<double> ddt, dA, dB, dC, dD, dbias;
};

template <typename T>
void backward_of_channel(const SsdInputs<T>& in, const SsdGradients<T>& gradients, const Channel& c, Sums& sums) {
  const Reading tokens = reading(in.ragged, c.sequence, in.reverse);
  const std::int64_t N = in.states;
  const double A = in.A[c.head];
  const std::vector<double> s = states_of(in, c);
  std::vector<double> carry(static_cast<std::size_t>(N), 0.0);  // decay[t+1] g[t+1]: what flows into s[t]
  for (std::int64_t n = 0; gradients.dfinal_state != nullptr && n < N; ++n) {
    carry[n] = gradients.dfinal_state[state_at(in, c) + n];
  }
  for (std::int64_t t = tokens.length() - 1; t >= 0; --t) {
    const std::int64_t row = tokens.row(t), at = x_at(in, row, c), b_at = B_at(in, row, c);
    const T *const B = B_of(in, row, c), *const C = C_of(in, row, c);
    const double x = x_of(in, row, c), dy = gradients.dy[at], dt = step_size(in, row, c.head), decay = std::exp(dt * A);
    double g_times_B = 0, change = 0;
    for (std::int64_t n = 0; n < N; ++n) {
      const double g = dy * C[n] + carry[n];
      carry[n] = decay * g;
      sums.dC[b_at + n] += dy * s[(t + 1) * N + n];
      sums.dB[b_at + n] += g * dt * x;
      g_times_B += g * B[n];
      change += carry[n] * s[t * N + n];
    }
    sums.dA[c.head] += change * dt;
    sums.ddt[row * in.heads + c.head] += (change * A + g_times_B * x) * step_size_slope(in, row, c.head);
    if (in.D) sums.dD[D_at(in, c)] += dy * x;
    const double skipped = in.D ? in.D[D_at(in, c)] * dy : 0.0;
    if (gradients.dx) gradients.dx[at] = static_cast<T>(g_times_B * dt + skipped);
  }
  for (std::int64_t n = 0; gradients.dinitial_state != nullptr && n < N; ++n) {
    gradients.dinitial_state[state_at(in, c) + n] = static_cast<T>(carry[n]);
  }
}

template <typename T, typename Body>
void for_each_channel(const SsdInputs<T>& in, Body&& body) {
  for (std::int64_t s = 0; s < in.ragged.sequences; ++s) {
    for (std::int64_t h = 0; h < in.heads; ++h) {
      for (std::int64_t p = 0; p < in.head_dim; ++p) body(Channel{s, h, p});
    }
  }
}

}  // namespace

template <typename T>
void ssd(const SsdInputs<T>& in, const SsdOutputs<T>& out) {
  check(in, out);
  const std::int64_t N = in.states;
  for_each_channel(in, [&](const Channel& c) {
    const Reading tokens = reading(in.ragged, c.sequence, in.reverse);
    const std::vector<double> s = states_of(in, c);
    for (std::int64_t t = 0; t < tokens.length(); ++t) {
      const std::int64_t row = tokens.row(t), at = x_at(in, row, c);
      double y = in.D ? double{in.D[D_at(in, c)]} * x_of(in, row, c) : 0.0;
      for (std::int64_t n = 0; n < N; ++n) y += C_of(in, row, c)[n] * s[(t + 1) * N + n];
      out.y[at] = static_cast<T>(y);
    }
    for (std::int64_t n = 0; out.final_state != nullptr && n < N; ++n) {
      out.final_state[state_at(in, c) + n] = static_cast<T>(s[tokens.length() * N + n]);
    }
  });
}

template <typename T>
void ssd_backward(const SsdInputs<T>& in, const SsdGradients<T>& gradients) {
  check(in, gradients);
  const auto zeros = [](std::int64_t count) { return std::vector<double>(static_cast<std::size_t>(count), 0.0); };
  const std::int64_t tokens = in.ragged.tokens(), per_token = tokens * in.groups * in.states;
  Sums sums{zeros(tokens * in.heads), zeros(in.heads),    zeros(per_token),
            zeros(per_token),         zeros(in.D_size()), zeros(in.heads)};
  for_each_channel(in, [&](const Channel& c) { backward_of_channel(in, gradients, c, sums); });
  for (std::int64_t i = 0; i < tokens * in.heads; ++i) sums.dbias[i % in.heads] += sums.ddt[i];
  write(gradients.ddt, sums.ddt);
  write(gradients.dA, sums.dA);
  write(gradients.dB, sums.dB);
  write(gradients.dC, sums.dC);
  write(gradients.dD, sums.dD);
  write(gradients.ddt_bias, sums.dbias);
}

template void ssd(const SsdInputs<float>&, const SsdOutputs<float>&);
template void ssd(const SsdInputs<double>&, const SsdOutputs<double>&);
template void ssd_backward(const SsdInputs<float>&, const SsdGradients<float>&);
template void ssd_backward(const SsdInputs<double>&, const SsdGradients<double>&);

}  // namespace dnamamba::kernels::reference
