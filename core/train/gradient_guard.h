// Tells when a step's gradient is not like those before it.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

namespace dnamamba::train {

/// What is done about a step.
enum class OnTrouble {
  kIgnore,  ///< as any other
  kStop,    ///< the run ends with an error
  kSkip,    ///< parameters and moments stay as they are
};

struct GuardOptions {
  OnTrouble on_nan = OnTrouble::kStop;      ///< the loss or the gradient is not finite; never kIgnore
  OnTrouble on_spike = OnTrouble::kIgnore;  ///< the norm is above spike_factor times the median of the last ones
  double spike_factor = 10;
};

/// Keeps the norms of the last kWindow steps, those that were skipped among them: what lasts is no spike.
class GradientGuard {
 public:
  static constexpr std::size_t kWindow = 101;  ///< steps
  static constexpr std::size_t kLeast = 20;    ///< norms, before anything is called a spike

  explicit GradientGuard(const GuardOptions& options) : options_(options) {}

  struct Verdict {
    OnTrouble action = OnTrouble::kIgnore;
    std::string reason;  ///< empty where there is no trouble
  };
  /// Of a step with this loss and norm of the gradient, which is then among the last ones unless the run stops.
  Verdict judge(double loss, double norm);

  /// From the oldest; for a run that goes on later.
  [[nodiscard]] const std::vector<double>& norms() const { return norms_; }
  void set_norms(std::vector<double> norms) { norms_ = std::move(norms); }

 private:
  [[nodiscard]] double median() const;

  GuardOptions options_;
  std::vector<double> norms_;
};

}  // namespace dnamamba::train
