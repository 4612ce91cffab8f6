#include "core/outputs/training_history.h"

#include <limits>
#include <nlohmann/json.hpp>

namespace dnamamba::outputs {
namespace {

using nlohmann::json;

// Both as one span, the means weighed by the steps that they are of.
TrainingSpan joined(const TrainingSpan& a, const TrainingSpan& b) {
  const auto of_a = static_cast<double>(a.steps - a.skipped), of_b = static_cast<double>(b.steps - b.skipped);
  const auto mean = [&](double one, double other) {
    return of_a + of_b > 0 ? (of_a * one + of_b * other) / (of_a + of_b) : 0;
  };
  return {.last_step = b.last_step,
          .steps = a.steps + b.steps,
          .skipped = a.skipped + b.skipped,
          .tokens = a.tokens + b.tokens,
          .seconds = a.seconds + b.seconds,
          .bits = mean(a.bits, b.bits),
          .gradient_norm = mean(a.gradient_norm, b.gradient_norm),
          .rate = b.rate};
}

json to_array(const TrainingSpan& s) {
  return {s.last_step, s.steps, s.skipped, s.tokens, s.seconds, s.bits, s.gradient_norm, s.rate};
}

TrainingSpan span_of(const json& values) {
  const auto count = [&](int i) { return values.at(i).get<std::int64_t>(); };
  const auto number = [&](int i) { return values.at(i).get<double>(); };
  return {count(0), count(1), count(2), count(3), number(4), number(5), number(6), number(7)};
}

// JSON knows no NaN; it is written as null.
double number_or_nan(const json& value) {
  return value.is_null() ? std::numeric_limits<double>::quiet_NaN() : value.get<double>();
}

}  // namespace

json to_json(const TrainingValidation& validation) {
  json by_context = json::array();
  for (const ContextLoss& part : validation.by_context) by_context.push_back({part.from, part.bases, part.bits});
  return {{"step", validation.step},
          {"file", validation.file},
          {"bits_per_base", validation.bits_per_base},
          {"by_context", by_context}};
}

void TrainingHistory::add(const TrainingStep& step) {
  const TrainingSpan one{.last_step = step.step,
                         .steps = 1,
                         .skipped = step.skipped ? 1 : 0,
                         .tokens = step.tokens,
                         .seconds = step.seconds,
                         .bits = step.skipped ? 0 : step.bits_per_base,
                         .gradient_norm = step.skipped ? 0 : step.gradient_norm,
                         .rate = step.rate};
  if (!spans_.empty() && spans_.back().steps < width_) {
    spans_.back() = joined(spans_.back(), one);
    return;
  }
  if (static_cast<std::int64_t>(spans_.size()) == kMost) {
    for (std::size_t i = 0; i < spans_.size() / 2; ++i) spans_[i] = joined(spans_[2 * i], spans_[2 * i + 1]);
    spans_.resize(spans_.size() / 2);
    width_ *= 2;
  }
  spans_.push_back(one);
}

json TrainingHistory::to_json() const {
  json spans = json::array(), validations = json::array();
  for (const TrainingSpan& span : spans_) spans.push_back(to_array(span));
  for (const TrainingValidation& validation : validations_) validations.push_back(outputs::to_json(validation));
  return {{"width", width_}, {"spans", spans}, {"validations", validations}};
}

TrainingHistory TrainingHistory::from_json(const json& json) {
  TrainingHistory history;
  history.width_ = json.at("width").get<std::int64_t>();
  for (const auto& span : json.at("spans")) history.spans_.push_back(span_of(span));
  for (const auto& stored : json.at("validations")) {
    TrainingValidation validation{stored.at("step").get<std::int64_t>(),
                                  stored.at("file").get<std::string>(),
                                  number_or_nan(stored.at("bits_per_base")),
                                  {}};
    for (const auto& part : stored.at("by_context"))
      validation.by_context.push_back(
          {part.at(0).get<std::int64_t>(), part.at(1).get<std::int64_t>(), number_or_nan(part.at(2))});
    history.validations_.push_back(std::move(validation));
  }
  return history;
}

}  // namespace dnamamba::outputs
