// What operators refuse, and what they answer about shapes alone.
#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/full_like.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/zeros.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include "core/ops/add_rms_norm.h"
#include "core/ops/causal_conv1d.h"
#include "core/ops/embed_tokens.h"
#include "core/ops/gated_rms_norm.h"
#include "core/ops/selective_scan.h"
#include "core/ops/ssd.h"
#include "core/ops/token_loss.h"
#include "tests/ops/operators.h"
#include "tests/support/tensors.h"
#include "tests/support/throws.h"

namespace dnamamba::test {
namespace {

using ::testing::HasSubstr;

constexpr std::int64_t kTokens = 6, kChannels = 4, kStates = 3;

ops::SelectiveScan good_scan() {
  return {.x = at::zeros({kTokens, kChannels}),
          .delta = at::zeros({kTokens, kChannels}),
          .A = at::zeros({kChannels, kStates}),
          .B = at::zeros({kTokens, kStates}),
          .C = at::zeros({kTokens, kStates}),
          .D = at::zeros({kChannels}),
          .z = at::zeros({kTokens, kChannels}),
          .delta_bias = at::zeros({kChannels}),
          .offsets = int64_tensor({0, 2, kTokens}),
          .initial_state = at::zeros({2, kChannels, kStates})};
}

ops::Ssd good_ssd() {
  return {.x = at::zeros({kTokens, kChannels, 5}),
          .dt = at::zeros({kTokens, kChannels}),
          .A = at::zeros({kChannels}),
          .B = at::zeros({kTokens, 2, kStates}),
          .C = at::zeros({kTokens, 2, kStates}),
          .D = at::zeros({kChannels}),
          .dt_bias = at::zeros({kChannels}),
          .offsets = int64_tensor({0, 2, kTokens}),
          .initial_state = at::zeros({2, kChannels, 5, kStates})};
}

ops::CausalConv1d good_conv() {
  return {.x = at::zeros({kTokens, kChannels}),
          .weight = at::zeros({kChannels, 4}),
          .bias = at::zeros({kChannels}),
          .offsets = int64_tensor({0, 2, kTokens}),
          .initial_state = at::zeros({2, 3, kChannels})};
}

ops::AddRmsNorm good_norm() {
  return {.x = at::zeros({kTokens, kChannels}),
          .residual = at::zeros({kTokens, kChannels}),
          .weight = at::zeros({kChannels}),
          .bias = at::zeros({kChannels})};
}

ops::GatedRmsNorm good_gated_norm() {
  return {.x = at::zeros({kTokens, kChannels}), .z = at::zeros({kTokens, kChannels}), .weight = at::zeros({kChannels})};
}

ops::TokenLoss good_loss() {
  return {.hidden = at::zeros({kTokens, kChannels}),
          .weight = at::zeros({7, kChannels}),
          .targets = at::zeros({kTokens}, at::kByte),
          .token_weights = at::ones({kTokens})};
}

// The message that a call gives after one field of it was changed.
template <typename Call, typename Change>
std::string refusal(Call call, void (*operation)(const Call&), Change change) {
  EXPECT_NO_THROW(operation(call));
  change(call);
  return error_text<c10::Error>([&] { operation(call); });
}

template <typename Change>
std::string scan_refusal(Change change) {
  return refusal(
      good_scan(), +[](const ops::SelectiveScan& call) { ops::selective_scan(call); }, change);
}
template <typename Change>
std::string ssd_refusal(Change change) {
  return refusal(
      good_ssd(), +[](const ops::Ssd& call) { ops::ssd(call); }, change);
}
template <typename Change>
std::string gated_norm_refusal(Change change) {
  return refusal(
      good_gated_norm(), +[](const ops::GatedRmsNorm& call) { ops::gated_rms_norm(call); }, change);
}
template <typename Change>
std::string conv_refusal(Change change) {
  return refusal(
      good_conv(), +[](const ops::CausalConv1d& call) { ops::causal_conv1d(call); }, change);
}
template <typename Change>
std::string norm_refusal(Change change) {
  return refusal(
      good_norm(), +[](const ops::AddRmsNorm& call) { ops::add_rms_norm(call); }, change);
}
template <typename Change>
std::string loss_refusal(Change change) {
  return refusal(
      good_loss(), +[](const ops::TokenLoss& call) { ops::token_loss(call); }, change);
}

TEST(SelectiveScan, RefusesEveryTensorOfAnotherShapeOrTypeByName) {
  const at::Tensor wrong = at::zeros({5, 5}), doubles = at::zeros({kTokens, kChannels}, at::kDouble);
  using Scan = ops::SelectiveScan;
  EXPECT_THAT(scan_refusal([&](Scan& c) { c.x = at::zeros({kTokens}); }), HasSubstr("x must be [tokens, channels]"));
  EXPECT_THAT(scan_refusal([&](Scan& c) { c.delta = wrong; }), HasSubstr("delta has shape"));
  EXPECT_THAT(scan_refusal([&](Scan& c) { c.delta = doubles; }), HasSubstr("delta is Double"));
  EXPECT_THAT(scan_refusal([&](Scan& c) { c.A = wrong; }), HasSubstr("A has shape"));
  EXPECT_THAT(scan_refusal([&](Scan& c) { c.A = at::zeros({kChannels}); }), HasSubstr("A must be"));
  EXPECT_THAT(scan_refusal([&](Scan& c) { c.B = wrong; }), HasSubstr("B has shape"));
  EXPECT_THAT(scan_refusal([&](Scan& c) { c.C = wrong; }), HasSubstr("C has shape"));
  EXPECT_THAT(scan_refusal([&](Scan& c) { c.D = wrong; }), HasSubstr("D has shape"));
  EXPECT_THAT(scan_refusal([&](Scan& c) { c.z = wrong; }), HasSubstr("z has shape"));
  EXPECT_THAT(scan_refusal([&](Scan& c) { c.delta_bias = wrong; }), HasSubstr("delta_bias has shape"));
  EXPECT_THAT(scan_refusal([&](Scan& c) {
                c.initial_state = at::zeros({3, kChannels, kStates});
              }),
              HasSubstr("initial_state has shape"));
  EXPECT_THAT(scan_refusal([&](Scan& c) { c.x = at::zeros({kTokens, kChannels}, at::kHalf); }), HasSubstr("Half"));
}

TEST(SelectiveScan, RefusesSizesOutOfRange) {
  const std::string text = scan_refusal([](ops::SelectiveScan& c) {
    c.A = at::zeros({kChannels, 257});
    c.B = c.C = at::zeros({kTokens, 257});
    c.initial_state.reset();
  });
  EXPECT_THAT(text, HasSubstr("states"));
}

TEST(Ssd, RefusesEveryTensorOfAnotherShapeOrTypeByName) {
  const at::Tensor wrong = at::zeros({5, 5}), wrong3 = at::zeros({kTokens, 2, 9});
  using Ssd = ops::Ssd;
  EXPECT_THAT(ssd_refusal([&](Ssd& c) { c.x = wrong; }), HasSubstr("x must be [tokens, heads, channels]"));
  EXPECT_THAT(ssd_refusal([&](Ssd& c) { c.dt = wrong; }), HasSubstr("dt has shape"));
  EXPECT_THAT(ssd_refusal([&](Ssd& c) {
                c.dt = at::zeros({kTokens, kChannels}, at::kDouble);
              }),
              HasSubstr("dt is Double"));
  EXPECT_THAT(ssd_refusal([&](Ssd& c) { c.A = wrong; }), HasSubstr("A has shape"));
  EXPECT_THAT(ssd_refusal([&](Ssd& c) { c.B = wrong; }), HasSubstr("B must be [tokens, groups, states]"));
  EXPECT_THAT(ssd_refusal([&](Ssd& c) { c.C = wrong3; }), HasSubstr("C has shape"));
  EXPECT_THAT(ssd_refusal([&](Ssd& c) { c.D = wrong; }), HasSubstr("D has shape"));
  EXPECT_THAT(ssd_refusal([&](Ssd& c) { c.D = at::zeros({3}); }), HasSubstr("D has shape"));
  EXPECT_THAT(ssd_refusal([&](Ssd& c) { c.dt_bias = wrong; }), HasSubstr("dt_bias has shape"));
  EXPECT_THAT(ssd_refusal([&](Ssd& c) { c.initial_state = wrong; }), HasSubstr("initial_state has shape"));
  EXPECT_THAT(ssd_refusal([&](Ssd& c) { c.dt_max = -1; }), HasSubstr("dt_max"));
  EXPECT_THAT(ssd_refusal([&](Ssd& c) {
                c.B = c.C = at::zeros({kTokens, 3, kStates});
              }),
              HasSubstr("groups must divide heads"));
}

TEST(GatedRmsNorm, RefusesEveryTensorOfAnotherShapeOrTypeByName) {
  using Norm = ops::GatedRmsNorm;
  EXPECT_THAT(gated_norm_refusal([&](Norm& c) { c.x = at::zeros({kTokens}); }), HasSubstr("x must be"));
  EXPECT_THAT(gated_norm_refusal([&](Norm& c) { c.z = at::zeros({5, 5}); }), HasSubstr("z has shape"));
  EXPECT_THAT(gated_norm_refusal([&](Norm& c) { c.weight = at::zeros({5}); }), HasSubstr("weight has shape"));
  EXPECT_THAT(gated_norm_refusal([&](Norm& c) { c.groups = 3; }), HasSubstr("groups must divide columns"));
}

TEST(RaggedOperators, RefuseOffsetsThatDontRunFromZeroToTheNumberOfTokens) {
  const std::vector<std::pair<at::Tensor, std::string>> wrong = {
      {int64_tensor({0, 2, kTokens + 1}), "offsets must run from 0 to 6"},
      {int64_tensor({1, 2, kTokens}), "offsets must run from 0 to 6"},
      {int64_tensor({0, 2, 4}), "offsets must run from 0 to 6"},
      {int64_tensor({0, 7, kTokens}), "offsets fall from 7 to 6"},
      {int64_tensor({0, 2, kTokens}).to(at::kInt), "offsets must be an int64 tensor"},
      {int64_tensor({0, 2, kTokens}).reshape({1, 3}), "offsets must be an int64 tensor"},
      {int64_tensor({0, kTokens}), "initial_state has shape"}};
  for (const auto& [offsets, text] : wrong) {
    EXPECT_THAT(scan_refusal([&](ops::SelectiveScan& c) { c.offsets = offsets; }), HasSubstr(text));
    EXPECT_THAT(ssd_refusal([&](ops::Ssd& c) { c.offsets = offsets; }), HasSubstr(text));
    EXPECT_THAT(conv_refusal([&](ops::CausalConv1d& c) { c.offsets = offsets; }), HasSubstr(text));
  }
}

TEST(CausalConv1d, RefusesEveryTensorOfAnotherShapeOrTypeByName) {
  const at::Tensor wrong = at::zeros({5, 5});
  using Conv = ops::CausalConv1d;
  EXPECT_THAT(conv_refusal([&](Conv& c) { c.x = at::zeros({kTokens, kChannels, 1}); }), HasSubstr("x must be"));
  EXPECT_THAT(conv_refusal([&](Conv& c) { c.weight = wrong; }), HasSubstr("weight has shape"));
  EXPECT_THAT(conv_refusal([&](Conv& c) { c.weight = at::zeros({kChannels, 1, 4}); }), HasSubstr("weight must be"));
  EXPECT_THAT(conv_refusal([&](Conv& c) { c.bias = wrong; }), HasSubstr("bias has shape"));
  EXPECT_THAT(conv_refusal([&](Conv& c) { c.bias = at::zeros({kChannels}, at::kDouble); }),
              HasSubstr("bias is Double"));
  EXPECT_THAT(conv_refusal([&](Conv& c) {
                c.initial_state = at::zeros({2, 4, kChannels});
              }),
              HasSubstr("initial_state has shape"));
  EXPECT_THAT(conv_refusal([&](Conv& c) {
                c.weight = at::zeros({kChannels, 65});
                c.initial_state.reset();
              }),
              HasSubstr("width"));
}

TEST(AddRmsNorm, RefusesEveryTensorOfAnotherShapeOrTypeByName) {
  const at::Tensor wrong = at::zeros({5, 5});
  using Norm = ops::AddRmsNorm;
  EXPECT_THAT(norm_refusal([&](Norm& c) { c.x = at::zeros({kTokens}); }), HasSubstr("x must be"));
  EXPECT_THAT(norm_refusal([&](Norm& c) { c.residual = wrong; }), HasSubstr("residual has shape"));
  EXPECT_THAT(norm_refusal([&](Norm& c) { c.weight = wrong; }), HasSubstr("weight has shape"));
  EXPECT_THAT(norm_refusal([&](Norm& c) { c.bias = wrong; }), HasSubstr("bias has shape"));
  EXPECT_THAT(norm_refusal([&](Norm& c) { c.weight = at::zeros({kChannels}, at::kDouble); }),
              HasSubstr("weight is Double"));
  EXPECT_THAT(norm_refusal([&](Norm& c) { c.epsilon = -1; }), HasSubstr("epsilon"));
}

TEST(TokenLoss, RefusesEveryTensorOfAnotherShapeOrTypeByName) {
  const at::Tensor wrong = at::zeros({5, 5});
  using Loss = ops::TokenLoss;
  EXPECT_THAT(loss_refusal([&](Loss& c) { c.hidden = at::zeros({kTokens}); }), HasSubstr("hidden must be"));
  EXPECT_THAT(loss_refusal([&](Loss& c) { c.weight = wrong; }), HasSubstr("weight has shape"));
  EXPECT_THAT(loss_refusal([&](Loss& c) { c.targets = at::zeros({kTokens}, at::kLong); }),
              HasSubstr("targets is Long"));
  EXPECT_THAT(loss_refusal([&](Loss& c) { c.token_weights = wrong; }), HasSubstr("token_weights has shape"));
  EXPECT_THAT(loss_refusal([&](Loss& c) { c.targets = at::ones({kTokens}, at::kByte).mul(7); }),
              HasSubstr("a target is not below vocabulary"));
}

TEST(EmbedTokens, RefusesWrongShapesTypesAndTokens) {
  const auto embed = [](const at::Tensor& tokens, const at::Tensor& table) {
    return error_text<c10::Error>([&] { ops::embed_tokens(tokens, table); });
  };
  const at::Tensor table = at::zeros({5, kChannels});
  EXPECT_THAT(embed(at::zeros({2, 2}, at::kByte), table), HasSubstr("tokens must be"));
  EXPECT_THAT(embed(at::zeros({2}, at::kLong), table), HasSubstr("tokens is Long"));
  EXPECT_THAT(embed(at::zeros({2}, at::kByte), at::zeros({5})), HasSubstr("table must be"));
  EXPECT_THAT(embed(at::zeros({2}, at::kByte), at::zeros({257, 2})), HasSubstr("vocabulary"));
  EXPECT_THAT(embed(at::ones({2}, at::kByte).mul(5), table), HasSubstr("a token is not below vocabulary"));
}

TEST(TokenLoss, DoesNotLookAtTokensOfWeightZero) {
  const at::Tensor hidden = at::ones({2, kChannels}), weights = at::ones({2});
  hidden[0].fill_(std::numeric_limits<double>::quiet_NaN());
  weights[0].fill_(0);
  at::Tensor targets = at::zeros({2}, at::kByte);
  targets[0].fill_(200);
  const at::Tensor loss = ops::token_loss(
      {.hidden = hidden, .weight = at::zeros({7, kChannels}), .targets = targets, .token_weights = weights});
  EXPECT_EQ(loss[0].item<float>(), 0);
  EXPECT_NEAR(loss[1].item<float>(), std::log(7.0), 1e-6);
}

TEST(EveryOperator, AnswersInViewsThatAreNotContiguousAsInCopies) {
  ops::SelectiveScan call = good_scan();
  RandomTensors random(1);
  const at::Tensor wide = random.normal({kTokens, 2 * kStates}, at::kFloat);
  call.x = random.normal({kChannels, kTokens}, at::kFloat).t();
  call.B = wide.narrow(1, 0, kStates);
  call.C = wide.narrow(1, kStates, kStates);
  const at::Tensor strided = std::get<0>(ops::selective_scan(call));
  call.x = call.x.contiguous();
  call.B = call.B.contiguous();
  call.C = call.C.contiguous();
  EXPECT_EQ(relative_error(strided, std::get<0>(ops::selective_scan(call))), 0);
}

at::Tensor without_values(const at::Tensor& tensor) {
  return tensor.defined() ? tensor.detach().to(at::kMeta).requires_grad_(tensor.is_floating_point()) : tensor;
}

// The answers to `inputs` and the gradients of all `leaves`, of which they were made.
std::vector<at::Tensor> answers_and_gradients(const Operator& op, const Operator::Inputs& inputs,
                                              const Operator::Inputs& leaves) {
  const auto answer = op.call(inputs, int64_tensor(op.offsets));
  std::vector<at::Tensor> tensors = answer.rows, wanted = leaves.rows;
  if (answer.state.defined()) tensors.push_back(answer.state);
  wanted.insert(wanted.end(), leaves.parameters.begin(), leaves.parameters.end());
  if (leaves.state.defined()) wanted.push_back(leaves.state);
  std::vector<at::Tensor> arriving;
  for (const at::Tensor& output : tensors) arriving.push_back(at::ones(output.sizes(), output.options()));
  for (const at::Tensor& gradient : torch::autograd::grad(tensors, wanted, arriving)) tensors.push_back(gradient);
  return tensors;
}

// Every differentiable input a leaf.
Operator::Inputs leaves_of(Operator::Inputs inputs) {
  for (auto* list : {&inputs.rows, &inputs.parameters})
    for (at::Tensor& tensor : *list) tensor = tensor.clone().requires_grad_(true);
  if (inputs.state.defined()) inputs.state = inputs.state.clone().requires_grad_(true);
  return inputs;
}

TEST(EveryOperator, AnswersInColumnsOfWiderTensorsAsInCopies) {
  for (const Operator& op : every_operator({.channels = 5, .offsets = {0, 4, 4, 9}, .dtype = at::kFloat})) {
    SCOPED_TRACE(op.name);
    const Operator::Inputs leaves = leaves_of(op.inputs);
    Operator::Inputs columns = leaves;
    for (at::Tensor& rows : columns.rows) {
      const at::Tensor others = at::full_like(rows, std::numeric_limits<float>::quiet_NaN());
      rows = at::cat({others, rows, others}, 1).narrow(1, rows.size(1), rows.size(1));
    }
    const auto expected = answers_and_gradients(op, leaves, leaves), got = answers_and_gradients(op, columns, leaves);
    ASSERT_EQ(got.size(), expected.size());
    for (std::size_t i = 0; i < got.size(); ++i) EXPECT_TRUE(at::equal(got[i], expected[i])) << i;
  }
}

// Shapes and types of the answers and of all gradients, of a call with values or without.
std::vector<std::string> shapes_of(const Operator& op, const Operator::Inputs& inputs) {
  std::vector<std::string> texts;
  for (const at::Tensor& tensor : answers_and_gradients(op, inputs, inputs))
    texts.push_back(
        c10::str(tensor.sizes(), " ", tensor.scalar_type(), tensor.requires_grad() ? " differentiable" : ""));
  return texts;
}

TEST(EveryOperator, AnswersShapesWithoutValues) {
  for (const Operator& op : every_operator({.channels = 5, .offsets = {0, 4, 4, 9}, .dtype = at::kFloat})) {
    SCOPED_TRACE(op.name);
    Operator::Inputs shapes = op.inputs;
    for (auto* list : {&shapes.rows, &shapes.parameters, &shapes.fixed_rows})
      for (at::Tensor& tensor : *list) tensor = without_values(tensor);
    shapes.state = without_values(shapes.state);
    EXPECT_EQ(shapes_of(op, shapes), shapes_of(op, leaves_of(op.inputs)));
  }
}

TEST(RaggedOperators, AnswerAnEmptyTensorForAFinalStateThatNobodyWants) {
  ops::SelectiveScan scan = good_scan();
  scan.x = scan.x.clone().requires_grad_(true);
  const auto [y, state] = ops::selective_scan(scan);
  EXPECT_EQ(state.numel(), 0);
  EXPECT_TRUE(y.requires_grad());
  EXPECT_FALSE(state.requires_grad());
  EXPECT_EQ(std::get<1>(ops::ssd(good_ssd())).numel(), 0);
  EXPECT_EQ(std::get<1>(ops::causal_conv1d(good_conv())).numel(), 0);
}

}  // namespace
}  // namespace dnamamba::test
