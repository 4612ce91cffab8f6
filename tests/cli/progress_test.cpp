#include "apps/progress.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <sstream>

namespace dnamamba::apps {
namespace {

using namespace std::chrono_literals;
using ::testing::HasSubstr;
using ::testing::Not;

// A clock that goes when it is told to.
struct Stage {
  std::ostringstream out;
  std::chrono::steady_clock::time_point now{};

  ProgressSettings settings(ProgressSettings::Style style, std::chrono::milliseconds interval) {
    ProgressSettings settings;
    settings.style = style;
    settings.out = &out;
    settings.interval = interval;
    settings.now = [this] { return now; };
    return settings;
  }
};

TEST(Progress, WritesALineAnIntervalWithRateShareAndTimeLeft) {
  Stage stage;
  Progress progress("embed", "bases", 4'000'000, stage.settings(ProgressSettings::Style::kLines, 1min));
  for (int second = 1; second <= 100; ++second) {
    stage.now += 1s;
    progress.update(10'000 * second);
  }
  EXPECT_EQ(stage.out.str(), "embed: 600 k bases, 10.0 k bases/s, 15 %, 5 min 40 s left\n");
  progress.finish();
  EXPECT_THAT(stage.out.str(), HasSubstr("embed: 1.00 M bases in 1 min 40 s, 10.0 k bases/s\n"));
}

TEST(Progress, TakesAFractionWhereTheTotalIsNotKnown) {
  Stage stage;
  Progress progress("embed", "bases", std::nullopt, stage.settings(ProgressSettings::Style::kLines, 1s));
  stage.now += 10s;
  progress.update(500);
  EXPECT_EQ(stage.out.str(), "embed: 500 bases, 50 bases/s\n");
  stage.now += 10s;
  progress.update(1'000, 0.25);
  EXPECT_THAT(stage.out.str(), HasSubstr("25 %, 1 min 0 s left"));
}

TEST(Progress, EndsItsLinesWithTheNote) {
  Stage stage;
  Progress progress("pretrain", "tokens", std::nullopt, stage.settings(ProgressSettings::Style::kLines, 1s));
  progress.note("1.93 bits per base");
  stage.now += 10s;
  progress.update(500);
  EXPECT_EQ(stage.out.str(), "pretrain: 500 tokens, 50 tokens/s, 1.93 bits per base\n");
}

TEST(Progress, RedrawsOneLineThatFitsTheTerminal) {
  Stage stage;
  ProgressSettings settings = stage.settings(ProgressSettings::Style::kRedrawn, 200ms);
  settings.columns = 30;
  Progress progress("a label that is rather long", "bases", 100, settings);
  for (int i = 0; i < 10; ++i) {
    stage.now += 100ms;
    progress.update(i);
  }
  const std::string text = stage.out.str();
  EXPECT_EQ(std::count(text.begin(), text.end(), '\r'), 5);
  EXPECT_THAT(text, Not(HasSubstr("\n")));
  EXPECT_LE(text.substr(text.rfind('K') + 1).size(), 29U);
  progress.finish();
  EXPECT_EQ(stage.out.str().back(), '\n');
}

TEST(Progress, TakesBackItsLineWhenTheWorkFails) {
  Stage stage;
  {
    Progress progress("embed", "bases", 100, stage.settings(ProgressSettings::Style::kRedrawn, 1ms));
    stage.now += 1s;
    progress.update(1);
  }
  EXPECT_TRUE(stage.out.str().ends_with("\r\033[K"));
}

TEST(Progress, IsJsonWhereTheLogIs) {
  Stage stage;
  Progress progress("embed", "bases", 200, stage.settings(ProgressSettings::Style::kJson, 1s));
  stage.now += 4s;
  progress.update(100);
  progress.finish();
  std::istringstream lines(stage.out.str());
  std::string first, last;
  std::getline(lines, first);
  std::getline(lines, last);
  const auto running = nlohmann::json::parse(first), finished = nlohmann::json::parse(last);
  EXPECT_EQ(running.at("progress"), "embed");
  EXPECT_EQ(running.at("done"), 100);
  EXPECT_EQ(running.at("per_second"), 25.0);
  EXPECT_EQ(running.at("fraction"), 0.5);
  EXPECT_EQ(running.at("seconds_left"), 4.0);
  EXPECT_EQ(running.at("finished"), false);
  EXPECT_EQ(finished.at("finished"), true);
}

TEST(Progress, IsSilentWhenItIsToldToBe) {
  Progress progress("embed", "bases", 10, ProgressSettings{});
  progress.update(5);
  progress.finish();
}

TEST(Quantity, HasThreeDigits) {
  EXPECT_EQ(quantity(0, "bases"), "0 bases");
  EXPECT_EQ(quantity(0.25, "steps"), "0.2 steps");
  EXPECT_EQ(quantity(999, "bases"), "999 bases");
  EXPECT_EQ(quantity(1'000, "bases"), "1.00 k bases");
  EXPECT_EQ(quantity(999'999, "bases"), "1.00 M bases");
  EXPECT_EQ(quantity(63.4e6, "bases"), "63.4 M bases");
  EXPECT_EQ(quantity(250e9, "bases"), "250 G bases");
}

TEST(Duration, IsInTheTwoUnitsThatMatter) {
  EXPECT_EQ(duration(0.04), "0.0 s");
  EXPECT_EQ(duration(9.2), "9.2 s");
  EXPECT_EQ(duration(59.4), "59 s");
  EXPECT_EQ(duration(59.6), "1 min 0 s");
  EXPECT_EQ(duration(11'100), "3 h 5 min");
}

}  // namespace
}  // namespace dnamamba::apps
