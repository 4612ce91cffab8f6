// Comparing the gradients of whole models.
#pragma once
#include <ATen/core/Tensor.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <string>

namespace dnamamba::test {

using Gradients = std::map<std::string, at::Tensor>;

/// Fails for each gradient that is further than `tolerance` from what is expected, measured by its own norm. In fp32, a
/// hundredth of the norm of all may be the measure: where a block normalises a scale away, as Mamba-2's does with a
/// head's D, the gradient is what is left of terms that cancel.
inline void expect_same_gradients(const Gradients& actual, const Gradients& expected, double tolerance) {
  ASSERT_EQ(actual.size(), expected.size());
  double squares = 0;
  for (const auto& [name, gradient] : expected) {
    ASSERT_TRUE(gradient.defined() && actual.at(name).defined()) << name;
    squares += std::pow(gradient.norm().item<double>(), 2);
  }
  for (const auto& [name, gradient] : expected) {
    ASSERT_EQ(actual.at(name).sizes(), gradient.sizes()) << name;
    const double floor = gradient.scalar_type() == at::kFloat ? std::sqrt(squares) / 100 : 0;
    const double size = std::max(gradient.norm().item<double>(), floor);
    EXPECT_LE(actual.at(name).sub(gradient).norm().item<double>(), tolerance * size) << "gradient of " << name;
  }
}

}  // namespace dnamamba::test
