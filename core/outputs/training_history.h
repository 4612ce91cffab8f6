// How a training run went, in constant memory however many steps it has: what its report draws and its checkpoints
// keep.
#pragma once
#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

namespace dnamamba::outputs {

/// What a step came to.
struct TrainingStep {
  std::int64_t step = 0;    ///< 1 is the first
  std::int64_t tokens = 0;  ///< of this step
  double bits_per_base = 0;
  double rate = 0;
  double gradient_norm = 0;
  double seconds = 0;    ///< that it took
  bool skipped = false;  ///< then its loss and norm are not counted: they may be no numbers
};

/// Bits per base of targets that had `from` to 2 · `from` - 1 bases of context.
struct ContextLoss {
  std::int64_t from = 1;
  std::int64_t bases = 0;  ///< how many there were
  double bits = 0;
};

/// A file's bits per base after a step; NaN where no base was counted.
struct TrainingValidation {
  std::int64_t step = 0;
  std::string file;
  double bits_per_base = 0;
  std::vector<ContextLoss> by_context;  ///< contexts that occurred, rising
};

/// {"step", "file", "bits_per_base", "by_context": [[from, bases, bits] …]}; null in the place of NaN.
nlohmann::json to_json(const TrainingValidation& validation);

/// A few consecutive steps.
struct TrainingSpan {
  std::int64_t last_step = 0;
  std::int64_t steps = 0;
  std::int64_t skipped = 0;
  std::int64_t tokens = 0;
  double seconds = 0;
  double bits = 0;  ///< means over the steps that were not skipped; 0 if all were
  double gradient_norm = 0;
  double rate = 0;  ///< of the last step
};

class TrainingHistory {
 public:
  /// Spans at most: of 1 step each, then 2, then 4 …
  static constexpr std::int64_t kMost = 1024;

  void add(const TrainingStep& step);
  void add(TrainingValidation validation) { validations_.push_back(std::move(validation)); }

  [[nodiscard]] const std::vector<TrainingSpan>& spans() const { return spans_; }
  [[nodiscard]] const std::vector<TrainingValidation>& validations() const { return validations_; }

  /// Everything, and back again to the same bits. @throws nlohmann::json::exception for other JSON.
  [[nodiscard]] nlohmann::json to_json() const;
  static TrainingHistory from_json(const nlohmann::json& json);

 private:
  std::int64_t width_ = 1;  // steps of a span
  std::vector<TrainingSpan> spans_;
  std::vector<TrainingValidation> validations_;
};

}  // namespace dnamamba::outputs
