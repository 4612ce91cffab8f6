#include "core/tokens/windows.h"

#include <gtest/gtest.h>

#include <random>
#include <stdexcept>
#include <vector>

namespace dnamamba::tokens {
namespace {

// The definition, word for word.
std::vector<Range> windows_by_definition(std::int64_t length, std::int64_t window, std::int64_t stride) {
  std::vector<Range> windows;
  for (std::int64_t start = 0; start < length; start += stride) {
    windows.push_back({start, std::min(start + window, length)});
    if (start + window >= length) break;
  }
  return windows;
}

Range touching_by_definition(const std::vector<Range>& windows, Range positions) {
  Range touched{-1, -1};
  for (std::int64_t i = 0; i < static_cast<std::int64_t>(windows.size()); ++i) {
    const bool shares = std::max(windows[i].first, positions.first) < std::min(windows[i].last, positions.last);
    if (!shares) continue;
    if (touched.first < 0) touched.first = i;
    touched.last = i + 1;
  }
  return touched.first < 0 ? Range{} : touched;
}

std::vector<Range> all_windows(const WindowPlan& plan) {
  std::vector<Range> windows;
  for (std::int64_t i = 0; i < plan.count(); ++i) windows.push_back(plan.window(i));
  return windows;
}

TEST(WindowPlan, HasTheWindowsOfTheDefinitionForEverySmallSize) {
  for (std::int64_t length = 0; length <= 24; ++length)
    for (std::int64_t window = 1; window <= 12; ++window)
      for (std::int64_t stride = 1; stride <= 12; ++stride)
        ASSERT_EQ(all_windows(WindowPlan(length, window, stride)), windows_by_definition(length, window, stride))
            << "length " << length << ", window " << window << ", stride " << stride;
}

TEST(WindowPlan, FindsTheWindowsThatAnyRangeTouches) {
  for (std::int64_t length = 0; length <= 12; ++length)
    for (std::int64_t window = 1; window <= 6; ++window)
      for (std::int64_t stride = 1; stride <= 6; ++stride) {
        const WindowPlan plan(length, window, stride);
        const std::vector<Range> windows = all_windows(plan);
        for (std::int64_t first = -2; first <= length + 2; ++first)
          for (std::int64_t last = first; last <= length + 3; ++last)
            ASSERT_EQ(plan.touching({first, last}), touching_by_definition(windows, {first, last}))
                << "length " << length << ", window " << window << ", stride " << stride << ", [" << first << ", "
                << last << ")";
      }
}

TEST(WindowPlan, AgreesWithTheDefinitionForRandomSizes) {
  std::mt19937_64 generator(11);
  const auto up_to = [&](std::int64_t most) { return 1 + static_cast<std::int64_t>(generator() % most); };
  for (int round = 0; round < 500; ++round) {
    const std::int64_t length = up_to(20'000), window = up_to(3'000), stride = up_to(3'000);
    const WindowPlan plan(length, window, stride);
    const std::vector<Range> windows = windows_by_definition(length, window, stride);
    ASSERT_EQ(all_windows(plan), windows) << length << " " << window << " " << stride;
    const std::int64_t first = up_to(length) - 1;
    const Range positions{first, first + up_to(4'000)};
    ASSERT_EQ(plan.touching(positions), touching_by_definition(windows, positions))
        << length << " " << window << " " << stride;
  }
}

TEST(WindowPlan, OfARecordWhoseLengthIsNotKnownYetHasTheSameWindowsButForTheCut) {
  for (std::int64_t length = 1; length <= 40; ++length)
    for (const std::int64_t stride : {1, 3, 7, 9}) {
      const WindowPlan known(length, 7, stride), endless(WindowPlan::kEndless, 7, stride);
      for (std::int64_t i = 0; i < known.count(); ++i) {
        EXPECT_EQ(known.window(i).first, endless.window(i).first);
        EXPECT_EQ(known.window(i).last, std::min(endless.window(i).last, length));
      }
    }
}

TEST(WindowPlan, DoesNotOverflowAtTheLongestRecord) {
  constexpr std::int64_t kMost = WindowPlan::kEndless;
  const WindowPlan single(kMost, 1, 1);
  EXPECT_EQ(single.count(), kMost);
  EXPECT_EQ(single.window(kMost - 1), (Range{kMost - 1, kMost}));
  EXPECT_EQ(single.touching({kMost - 5, INT64_MAX}), (Range{kMost - 5, kMost}));
  const WindowPlan overlapping(kMost, kMost - 1, 1);
  EXPECT_EQ(overlapping.count(), 2);
  EXPECT_EQ(overlapping.window(1), (Range{1, kMost}));
  const WindowPlan wide(kMost, INT64_MAX, INT64_MAX);
  EXPECT_EQ(wide.count(), 1);
  EXPECT_EQ(wide.window(0), (Range{0, kMost}));
  EXPECT_EQ(wide.touching({INT64_MIN, INT64_MAX}), (Range{0, 1}));
}

TEST(WindowPlan, WholeIsOneWindowOverEverythingAndNoneOverNothing) {
  EXPECT_EQ(all_windows(WindowPlan::whole(17)), (std::vector<Range>{{0, 17}}));
  EXPECT_EQ(WindowPlan::whole(0).count(), 0);
  EXPECT_EQ(WindowPlan::whole(WindowPlan::kEndless).count(), 1);
}

TEST(WindowPlan, StandardCutsRecordsOverTenKilobasesIntoKilobases) {
  EXPECT_EQ(WindowPlan::standard(0).count(), 0);
  EXPECT_EQ(WindowPlan::standard(10'000).count(), 1);
  const WindowPlan cut = WindowPlan::standard(10'001);
  EXPECT_EQ(cut.count(), 11);
  EXPECT_EQ(cut.window(9), (Range{9'000, 10'000}));
  EXPECT_EQ(cut.window(10), (Range{10'000, 10'001}));
}

TEST(WindowPlan, RefusesSizesThatMakeNoSense) {
  EXPECT_THROW(WindowPlan(-1, 1, 1), std::invalid_argument);
  EXPECT_THROW(WindowPlan(1, 0, 1), std::invalid_argument);
  EXPECT_THROW(WindowPlan(1, 1, 0), std::invalid_argument);
  EXPECT_THROW(WindowPlan(INT64_MAX, 1, 1), std::invalid_argument);
}

}  // namespace
}  // namespace dnamamba::tokens
