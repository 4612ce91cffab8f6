// Comparing tensors and making them: what the numerical tests share.
#pragma once
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <random>
#include <vector>

namespace dnamamba::test {

/// Passes if |actual - expected| <= tolerance * |expected|, Euclidean norms of the whole tensors, and nothing that is
/// expected to be finite is not. Says which element is worst.
template <typename Actual, typename Expected>
::testing::AssertionResult close_in_norm(const std::vector<Actual>& actual, const std::vector<Expected>& expected,
                                         double tolerance) {
  if (actual.size() != expected.size()) {
    return ::testing::AssertionFailure() << actual.size() << " elements, " << expected.size() << " expected";
  }
  double difference = 0, size = 0, worst = -1;
  std::size_t worst_at = 0;
  for (std::size_t i = 0; i < actual.size(); ++i) {
    const double error = std::abs(static_cast<double>(actual[i]) - static_cast<double>(expected[i]));
    if (!std::isfinite(error)) {
      return ::testing::AssertionFailure() << "element " << i << " is " << actual[i] << ", expected " << expected[i];
    }
    difference += error * error;
    size += static_cast<double>(expected[i]) * static_cast<double>(expected[i]);
    if (error > worst) worst = error, worst_at = i;
  }
  const double limit = tolerance * std::sqrt(size);
  if (std::sqrt(difference) <= limit) return ::testing::AssertionSuccess();
  return ::testing::AssertionFailure() << "norm of the difference " << std::sqrt(difference) << " is above " << limit
                                       << "; worst is element " << worst_at << " of " << actual.size() << ": "
                                       << actual[worst_at] << ", expected " << expected[worst_at];
}

template <typename T>
::testing::AssertionResult same_bits(const std::vector<T>& actual, const std::vector<T>& expected) {
  if (actual.size() != expected.size()) {
    return ::testing::AssertionFailure() << actual.size() << " elements, " << expected.size() << " expected";
  }
  for (std::size_t i = 0; i < actual.size(); ++i) {
    if (std::memcmp(&actual[i], &expected[i], sizeof(T)) != 0) {
      return ::testing::AssertionFailure() << "element " << i << " of " << actual.size() << " is " << actual[i]
                                           << ", expected exactly " << expected[i];
    }
  }
  return ::testing::AssertionSuccess();
}

/// Random tensors; the same ones in every run.
class Random {
 public:
  explicit Random(std::uint64_t seed) : generator_(seed) {}

  template <typename T>
  std::vector<T> normal(std::int64_t count, double mean = 0, double deviation = 1) {
    std::normal_distribution<double> distribution(mean, deviation);
    std::vector<T> values(static_cast<std::size_t>(count));
    for (T& value : values) value = static_cast<T>(distribution(generator_));
    return values;
  }
  /// A whole number in [first, last].
  std::int64_t whole(std::int64_t first, std::int64_t last) {
    return std::uniform_int_distribution<std::int64_t>(first, last)(generator_);
  }
  std::vector<std::uint8_t> bytes(std::int64_t count, std::int64_t below) {
    std::vector<std::uint8_t> values(static_cast<std::size_t>(count));
    for (auto& value : values) value = static_cast<std::uint8_t>(whole(0, below - 1));
    return values;
  }
  /// Offsets of sequences of the lengths given, mixed.
  std::vector<std::int64_t> offsets(std::vector<std::int64_t> lengths) {
    std::shuffle(lengths.begin(), lengths.end(), generator_);
    std::vector<std::int64_t> result{0};
    for (const std::int64_t length : lengths) result.push_back(result.back() + length);
    return result;
  }

 private:
  std::mt19937_64 generator_;
};

}  // namespace dnamamba::test
