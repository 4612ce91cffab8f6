// What is counted of a training run over all its pieces, kept with its checkpoints, logged and drawn.
#pragma once
#include <cstdint>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "core/engine/training_log.h"
#include "core/outputs/report_page.h"
#include "core/outputs/training_history.h"

namespace dnamamba::engine {

/// What a run leaves to be looked at, besides the model.
struct RecordOptions {
  std::string log;                 ///< a file of TrainingLog; empty: none
  std::string report;              ///< a page, written at each validation and at the end; empty: none
  outputs::ReportRun description;  ///< for the page
};

class TrainingRecords {
 public:
  /// `peak`: operations a second that the device is capable of, 0 where that is not known; a token's training takes
  /// `flops`. Refers to `options`.
  TrainingRecords(const RecordOptions& options, std::int64_t all_steps, double flops, double peak);

  /// Once, before the first step; `done` steps are kept of a log that is there. @throws base::IoError.
  void open_log(std::int64_t done);

  /// `reason`: why the step was skipped, if it was. @throws base::IoError.
  void add(const outputs::TrainingStep& step, const std::string& reason);
  void add(outputs::TrainingValidation validation);
  /// Writes the page, whole or not at all. @throws base::IoError.
  void write_report() const;

  [[nodiscard]] std::int64_t tokens() const { return tokens_; }    ///< trained on
  [[nodiscard]] std::int64_t skipped() const { return skipped_; }  ///< steps
  /// Of the device's peak, 0 … 1; 0 where that is not known.
  [[nodiscard]] double utilisation(std::int64_t tokens, double seconds) const;

  /// Everything, and back again. @throws nlohmann::json::exception for other JSON.
  [[nodiscard]] nlohmann::json to_json() const;
  void restore(const nlohmann::json& stored);
  /// What is the same however often the run was stopped: for the model's card.
  [[nodiscard]] nlohmann::json for_card() const;

 private:
  const RecordOptions& options_;
  const std::int64_t all_steps_;
  const double flops_, peak_;
  std::int64_t tokens_ = 0;
  std::int64_t skipped_ = 0;
  double seconds_ = 0;  // of all steps
  outputs::TrainingHistory history_;
  std::unique_ptr<TrainingLog> log_;
};

}  // namespace dnamamba::engine
