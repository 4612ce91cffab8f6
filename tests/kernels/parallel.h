// ParallelFors that differ in everything they may differ in, and tensors by name, so that results can be compared as a
// whole.
#pragma once
#include <gtest/gtest.h>

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <thread>
#include <vector>

#include "hwy/aligned_allocator.h"
#include "kernels/parallel.h"
#include "tests/support/compare.h"

namespace dnamamba::test {

/// One item at a time, the last first.
inline void one_by_one_reversed(std::int64_t count, const std::function<void(std::int64_t, std::int64_t)>& body) {
  for (std::int64_t i = count - 1; i >= 0; --i) body(i, i + 1);
}

/// Three threads, with ranges of different lengths.
inline void three_threads(std::int64_t count, const std::function<void(std::int64_t, std::int64_t)>& body) {
  const std::int64_t cuts[] = {0, count / 5, count / 2, count};
  std::vector<std::thread> threads;
  for (int i = 0; i < 3; ++i) {
    if (cuts[i] < cuts[i + 1]) threads.emplace_back([&body, &cuts, i] { body(cuts[i], cuts[i + 1]); });
  }
  for (std::thread& thread : threads) thread.join();
}

/// 64-byte aligned, and full of what must not show.
class Garbage {
 public:
  explicit Garbage(std::int64_t bytes)
      : memory_(hwy::AllocateAligned<unsigned char>(static_cast<std::size_t>(bytes) + 1)) {
    std::fill_n(memory_.get(), bytes, static_cast<unsigned char>(0xff));  // all ones are NaN
  }
  void* get() { return memory_.get(); }

 private:
  hwy::AlignedFreeUniquePtr<unsigned char[]> memory_;
};

template <typename T>
using Tensors = std::map<std::string, std::vector<T>>;

template <typename Actual, typename Expected>
void expect_close(const Tensors<Actual>& actual, const Tensors<Expected>& expected, double tolerance) {
  ASSERT_EQ(actual.size(), expected.size());
  for (const auto& [name, values] : expected) EXPECT_TRUE(close_in_norm(actual.at(name), values, tolerance)) << name;
}

template <typename T>
void expect_same_bits(const Tensors<T>& actual, const Tensors<T>& expected) {
  ASSERT_EQ(actual.size(), expected.size());
  for (const auto& [name, values] : expected) EXPECT_TRUE(same_bits(actual.at(name), values)) << name;
}

template <typename T>
double dot(const std::vector<T>& a, const std::vector<T>& b) {
  double sum = 0;
  for (std::size_t i = 0; i < a.size(); ++i) sum += static_cast<double>(a[i]) * static_cast<double>(b[i]);
  return sum;
}

/// Compares `gradient` of `loss` with respect to `input` with central differences, the worst element against the
/// largest one.
inline void expect_gradient(std::vector<double>& input, const std::vector<double>& gradient,
                            const std::function<double()>& loss, const std::string& name) {
  ASSERT_EQ(input.size(), gradient.size()) << name;
  double largest = 1e-3;
  for (const double g : gradient) largest = std::max(largest, std::abs(g));
  for (std::size_t i = 0; i < input.size(); ++i) {
    const double step = 1e-5 * std::max(1.0, std::abs(input[i]));
    const double kept = input[i];
    input[i] = kept + step;
    const double above = loss();
    input[i] = kept - step;
    const double below = loss();
    input[i] = kept;
    EXPECT_NEAR(gradient[i], (above - below) / (2 * step), 1e-6 * largest) << name << "[" << i << "]";
  }
}

/// A null pointer for an empty vector.
template <typename T>
T* pointer_or_null(std::vector<T>& values) {
  return values.empty() ? nullptr : values.data();
}
template <typename T>
const T* pointer_or_null(const std::vector<T>& values) {
  return values.empty() ? nullptr : values.data();
}

/// Rows [first, last) of a matrix with rows of `width`.
template <typename T>
std::vector<T> rows_of(const std::vector<T>& matrix, std::int64_t first, std::int64_t last, std::int64_t width) {
  if (matrix.empty()) return {};
  return std::vector<T>(matrix.begin() + first * width, matrix.begin() + last * width);
}

}  // namespace dnamamba::test
