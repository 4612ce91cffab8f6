// The learning rate of each step: a linear warm-up, then a cosine, a plateau that decays at its end, or a plateau.
#pragma once
#include <cstdint>

namespace dnamamba::train {

enum class Schedule {
  kCosine,    ///< half a cosine, to `final_rate`
  kWsd,       ///< warm-up, stable, decay: the highest rate, but for a straight line to `final_rate` at the end
  kConstant,  ///< the highest rate to the end
};

/// Parts are of all steps, rates of the highest.
struct ScheduleOptions {
  Schedule kind = Schedule::kCosine;
  double rate = 4e-3;        ///< the highest
  double final_rate = 0.05;  ///< part of the highest that is reached after the last step
  double warmup = 0.1;       ///< part of the steps in which the rate rises; one step at least
  double decay = 0.2;        ///< part of the steps in which it falls; of kWsd
  std::int64_t steps = 1;    ///< all of them
};

/// The rate of step `step`, 0-based; of those beyond the last, the final one.
double rate_at(const ScheduleOptions& options, std::int64_t step);

}  // namespace dnamamba::train
