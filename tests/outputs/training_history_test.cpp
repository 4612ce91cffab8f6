// A run's history keeps its sums whatever its length, and comes back from JSON to the same bits.
#include "core/outputs/training_history.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>
#include <numeric>

#include "core/base/error.h"
#include "core/outputs/training_report.h"
#include "tests/support/report.h"
#include "tests/support/temp_dir.h"
#include "tests/support/throws.h"

namespace dnamamba::outputs {
namespace {

TrainingStep step_of(std::int64_t step) {
  const bool skipped = step % 97 == 5;
  const double nan = std::numeric_limits<double>::quiet_NaN();
  return {.step = step,
          .tokens = skipped ? 0 : 1000 + step % 3,
          .bits_per_base = skipped ? nan : 2 - 1e-4 * static_cast<double>(step % 500),
          .rate = 1e-3 * static_cast<double>(step),
          .gradient_norm = skipped ? nan : 1 + 0.1 * static_cast<double>(step % 7),
          .seconds = 0.25,
          .skipped = skipped};
}

TEST(TrainingHistory, KeepsSumsAndMeansOfRunsOfAnyLength) {
  TrainingHistory history;
  std::int64_t tokens = 0, skipped = 0;
  double bits = 0;
  for (std::int64_t step = 1; step <= 5000; ++step) {
    const TrainingStep one = step_of(step);
    history.add(one);
    tokens += one.tokens;
    skipped += one.skipped ? 1 : 0;
    if (!one.skipped) bits += one.bits_per_base;
    if (step != 10 && step != 1024 && step != 1025 && step != 5000) continue;
    std::int64_t kept_tokens = 0, kept_skipped = 0, steps = 0;
    double kept_bits = 0, seconds = 0;
    for (const TrainingSpan& span : history.spans()) {
      steps += span.steps;
      EXPECT_EQ(span.last_step, steps) << "spans follow one another without a gap";
      kept_tokens += span.tokens;
      kept_skipped += span.skipped;
      kept_bits += span.bits * static_cast<double>(span.steps - span.skipped);
      seconds += span.seconds;
    }
    EXPECT_EQ(steps, step);
    EXPECT_EQ(kept_tokens, tokens);
    EXPECT_EQ(kept_skipped, skipped);
    EXPECT_NEAR(kept_bits, bits, 1e-9 * bits);
    EXPECT_DOUBLE_EQ(seconds, 0.25 * static_cast<double>(step));
    EXPECT_EQ(history.spans().back().rate, one.rate);
    EXPECT_LE(static_cast<std::int64_t>(history.spans().size()), TrainingHistory::kMost);
    EXPECT_GE(static_cast<std::int64_t>(history.spans().size()), std::min(step, TrainingHistory::kMost / 2));
  }
}

TEST(TrainingHistory, GoesOnFromJsonWithTheSameBits) {
  for (const std::int64_t cut : {0, 3, 1023, 1025, 2500}) {
    TrainingHistory whole, before;
    for (std::int64_t step = 1; step <= 3000; ++step) whole.add(step_of(step));
    for (std::int64_t step = 1; step <= cut; ++step) before.add(step_of(step));
    TrainingHistory after = TrainingHistory::from_json(nlohmann::json::parse(before.to_json().dump()));
    for (std::int64_t step = cut + 1; step <= 3000; ++step) after.add(step_of(step));
    EXPECT_EQ(after.to_json(), whole.to_json()) << "cut after " << cut;
  }
}

TEST(TrainingHistory, KeepsValidationsAlsoOfNothing) {
  TrainingHistory history;
  history.add(TrainingValidation{7, "held out", 1.9, {{1, 20, 1.98}, {2, 40, 1.8}}});
  history.add(TrainingValidation{9, "only N", std::numeric_limits<double>::quiet_NaN(), {}});
  const TrainingHistory again = TrainingHistory::from_json(nlohmann::json::parse(history.to_json().dump()));
  ASSERT_EQ(again.validations().size(), 2U);
  EXPECT_EQ(again.validations()[0].file, "held out");
  EXPECT_EQ(again.validations()[0].by_context[1].from, 2);
  EXPECT_EQ(again.validations()[0].by_context[1].bases, 40);
  EXPECT_EQ(again.validations()[0].by_context[1].bits, 1.8);
  EXPECT_TRUE(std::isnan(again.validations()[1].bits_per_base));
}

TEST(TrainingReport, HoldsTheHistoryAndReplacesOnlyWhenAsked) {
  const test::TempDir folder;
  TrainingHistory history;
  for (std::int64_t step = 1; step <= 4; ++step) history.add(step_of(step));
  ReportRun run;
  run.title = "<b>";
  write_training_report(folder.file("r.html"), /*force=*/false, run, {4, 10, 0.25}, history);
  const test::ReportData page(test::content_of(folder.file("r.html")));
  EXPECT_EQ(page.json("history"), history.to_json());
  EXPECT_EQ(page.json("totals")["all_steps"], 10);
  EXPECT_EQ(page.json("throughput")["seconds"].back(), 1.0);
  EXPECT_EQ(page.html().find("<title><b>"), std::string::npos);
  EXPECT_THROW(write_training_report(folder.file("r.html"), false, run, {}, history), base::IoError);
  write_training_report(folder.file("r.html"), true, run, {}, history);
}

}  // namespace
}  // namespace dnamamba::outputs
