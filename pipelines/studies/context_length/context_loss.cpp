#include "pipelines/studies/context_length/context_loss.h"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <span>

#include "core/base/error.h"
#include "core/base/stop.h"
#include "core/train/validation.h"

namespace dnamamba::studies {
namespace {

using train::LossSum;

void add_targets(const train::NextTokenBatch& part, std::span<const float> losses, std::span<LossSum> sums) {
  for (std::int64_t s = 0; s < part.inputs.sequences(); ++s)
    for (std::int64_t t = part.inputs.offsets[s]; t < part.inputs.offsets[s + 1]; ++t) {
      if (part.weights[t] == 0) continue;
      sums[s].loss += losses[t];
      sums[s].weight += 1;
    }
}

class Measurement {
 public:
  Measurement(const model::Backbone& backbone, const ContextWindows& windows, const tokens::Alphabet& alphabet,
              std::int64_t segment, const ContextProgress& progress)
      : backbone_(backbone), windows_(windows), alphabet_(alphabet), segment_(segment), progress_(progress) {}

  /// Of each window.
  std::vector<LossSum> sums_of(std::int64_t context, Context kind) {
    std::vector<LossSum> sums(windows_.count());
    const std::int64_t together = std::max(segment_ / (context + windows_.options().window), std::int64_t{1});
    for (std::int64_t first = 0; first < windows_.count(); first += together) {
      const std::int64_t count = std::min(together, windows_.count() - first);
      add_losses(context, kind, first, std::span(sums).subspan(first, count));
    }
    return sums;
  }

 private:
  // Of the windows from `first` on, as one batch.
  void add_losses(std::int64_t context, Context kind, std::int64_t first, std::span<LossSum> sums) {
    base::throw_if_stopped();
    train::NextTokenBatch batch;
    for (std::int64_t i = 0; i < std::ssize(sums); ++i) {
      const std::int64_t begin = std::ssize(batch.weights);
      batch.append(windows_.read(first + i, context, kind), alphabet_);
      std::fill_n(batch.weights.begin() + begin, context - 1, 0.0F);  // the context's own bases
    }
    train::streamed_loss(backbone_, batch, segment_,
                         [&](const train::NextTokenBatch& part, std::int64_t, std::span<const float> losses) {
                           add_targets(part, losses, sums);
                         });
    for (std::int64_t i = 0; i < std::ssize(sums); ++i)
      if (!std::isfinite(sums[i].loss))
        throw base::Error(windows_.place_of(first + i) +
                          ": the model's answer is not a number; are its weights whole?");
    progress_(batch.inputs.token_count());
  }

  const model::Backbone& backbone_;
  const ContextWindows& windows_;
  const tokens::Alphabet& alphabet_;
  std::int64_t segment_;
  const ContextProgress& progress_;
};

struct Mean {
  double value = 0, error = 0;
};

Mean mean_of(const std::vector<double>& values) {
  const auto n = static_cast<double>(values.size());
  double sum = 0, squares = 0;
  for (const double value : values) sum += value;
  for (const double value : values) squares += (value - sum / n) * (value - sum / n);
  return {sum / n, std::sqrt(squares / (n - 1) / n)};
}

ContextLoss summary(std::int64_t context, Context kind, const std::vector<LossSum>& sums,
                    const std::vector<double>& bits, const std::vector<double>& with_shortest) {
  double bases = 0;
  std::vector<double> gains;
  for (std::size_t i = 0; i < sums.size(); ++i) {
    bases += sums[i].weight;
    gains.push_back(with_shortest[i] - bits[i]);
  }
  const Mean mean = mean_of(bits), gain = mean_of(gains);
  return {context,    kind,       std::ssize(bits), static_cast<std::int64_t>(bases),
          mean.value, mean.error, gain.value,       gain.error};
}

}  // namespace

std::vector<std::int64_t> contexts_of(const WindowOptions& options) {
  std::vector<std::int64_t> contexts;
  for (std::int64_t c = options.shortest; c < options.longest; c *= 4) contexts.push_back(c);
  contexts.push_back(options.longest);
  return contexts;
}

std::vector<ContextLoss> measure_context_losses(const model::Backbone& backbone, const ContextWindows& windows,
                                                const tokens::Alphabet& alphabet, std::int64_t segment,
                                                const ContextProgress& progress) {
  Measurement measurement(backbone, windows, alphabet, segment, progress);
  std::vector<ContextLoss> losses;
  std::vector<double> with_shortest;
  for (const std::int64_t context : contexts_of(windows.options()))
    for (const Context kind : {Context::kTrue, Context::kShuffled, Context::kElsewhere}) {
      const std::vector<LossSum> sums = measurement.sums_of(context, kind);
      std::vector<double> bits;
      std::transform(sums.begin(), sums.end(), std::back_inserter(bits), train::bits_per_base);
      if (with_shortest.empty()) with_shortest = bits;
      losses.push_back(summary(context, kind, sums, bits, with_shortest));
    }
  return losses;
}

}  // namespace dnamamba::studies
