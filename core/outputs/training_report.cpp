#include "core/outputs/training_report.h"

#include <nlohmann/json.hpp>

namespace dnamamba::outputs {

namespace texts {  // the files of report/
extern const std::string_view kTrainingHtml, kTrainingScript;
}  // namespace texts

namespace {

using nlohmann::json;

std::string ascii(const json& value) {
  return value.dump(-1, ' ', true, json::error_handler_t::replace);
}

// Time and tokens so far, as the frame of the page draws them.
std::string throughput(const TrainingHistory& history) {
  json seconds = json::array(), done = json::array();
  double time = 0;
  std::int64_t tokens = 0;
  for (const TrainingSpan& span : history.spans()) {
    seconds.push_back(time += span.seconds);
    done.push_back(tokens += span.tokens);
  }
  return json{{"seconds", seconds}, {"done", done}}.dump();
}

}  // namespace

void write_training_report(const std::filesystem::path& path, bool force, const ReportRun& run,
                           const TrainingTotals& totals, const TrainingHistory& history) {
  ReportPage page(path, force);
  page.begin(run, texts::kTrainingHtml);
  page.add_json(
      "totals",
      json{{"steps", totals.steps}, {"all_steps", totals.all_steps}, {"utilisation", totals.utilisation}}.dump());
  page.add_json("history", ascii(history.to_json()));
  page.add_json("throughput", throughput(history));
  page.end(texts::kTrainingScript);
  page.commit();
}

}  // namespace dnamamba::outputs
