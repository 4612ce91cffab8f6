#include "core/outputs/covariance.h"

#include <gtest/gtest.h>

#include <random>

namespace dnamamba::outputs {
namespace {

// Also around the number of rows that are taken together, and far from zero, where a sum of squares would lose digits.
TEST(CovarianceTest, IsThatOfTwoPasses) {
  constexpr std::int64_t kWidth = 5;
  for (const std::int64_t rows : {1, 2, 63, 64, 65, 300}) {
    std::mt19937 random(3);
    std::normal_distribution<float> normal;
    std::vector<float> values(rows * kWidth);
    for (std::size_t i = 0; i < values.size(); ++i)
      values[i] = 10'000.0F * static_cast<float>(i % kWidth) + normal(random);
    Covariance covariance(kWidth);
    for (std::int64_t row = 0; row < rows; ++row) covariance.add(std::span(values).subspan(row * kWidth, kWidth));
    EXPECT_EQ(covariance.rows(), rows);

    std::vector<double> mean(kWidth);
    for (std::size_t i = 0; i < values.size(); ++i) mean[i % kWidth] += values[i] / static_cast<double>(rows);
    const std::vector<double> matrix = covariance.matrix();
    for (std::int64_t i = 0; i < kWidth; ++i) {
      EXPECT_NEAR(covariance.mean()[i], mean[i], 1e-8);
      for (std::int64_t j = 0; j < kWidth; ++j) {
        double expected = 0;
        for (std::int64_t row = 0; row < rows; ++row)
          expected += (values[row * kWidth + i] - mean[i]) * (values[row * kWidth + j] - mean[j]);
        EXPECT_NEAR(matrix[i * kWidth + j], expected / static_cast<double>(rows), 1e-9) << i << ", " << j;
      }
    }
  }
}

TEST(CovarianceTest, OfNothingIsZero) {
  Covariance covariance(2);
  EXPECT_EQ(covariance.matrix(), std::vector<double>(4));
  EXPECT_EQ(covariance.mean(), std::vector<double>(2));
}

}  // namespace
}  // namespace dnamamba::outputs
