// How well a model predicts windows of real sequences, by how much of what stands before them it has read.
#pragma once
#include <cstdint>
#include <functional>
#include <vector>

#include "core/model/backbone.h"
#include "pipelines/studies/context_length/context_windows.h"

namespace dnamamba::studies {

struct ContextLoss {
  std::int64_t context = 0;  ///< bases
  Context kind = Context::kTrue;
  std::int64_t windows = 0;
  std::int64_t bases = 0;     ///< that were predicted
  double bits_per_base = 0;   ///< mean of the windows' means
  double standard_error = 0;  ///< of it, over the windows; NaN for one window
  double gain = 0;            ///< bits per base less than with the shortest context, in the same windows
  double gain_error = 0;      ///< standard error of these differences
};

/// Told how many tokens were computed since the last time.
using ContextProgress = std::function<void(std::int64_t tokens)>;

/// The shortest context, 4 times as long and so on, and the longest.
std::vector<std::int64_t> contexts_of(const WindowOptions& options);

/// Of every context of each kind, in the same windows. N is read but no target. `segment`: tokens computed at a time,
/// of one window or of several; it does not show in the result. Memory: 6 bytes a base of a context, and a segment.
/// @throws base::Error for an answer that is no number; base::IoError; base::Interrupted.
std::vector<ContextLoss> measure_context_losses(const model::Backbone& backbone, const ContextWindows& windows,
                                                const tokens::Alphabet& alphabet, std::int64_t segment,
                                                const ContextProgress& progress);

}  // namespace dnamamba::studies
