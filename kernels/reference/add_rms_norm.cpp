#include "kernels/add_rms_norm.h"

#include <cmath>
#include <cstddef>
#include <vector>

#include "kernels/arguments.h"

namespace dnamamba::kernels::reference {
namespace {

/// normalised = (r - mean) * scale; the mean is 0 for RMSNorm.
struct RowStatistics {
  double mean = 0, scale = 0;
};

RowStatistics statistics(const std::vector<double>& r, bool layer_norm, double epsilon) {
  const auto D = static_cast<double>(r.size());
  RowStatistics row;
  for (const double v : r) row.mean += layer_norm ? v / D : 0.0;
  double variance = 0;
  for (const double v : r) variance += (v - row.mean) * (v - row.mean) / D;
  row.scale = 1 / std::sqrt(variance + epsilon);
  return row;
}

template <typename T>
std::vector<double> summed_row(const AddRmsNormInputs<T>& in, std::int64_t t) {
  std::vector<double> r(static_cast<std::size_t>(in.columns));
  for (std::int64_t d = 0; d < in.columns; ++d) {
    r[d] = double{in.x[t * in.columns + d]} + (in.residual ? double{in.residual[t * in.columns + d]} : 0.0);
  }
  return r;
}

}  // namespace

template <typename T>
void add_rms_norm(const AddRmsNormInputs<T>& in, const AddRmsNormOutputs<T>& out) {
  check(in, out);
  for (std::int64_t t = 0; t < in.rows; ++t) {
    const std::vector<double> r = summed_row(in, t);
    const RowStatistics row = statistics(r, in.layer_norm, in.epsilon);
    for (std::int64_t d = 0; d < in.columns; ++d) {
      const double y = (r[d] - row.mean) * row.scale * in.weight[d] + (in.bias ? double{in.bias[d]} : 0.0);
      out.y[t * in.columns + d] = static_cast<T>(y);
      if (out.residual_out) out.residual_out[t * in.columns + d] = static_cast<T>(r[d]);
    }
  }
}

template <typename T>
void add_rms_norm_backward(const AddRmsNormInputs<T>& in, const AddRmsNormGradients<T>& gradients) {
  check(in, gradients);
  const std::int64_t D = in.columns;
  std::vector<double> dweight(static_cast<std::size_t>(D), 0.0), dbias(dweight);
  for (std::int64_t t = 0; t < in.rows; ++t) {
    const std::vector<double> r(gradients.r + t * D, gradients.r + (t + 1) * D);
    const RowStatistics row = statistics(r, in.layer_norm, in.epsilon);
    double mean_g = 0, mean_gn = 0;  // g: the gradient of the normalised row n
    for (std::int64_t d = 0; d < D; ++d) {
      const double g = double{gradients.dy[t * D + d]} * in.weight[d];
      const double n = (r[d] - row.mean) * row.scale;
      mean_g += in.layer_norm ? g / static_cast<double>(D) : 0.0;
      mean_gn += g * n / static_cast<double>(D);
      dweight[d] += gradients.dy[t * D + d] * n;
      dbias[d] += gradients.dy[t * D + d];
    }
    for (std::int64_t d = 0; d < D; ++d) {
      const double g = double{gradients.dy[t * D + d]} * in.weight[d];
      const double n = (r[d] - row.mean) * row.scale;
      const double passed = gradients.dresidual_out ? double{gradients.dresidual_out[t * D + d]} : 0.0;
      const double dr = (g - mean_g - n * mean_gn) * row.scale + passed;
      if (gradients.dx) gradients.dx[t * D + d] = static_cast<T>(dr);
      if (gradients.dresidual) gradients.dresidual[t * D + d] = static_cast<T>(dr);
    }
  }
  for (std::int64_t d = 0; d < D; ++d) {
    if (gradients.dweight) gradients.dweight[d] = static_cast<T>(dweight[d]);
    if (gradients.dbias) gradients.dbias[d] = static_cast<T>(dbias[d]);
  }
}

template void add_rms_norm(const AddRmsNormInputs<float>&, const AddRmsNormOutputs<float>&);
template void add_rms_norm(const AddRmsNormInputs<double>&, const AddRmsNormOutputs<double>&);
template void add_rms_norm_backward(const AddRmsNormInputs<float>&, const AddRmsNormGradients<float>&);
template void add_rms_norm_backward(const AddRmsNormInputs<double>&, const AddRmsNormGradients<double>&);

}  // namespace dnamamba::kernels::reference
