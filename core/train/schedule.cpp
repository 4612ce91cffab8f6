#include "core/train/schedule.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace dnamamba::train {

double rate_at(const ScheduleOptions& options, std::int64_t step) {
  const auto steps = static_cast<double>(options.steps), done = static_cast<double>(step);
  const double warmup = std::max(1.0, std::floor(options.warmup * steps));
  if (done < warmup) return options.rate * (done + 1) / warmup;
  // Of the way from `begin` to the last step, as a number in [0, 1].
  const auto part_from = [&](double begin) {
    return std::clamp((done - begin) / std::max(1.0, steps - begin), 0.0, 1.0);
  };
  double height = 1;  // above the final rate
  if (options.kind == Schedule::kCosine) height = 0.5 * (1 + std::cos(std::numbers::pi * part_from(warmup)));
  if (options.kind == Schedule::kWsd)
    height = 1 - part_from(std::max(warmup, steps - std::floor(options.decay * steps)));
  return options.rate * (options.final_rate + (1 - options.final_rate) * height);
}

}  // namespace dnamamba::train
