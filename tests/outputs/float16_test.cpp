#include "core/outputs/float16.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <limits>

namespace dnamamba::outputs {
namespace {

TEST(Float16, GivesTheKnownHalves) {
  EXPECT_EQ(half_of(0.0f), 0x0000);
  EXPECT_EQ(half_of(-0.0f), 0x8000);
  EXPECT_EQ(half_of(1.0f), 0x3c00);
  EXPECT_EQ(half_of(-2.0f), 0xc000);
  EXPECT_EQ(half_of(65504.0f), 0x7bff);
  EXPECT_EQ(half_of(0x1p-14f), 0x0400);
  EXPECT_EQ(half_of(0x1p-24f), 0x0001);
  EXPECT_EQ(half_of(std::numeric_limits<float>::infinity()), 0x7c00);
  EXPECT_TRUE(std::isnan(float_of_half(half_of(std::numeric_limits<float>::quiet_NaN()))));
}

TEST(Float16, OverflowsFromTheTieOn) {
  EXPECT_EQ(half_of(std::nextafter(65520.0f, 0.0f)), 0x7bff);
  EXPECT_TRUE(is_infinite_half(half_of(65520.0f)));
  EXPECT_TRUE(is_infinite_half(half_of(-1e30f)));
}

TEST(Float16, EveryHalfIsItself) {
  for (std::uint32_t bits = 0; bits < 0x10000; ++bits) {
    const auto half = static_cast<std::uint16_t>(bits);
    if (std::isnan(float_of_half(half))) continue;
    ASSERT_EQ(half_of(float_of_half(half)), half);
  }
}

TEST(Float16, BetweenTwoHalvesTheNearerIsTakenAndTiesGoToEven) {
  for (std::uint16_t half = 0; half < 0x7bff; ++half) {
    const float below = float_of_half(half);
    const float above = float_of_half(static_cast<std::uint16_t>(half + 1));
    const float middle = below + (above - below) / 2;  // exact: a half has 13 bits less than a float
    ASSERT_EQ(half_of(std::nextafter(middle, below)), half);
    ASSERT_EQ(half_of(std::nextafter(middle, above)), half + 1);
    ASSERT_EQ(half_of(middle), half % 2 == 0 ? half : half + 1);
    ASSERT_EQ(half_of(-middle), 0x8000 | half_of(middle));
  }
}

}  // namespace
}  // namespace dnamamba::outputs
