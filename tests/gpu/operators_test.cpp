// Operators on a GPU against the CPU's in double.
#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/equal.h>
#include <gtest/gtest.h>

#include "tests/ops/run_operator.h"

namespace dnamamba::test {
namespace {

const at::Device kGpu(at::kCUDA, 0);

// Rounding of the outputs in bfloat16 makes 1.7e-3 of a norm; where one channel is all there is, sums nearly cancel.
double allowed(at::ScalarType dtype, std::int64_t channels) {
  return dtype == at::kFloat ? 1e-5 : channels > 1 ? 6e-3 : 5e-2;
}

void expect_reference(const Setting& setting, at::ScalarType dtype) {
  for (const Operator& op : operators_of_gpus(setting)) {
    SCOPED_TRACE(op.name + ", channels " + std::to_string(setting.channels) + ", " + c10::toString(dtype));
    const Result expected = run(placed(op, at::kCPU, at::kDouble, dtype), whole);
    const Operator there = placed(op, kGpu, dtype, dtype);
    const Result actual = run(there, whole), again = run(there, whole);
    for (std::size_t i = 0; i < expected.outputs.size(); ++i) {
      EXPECT_LE(relative_error(actual.outputs[i].cpu(), expected.outputs[i]), allowed(dtype, setting.channels))
          << "output " << i;
      EXPECT_TRUE(at::equal(actual.outputs[i], again.outputs[i])) << "output " << i << " differs from run to run";
    }
    for (std::size_t i = 0; i < expected.gradients.size(); ++i) {
      EXPECT_LE(relative_error(actual.gradients[i].cpu(), expected.gradients[i]), allowed(dtype, setting.channels))
          << "gradient " << i;
      EXPECT_TRUE(at::equal(actual.gradients[i], again.gradients[i])) << "gradient " << i << " differs from run to run";
    }
  }
}

class OnGpu : public ::testing::TestWithParam<at::ScalarType> {};

TEST_P(OnGpu, EveryOperatorEqualsTheDoubleReference) {
  for (const std::int64_t channels : {1, 30, 96, 118, 236, 256, 512})
    expect_reference({.channels = channels, .offsets = {0, 9, 9, 10, 522, 700, 1000}}, GetParam());
}

TEST_P(OnGpu, EveryOperatorEqualsTheDoubleReferenceAtLengthsBesidePowersOfTwo) {
  for (const std::int64_t length : {1, 31, 33, 255, 257, 4097})
    expect_reference({.channels = 118, .offsets = {0, length}, .seed = 7}, GetParam());
  expect_reference({.channels = 6, .offsets = {0, (1 << 20) + 1}, .seed = 8}, GetParam());
}

// Rows that begin at any value: what lies behind a view.
TEST_P(OnGpu, TakesTensorsThatAreNotAlignedForPairs) {
  for (Operator op : operators_of_gpus({.channels = 30, .offsets = {0, 70}, .seed = 4})) {
    SCOPED_TRACE(op.name);
    op = placed(op, kGpu, GetParam(), GetParam());
    const Result expected = run(op, whole);
    for (at::Tensor& rows : op.inputs.rows) {
      const at::Tensor room = at::empty({rows.numel() + 1}, rows.options());
      const at::Tensor moved = room.narrow(0, 1, rows.numel()).view(rows.sizes());
      moved.copy_(rows);
      rows = moved;
    }
    const at::NoGradGuard no_graph;
    const Answer actual = whole(op, op.inputs);
    for (std::size_t i = 0; i < actual.rows.size(); ++i)
      EXPECT_LE(relative_error(actual.rows[i], expected.outputs[i]), 1e-5);
  }
}

// What `./do test-gpu sanitizer` has time for.
TEST_P(OnGpu, EveryOperatorIsCleanOnRaggedSequences) {
  expect_reference({.channels = 118, .offsets = {0, 9, 9, 10, 300}, .seed = 9}, GetParam());
  expect_reference({.channels = 59, .offsets = {0, 70}, .seed = 9}, GetParam());
}

INSTANTIATE_TEST_SUITE_P(Types, OnGpu, ::testing::Values(at::kFloat, at::kBFloat16),
                         [](const auto& tested) { return c10::toString(tested.param); });

}  // namespace
}  // namespace dnamamba::test
