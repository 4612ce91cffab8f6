#include "core/engine/principal_axes.h"

#include <ATen/Parallel.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/linalg_eigh.h>

#include <algorithm>
#include <cmath>

namespace dnamamba::engine {
namespace {

// LAPACK's sums may depend on how many threads take part.
class OneThread {
 public:
  OneThread() { at::set_num_threads(1); }
  ~OneThread() { at::set_num_threads(before_); }
  OneThread(const OneThread&) = delete;
  OneThread& operator=(const OneThread&) = delete;

 private:
  int before_ = at::get_num_threads();
};

void turn(std::vector<double>& axis) {
  const auto smaller = [](double a, double b) { return std::abs(a) < std::abs(b); };
  if (*std::max_element(axis.begin(), axis.end(), smaller) >= 0) return;
  for (double& element : axis) element = -element;
}

}  // namespace

PrincipalAxes principal_axes(outputs::Covariance& covariance, std::int64_t count) {
  const std::int64_t width = covariance.width();
  std::vector<double> matrix = covariance.matrix();
  const OneThread one_thread;
  const auto [values, vectors] = at::linalg_eigh(at::from_blob(matrix.data(), {width, width}, at::kDouble));
  const double all = values.clamp_min(0).sum().item<double>();
  PrincipalAxes found;
  for (std::int64_t i = width - 1; i >= std::max<std::int64_t>(0, width - count); --i) {  // eigenvalues rise
    const at::Tensor column = vectors.select(1, i).contiguous();
    const double* const elements = column.const_data_ptr<double>();
    turn(found.axes.emplace_back(elements, elements + width));
    found.shares.push_back(all > 0 ? std::max(0.0, values[i].item<double>()) / all : 0);
  }
  return found;
}

}  // namespace dnamamba::engine
