#include "kernels/gated_rms_norm.h"

#include <cmath>
#include <cstddef>
#include <vector>

#include "kernels/arguments.h"
#include "kernels/reference/activations.h"

namespace dnamamba::kernels::reference {
namespace {

/// One group of one row.
struct Group {
  std::int64_t at = 0;      ///< of its first channel in [T, W]
  std::int64_t column = 0;  ///< the same in [W]
  std::int64_t size = 0;
};

template <typename T, typename Body>
void for_each_group(const GatedRmsNormInputs<T>& in, Body&& body) {
  const std::int64_t size = in.columns / in.groups;
  for (std::int64_t t = 0; t < in.rows; ++t) {
    for (std::int64_t g = 0; g < in.groups; ++g) body(Group{t * in.columns + g * size, g * size, size});
  }
}

/// What is normalised: x, or x with its gate.
template <typename T>
double ungated_or_gated(const GatedRmsNormInputs<T>& in, std::int64_t at) {
  return in.norm_before_gate ? double{in.x[at]} : in.x[at] * silu(in.z[at]);
}

template <typename T>
double scale_of(const GatedRmsNormInputs<T>& in, const Group& group) {
  double squares = 0;
  for (std::int64_t i = 0; i < group.size; ++i) {
    const double u = ungated_or_gated(in, group.at + i);
    squares += u * u / static_cast<double>(group.size);
  }
  return 1 / std::sqrt(squares + in.epsilon);
}

}  // namespace

template <typename T>
void gated_rms_norm(const GatedRmsNormInputs<T>& in, T* y) {
  check(in, y);
  for_each_group(in, [&](const Group& group) {
    const double scale = scale_of(in, group);
    for (std::int64_t i = 0; i < group.size; ++i) {
      const double gate = in.norm_before_gate ? silu(in.z[group.at + i]) : 1.0;
      const double n = ungated_or_gated(in, group.at + i) * scale;
      y[group.at + i] = static_cast<T>(n * in.weight[group.column + i] * gate);
    }
  });
}

template <typename T>
void gated_rms_norm_backward(const GatedRmsNormInputs<T>& in, const GatedRmsNormGradients<T>& gradients) {
  check(in, gradients);
  std::vector<double> dweight(static_cast<std::size_t>(in.columns), 0.0);
  for_each_group(in, [&](const Group& group) {
    const double scale = scale_of(in, group);
    std::vector<double> g(static_cast<std::size_t>(group.size)), n(g);  // of what is normalised: gradient and result
    double mean_gn = 0;
    for (std::int64_t i = 0; i < group.size; ++i) {
      const std::int64_t at = group.at + i;
      const double dy = gradients.dy[at] * (in.norm_before_gate ? silu(in.z[at]) : 1.0);
      g[i] = dy * in.weight[group.column + i];
      n[i] = ungated_or_gated(in, at) * scale;
      mean_gn += g[i] * n[i] / static_cast<double>(group.size);
      dweight[group.column + i] += dy * n[i];
    }
    for (std::int64_t i = 0; i < group.size; ++i) {
      const std::int64_t at = group.at + i;
      const double du = (g[i] - n[i] * mean_gn) * scale;
      const double from_gate =
          in.norm_before_gate ? gradients.dy[at] * n[i] * in.weight[group.column + i] : du * in.x[at];
      gradients.dx[at] = static_cast<T>(du * (in.norm_before_gate ? 1.0 : silu(in.z[at])));
      gradients.dz[at] = static_cast<T>(from_gate * silu_slope(in.z[at]));
    }
  });
  for (std::int64_t i = 0; gradients.dweight != nullptr && i < in.columns; ++i) {
    gradients.dweight[i] = static_cast<T>(dweight[i]);
  }
}

template void gated_rms_norm(const GatedRmsNormInputs<float>&, float*);
template void gated_rms_norm(const GatedRmsNormInputs<double>&, double*);
template void gated_rms_norm_backward(const GatedRmsNormInputs<float>&, const GatedRmsNormGradients<float>&);
template void gated_rms_norm_backward(const GatedRmsNormInputs<double>&, const GatedRmsNormGradients<double>&);

}  // namespace dnamamba::kernels::reference
