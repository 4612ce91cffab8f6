// The page that `dnamamba pretrain --report` writes: loss, learning rate, gradient, loss by context, the run.
#pragma once
#include <cstdint>
#include <filesystem>

#include "core/outputs/report_page.h"
#include "core/outputs/training_history.h"

namespace dnamamba::outputs {

struct TrainingTotals {
  std::int64_t steps = 0;      ///< done
  std::int64_t all_steps = 0;  ///< of the schedule
  double utilisation = 0;      ///< of the device's peak, 0 … 1; 0: not known
};

/// Writes the page as it is now, whole or not at all. @throws base::IoError, also if the file exists and `force` is
/// false.
void write_training_report(const std::filesystem::path& path, bool force, const ReportRun& run,
                           const TrainingTotals& totals, const TrainingHistory& history);

}  // namespace dnamamba::outputs
