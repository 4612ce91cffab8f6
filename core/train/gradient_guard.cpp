#include "core/train/gradient_guard.h"

#include <algorithm>
#include <cmath>

#include "core/base/error.h"

namespace dnamamba::train {

double GradientGuard::median() const {
  std::vector<double> sorted = norms_;
  const auto middle = sorted.begin() + static_cast<std::ptrdiff_t>(sorted.size() / 2);
  std::nth_element(sorted.begin(), middle, sorted.end());
  return *middle;
}

GradientGuard::Verdict GradientGuard::judge(double loss, double norm) {
  if (!std::isfinite(loss)) return {options_.on_nan, "the loss is not finite"};
  if (!std::isfinite(norm)) return {options_.on_nan, "the gradient is not finite"};
  Verdict verdict;
  if (options_.on_spike != OnTrouble::kIgnore && norms_.size() >= kLeast)
    if (const double usual = median(); norm > options_.spike_factor * usual)
      verdict = {options_.on_spike, base::concat("the gradient's norm, ", norm, ", is more than ",
                                                 options_.spike_factor, " times the usual ", usual)};
  if (verdict.action == OnTrouble::kStop) return verdict;  // judged again when the run goes on
  norms_.push_back(norm);
  if (norms_.size() > kWindow) norms_.erase(norms_.begin());
  return verdict;
}

}  // namespace dnamamba::train
