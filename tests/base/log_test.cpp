#include "core/base/log.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>

namespace dnamamba::base {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

std::string stderr_of(const std::function<void()>& work) {
  ::testing::internal::CaptureStderr();
  work();
  return ::testing::internal::GetCapturedStderr();
}

// The log's format is the process's and JSON is not taken back, so the text tests come first.
TEST(Log, ShowsTextOnStderrFromTheLevelUp) {
  const std::string text = stderr_of([] {
    configure_log(LogLevel::kWarning, LogFormat::kText);
    log_info("not shown");
    log_warning("careful");
    log_error("broken\nin two");
  });
  EXPECT_THAT(
      text, AllOf(HasSubstr("warning"), HasSubstr("careful"), HasSubstr("broken in two"), Not(HasSubstr("not shown"))));
}

TEST(Log, IsSilentWhenOff) {
  EXPECT_EQ(stderr_of([] {
              configure_log(LogLevel::kOff, LogFormat::kText);
              log_error("broken");
            }),
            "");
}

TEST(LogAsJson, IsOneObjectALineWhateverTheMessageHolds) {
  const std::string awkward = "quote \" backslash \\ tab \t bell \a percent %v {} end";
  const std::string text = stderr_of([&] {
    configure_log(LogLevel::kDebug, LogFormat::kJson);
    log_debug("begun");
    log_info(awkward);
    log_error("two\nlines");
  });
  std::istringstream lines(text);
  std::vector<nlohmann::json> objects;
  for (std::string line; std::getline(lines, line);) objects.push_back(nlohmann::json::parse(line));
  ASSERT_EQ(objects.size(), 3U);
  EXPECT_EQ(objects[0].at("level"), "debug");
  EXPECT_EQ(objects[1].at("message"), awkward);
  EXPECT_EQ(objects[1].at("level"), "info");
  EXPECT_EQ(objects[2].at("message"), "two lines");
  EXPECT_TRUE(objects[2].at("time").is_string());
  EXPECT_EQ(log_format(), LogFormat::kJson);
}

}  // namespace
}  // namespace dnamamba::base
