// What every operator must hold to, through the dispatcher, for values and for gradients.
#include <ATen/Parallel.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include "tests/ops/run_operator.h"
#include "tests/support/tensors.h"

namespace dnamamba::test {
namespace {

const std::vector<std::int64_t> kOffsets = {0, 9, 9, 10, 22, 24, 31};  // an empty one, one token, fewer than K - 1

void expect_same(const Result& one, const Result& other, double tolerance) {
  ASSERT_EQ(one.outputs.size(), other.outputs.size());
  for (std::size_t i = 0; i < one.outputs.size(); ++i)
    EXPECT_LE(relative_error(one.outputs[i], other.outputs[i]), tolerance) << "output " << i;
  ASSERT_EQ(one.gradients.size(), other.gradients.size());
  for (std::size_t i = 0; i < one.gradients.size(); ++i)
    EXPECT_LE(relative_error(one.gradients[i], other.gradients[i]), tolerance) << "gradient " << i;
}

// Some rows of all inputs, in the order of `rows`, with another state.
Inputs select(const Inputs& inputs, const std::vector<std::int64_t>& rows, const at::Tensor& state) {
  const at::Tensor index = int64_tensor(rows).to(tested_device());
  Inputs part = inputs;
  for (at::Tensor& tensor : part.rows) tensor = tensor.index_select(0, index);
  for (at::Tensor& tensor : part.fixed_rows) tensor = tensor.index_select(0, index);
  part.state = state;
  return part;
}

// Answers for rows in some order, back in the order of the rows.
std::vector<at::Tensor> gather(const std::vector<std::vector<at::Tensor>>& pieces,
                               const std::vector<std::int64_t>& rows) {
  std::vector<std::int64_t> place(rows.size());
  for (std::size_t i = 0; i < rows.size(); ++i) place[rows[i]] = static_cast<std::int64_t>(i);
  std::vector<at::Tensor> gathered;
  for (std::size_t output = 0; output < pieces.front().size(); ++output) {
    std::vector<at::Tensor> parts;
    for (const auto& piece : pieces) parts.push_back(piece[output]);
    gathered.push_back(at::cat(parts).index_select(0, int64_tensor(place).to(tested_device())));
  }
  return gathered;
}

// Every sequence in as many pieces, piece after piece in the order of reading, each with the state that the one before
// left.
Answer in_pieces(const Operator& op, const Inputs& inputs, std::int64_t pieces, std::uint64_t seed) {
  RandomTensors random(seed);
  const auto sequences = static_cast<std::int64_t>(op.offsets.size()) - 1;
  std::vector<std::vector<std::int64_t>> ends;
  for (std::int64_t s = 0; s < sequences; ++s) ends.push_back(random.cuts(op.offsets[s + 1] - op.offsets[s], pieces));
  std::vector<std::int64_t> order;
  std::vector<std::vector<at::Tensor>> answers;
  at::Tensor state = inputs.state;
  for (std::int64_t p = 0; p < pieces; ++p) {
    std::vector<std::int64_t> rows, offsets{0};
    for (std::int64_t s = 0; s < sequences; ++s) {
      const std::int64_t from = p == 0 ? 0 : ends[s][p - 1], to = ends[s][p];
      const std::int64_t first = op.reverse ? op.offsets[s + 1] - to : op.offsets[s] + from;
      for (std::int64_t i = 0; i < to - from; ++i) rows.push_back(first + i);
      offsets.push_back(static_cast<std::int64_t>(rows.size()));
    }
    const Answer answer = op.call(select(inputs, rows, state), int64_tensor(offsets));
    answers.push_back(answer.rows);
    state = answer.state;
    order.insert(order.end(), rows.begin(), rows.end());
  }
  return {gather(answers, order), state};
}

// Every sequence in a call of its own, without offsets.
Answer alone(const Operator& op, const Inputs& inputs) {
  std::vector<std::int64_t> order;
  std::vector<std::vector<at::Tensor>> answers;
  std::vector<at::Tensor> states;
  for (std::size_t s = 0; s + 1 < op.offsets.size(); ++s) {
    std::vector<std::int64_t> rows;
    for (std::int64_t row = op.offsets[s]; row < op.offsets[s + 1]; ++row) rows.push_back(row);
    const at::Tensor state =
        inputs.state.defined() ? inputs.state.narrow(0, static_cast<std::int64_t>(s), 1) : at::Tensor();
    const Answer answer = op.call(select(inputs, rows, state), {});
    answers.push_back(answer.rows);
    if (answer.state.defined()) states.push_back(answer.state);
    order.insert(order.end(), rows.begin(), rows.end());
  }
  return {gather(answers, order), states.empty() ? at::Tensor() : at::cat(states)};
}

// The same inputs with every sequence turned round, and the answers turned back.
Answer flipped(const Operator& op, const Inputs& inputs) {
  std::vector<std::int64_t> rows;
  for (std::size_t s = 0; s + 1 < op.offsets.size(); ++s)
    for (std::int64_t row = op.offsets[s + 1] - 1; row >= op.offsets[s]; --row) rows.push_back(row);
  const Answer answer = op.call(select(inputs, rows, inputs.state), int64_tensor(op.offsets));
  return {gather({answer.rows}, rows), answer.state};
}

// d loss / d value by central differences, for every value of one tensor.
at::Tensor finite_differences(const Operator& op, const Inputs& inputs, at::Tensor& tensor) {
  const at::NoGradGuard no_graph;
  constexpr double kStep = 1e-5;
  at::Tensor gradient = at::zeros(tensor.sizes(), at::kDouble);
  auto* values = tensor.mutable_data_ptr<double>();
  auto* slopes = gradient.mutable_data_ptr<double>();
  for (std::int64_t i = 0; i < tensor.numel(); ++i) {
    const double value = values[i];
    values[i] = value + kStep;
    const double above = loss_of(whole(op, inputs)).item<double>();
    values[i] = value - kStep;
    const double below = loss_of(whole(op, inputs)).item<double>();
    values[i] = value;
    slopes[i] = (above - below) / (2 * kStep);
  }
  return gradient;
}

TEST(EveryOperator, HasTheGradientsThatFiniteDifferencesHave) {
  if (tested_device().is_cuda()) GTEST_SKIP() << "no double on GPUs";
  const int before = at::get_num_threads();
  at::set_num_threads(1);  // thousands of tiny calls
  for (Operator& op : every_operator({.channels = 3, .offsets = {0, 5, 5, 6, 8}})) {
    SCOPED_TRACE(op.name);
    const Result result = run(op, whole);
    std::vector<at::Tensor> tensors = differentiable(op.inputs);
    for (std::size_t i = 0; i < tensors.size(); ++i)
      EXPECT_LE(relative_error(result.gradients[i], finite_differences(op, op.inputs, tensors[i])), 1e-8)
          << "input " << i;
  }
  at::set_num_threads(before);
}

class OperatorOfChannels : public ::testing::TestWithParam<std::tuple<std::int64_t, at::ScalarType>> {
 protected:
  std::vector<Operator> operators(std::uint64_t seed) const {
    return every_operator(
        {.channels = std::get<0>(GetParam()), .offsets = kOffsets, .dtype = std::get<1>(GetParam()), .seed = seed});
  }
  double allowed() const { return tolerance(std::get<1>(GetParam())); }
  void SetUp() override {
    if (tested_device().is_cuda() && std::get<1>(GetParam()) == at::kDouble) GTEST_SKIP() << "no double on GPUs";
  }
};

TEST_P(OperatorOfChannels, GivesTheSameWhereverSequencesAreCut) {
  for (const Operator& op : operators(2))
    for (const std::int64_t pieces : {2, 5}) {
      SCOPED_TRACE(op.name + ", pieces: " + std::to_string(pieces));
      const Way cut = [&](const Operator& o, const Inputs& in) { return in_pieces(o, in, pieces, 7 * pieces); };
      expect_same(run(op, cut), run(op, whole), allowed());
    }
}

TEST_P(OperatorOfChannels, GivesASequenceTheSameAloneAndTogether) {
  for (const Operator& op : operators(3)) {
    SCOPED_TRACE(op.name);
    expect_same(run(op, alone), run(op, whole), allowed());
  }
}

TEST_P(OperatorOfChannels, GivesTheSameBitsWithOneThreadAndWithThree) {
  const int before = at::get_num_threads();
  for (const Operator& op : operators(4)) {
    SCOPED_TRACE(op.name);
    at::set_num_threads(1);
    const Result one = run(op, whole);
    at::set_num_threads(3);
    const Result three = run(op, whole);
    for (std::size_t i = 0; i < one.outputs.size(); ++i) EXPECT_TRUE(at::equal(one.outputs[i], three.outputs[i]));
    for (std::size_t i = 0; i < one.gradients.size(); ++i)
      EXPECT_TRUE(at::equal(one.gradients[i], three.gradients[i])) << "gradient " << i;
  }
  at::set_num_threads(before);
}

INSTANTIATE_TEST_SUITE_P(Widths, OperatorOfChannels,
                         ::testing::Combine(::testing::Values(1, 30, 118, 236, 512),
                                            ::testing::Values(at::kDouble, at::kFloat)),
                         [](const auto& tested) {
                           return (std::get<1>(tested.param) == at::kDouble ? "Double" : "Float") +
                                  std::to_string(std::get<0>(tested.param));
                         });

TEST(EveryOperator, GivesTheSameWhereverThousandsOfTokensAreCut) {
  for (const at::ScalarType dtype : {at::kFloat, at::kDouble}) {
    if (tested_device().is_cuda() && dtype == at::kDouble) continue;
    for (const Operator& op : every_operator({.channels = 5, .offsets = {0, 2500, 2500, 2501, 3300}, .dtype = dtype})) {
      SCOPED_TRACE(op.name);
      const Way cut = [&](const Operator& o, const Inputs& in) { return in_pieces(o, in, 7, 5); };
      const Result expected = run(op, whole);
      expect_same(run(op, cut), expected, tolerance(dtype));
      expect_same(run(op, alone), expected, tolerance(dtype));
    }
  }
}

TEST(EveryOperator, TakesABatchWithoutTokensAndOneWithoutSequences) {
  for (const std::vector<std::int64_t>& offsets : {std::vector<std::int64_t>{0, 0, 0}, std::vector<std::int64_t>{0}})
    for (const Operator& op : every_operator({.channels = 3, .offsets = offsets, .dtype = at::kFloat})) {
      SCOPED_TRACE(op.name);
      const Result result = run(op, whole);
      EXPECT_EQ(result.outputs[0].size(0), 0);
      for (const at::Tensor& gradient : result.gradients) EXPECT_TRUE(gradient.isfinite().all().item<bool>());
      if (op.inputs.state.defined()) {
        EXPECT_TRUE(at::equal(result.outputs.back(), op.inputs.state));
      }
    }
}

TEST(ReverseOperators, EqualTheForwardOnesOnSequencesTurnedRound) {
  if (tested_device().is_cuda()) GTEST_SKIP() << "by every property of reverse operators";
  for (const std::int64_t channels : {3, 30, 118}) {
    const Setting setting{.channels = channels, .offsets = kOffsets};
    for (const bool full : {true, false}) {
      expect_same(run(selective_scan(setting, full, true), whole), run(selective_scan(setting, full, false), flipped),
                  1e-10);
      expect_same(run(ssd(setting, full, true), whole), run(ssd(setting, full, false), flipped), 1e-10);
      expect_same(run(causal_conv1d(setting, 4, full, true), whole),
                  run(causal_conv1d(setting, 4, full, false), flipped), 1e-10);
    }
  }
}

}  // namespace
}  // namespace dnamamba::test
