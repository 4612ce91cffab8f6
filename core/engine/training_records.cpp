#include "core/engine/training_records.h"

#include <nlohmann/json.hpp>

#include "core/outputs/training_report.h"

namespace dnamamba::engine {

using nlohmann::json;

TrainingRecords::TrainingRecords(const RecordOptions& options, std::int64_t all_steps, double flops, double peak)
    : options_(options), all_steps_(all_steps), flops_(flops), peak_(peak) {}

void TrainingRecords::open_log(std::int64_t done) {
  if (!options_.log.empty()) log_ = std::make_unique<TrainingLog>(options_.log, done);
}

void TrainingRecords::add(const outputs::TrainingStep& step, const std::string& reason) {
  tokens_ += step.tokens;
  skipped_ += step.skipped ? 1 : 0;
  seconds_ += step.seconds;
  history_.add(step);
  if (!log_) return;
  json entry = {{"step", step.step},
                {"tokens", tokens_},
                {"bits_per_base", step.bits_per_base},
                {"rate", step.rate},
                {"gradient_norm", step.gradient_norm},
                {"seconds", seconds_},
                {"tokens_per_second", static_cast<double>(step.tokens) / step.seconds}};
  if (const double part = utilisation(step.tokens, step.seconds); part > 0) entry["utilisation"] = part;
  if (step.skipped) entry["skipped"] = reason;
  log_->add(entry);
}

void TrainingRecords::add(outputs::TrainingValidation validation) {
  if (log_) log_->add(outputs::to_json(validation));
  history_.add(std::move(validation));
}

void TrainingRecords::write_report() const {
  if (options_.report.empty()) return;
  const std::int64_t done = history_.spans().empty() ? 0 : history_.spans().back().last_step;
  outputs::write_training_report(options_.report, /*force=*/true, options_.description,
                                 {done, all_steps_, utilisation(tokens_, seconds_)}, history_);
}

double TrainingRecords::utilisation(std::int64_t tokens, double seconds) const {
  return peak_ > 0 && seconds > 0 ? flops_ * static_cast<double>(tokens) / seconds / peak_ : 0;
}

json TrainingRecords::to_json() const {
  return {{"tokens", tokens_}, {"skipped", skipped_}, {"seconds", seconds_}, {"history", history_.to_json()}};
}

void TrainingRecords::restore(const json& stored) {
  tokens_ = stored.at("tokens").get<std::int64_t>();
  skipped_ = stored.at("skipped").get<std::int64_t>();
  seconds_ = stored.at("seconds").get<double>();
  history_ = outputs::TrainingHistory::from_json(stored.at("history"));
}

json TrainingRecords::for_card() const {
  json history = json::array();
  for (const outputs::TrainingSpan& span : history_.spans())
    history.push_back({{"step", span.last_step}, {"bits_per_base", span.bits}});
  for (const outputs::TrainingValidation& validation : history_.validations())
    history.push_back({{"step", validation.step}, {"validation", {{validation.file, validation.bits_per_base}}}});
  return {{"tokens", tokens_}, {"skipped", skipped_}, {"history", history}};
}

}  // namespace dnamamba::engine
