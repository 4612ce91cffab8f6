// Lengths and sizes at which 32-bit arithmetic ends: the end of a long sequence against the same tokens by themselves,
// with the state that the tokens before them leave.
#include <ATen/core/grad_mode.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/rand.h>
#include <ATen/ops/randint.h>
#include <ATen/ops/randn.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include "core/ops/add_rms_norm.h"
#include "core/ops/causal_conv1d.h"
#include "core/ops/embed_tokens.h"
#include "core/ops/selective_scan.h"
#include "core/ops/token_loss.h"
#include "tests/support/tensors.h"

namespace dnamamba::test {
namespace {

constexpr std::int64_t kTail = 4097;

at::TensorOptions gpu(at::ScalarType dtype) {
  return at::TensorOptions().dtype(dtype).device(at::kCUDA, 0);
}
at::Tensor tail(const at::Tensor& rows) {
  return rows.narrow(0, rows.size(0) - kTail, kTail);
}
at::Tensor head(const at::Tensor& rows) {
  return rows.narrow(0, 0, rows.size(0) - kTail);
}

struct Size {
  std::int64_t tokens, channels;
  at::ScalarType dtype;
};
class LongSequence : public ::testing::TestWithParam<Size> {
 protected:
  std::int64_t T = GetParam().tokens, E = GetParam().channels;
  at::ScalarType dtype = GetParam().dtype;
  double allowed = GetParam().dtype == at::kFloat ? 1e-5 : 4e-3;
  at::Tensor rows(std::int64_t columns) const { return at::randn({T, columns}, gpu(dtype)); }
};

TEST_P(LongSequence, ScanEndsAsItsEndAlone) {
  constexpr std::int64_t kStates = 16;
  ops::SelectiveScan call{.x = rows(E),
                          .delta = rows(E).sub_(2),
                          .A = at::rand({E, kStates}, gpu(at::kFloat)).neg().sub(0.01),
                          .B = rows(kStates),
                          .C = rows(kStates),
                          .D = at::randn({E}, gpu(at::kFloat)),
                          .z = rows(E),
                          .want_final_state = true};
  at::Tensor state;
  {
    const at::NoGradGuard no_graph;
    ops::SelectiveScan before = call;
    before.x = head(call.x), before.delta = head(call.delta), before.z = head(*call.z);
    before.B = head(call.B), before.C = head(call.C);
    state = std::get<1>(ops::selective_scan(before));
  }
  ops::SelectiveScan end = call;
  end.x = tail(call.x).clone(), end.delta = tail(call.delta).clone(), end.z = tail(*call.z).clone();
  end.B = tail(call.B).clone(), end.C = tail(call.C).clone();
  end.initial_state = state;
  for (const ops::SelectiveScan* one : {&call, &end}) {
    for (const at::Tensor& leaf : {one->x, one->delta, one->B, one->C, *one->z}) leaf.requires_grad_(true);
  }
  const auto [y, last] = ops::selective_scan(call);
  const auto [y_end, last_end] = ops::selective_scan(end);
  EXPECT_LE(relative_error(tail(y), y_end), allowed);
  EXPECT_LE(relative_error(last, last_end), 1e-5);
  torch::autograd::backward({tail(y).sum(), last.sum()}, {});
  torch::autograd::backward({y_end.sum(), last_end.sum()}, {});
  EXPECT_LE(relative_error(tail(call.x.grad()), end.x.grad()), allowed);
  EXPECT_LE(relative_error(tail(call.delta.grad()), end.delta.grad()), allowed);
  EXPECT_LE(relative_error(tail(call.z->grad()), end.z->grad()), allowed);
  EXPECT_LE(relative_error(tail(call.B.grad()), end.B.grad()), allowed);
  EXPECT_LE(relative_error(tail(call.C.grad()), end.C.grad()), allowed);
}

TEST_P(LongSequence, ConvolutionEndsAsItsEndAlone) {
  const at::Tensor x = rows(E).requires_grad_(true), weight = at::randn({E, 4}, gpu(at::kFloat));
  const at::Tensor end = x.detach().narrow(0, T - kTail - 3, kTail + 3).clone().requires_grad_(true);
  const at::Tensor y = std::get<0>(ops::causal_conv1d({.x = x, .weight = weight}));
  const at::Tensor y_end = std::get<0>(ops::causal_conv1d({.x = end, .weight = weight}));
  EXPECT_TRUE(at::equal(tail(y), tail(y_end)));
  torch::autograd::backward({tail(y).sum()}, {});
  torch::autograd::backward({tail(y_end).sum()}, {});
  EXPECT_TRUE(at::equal(tail(x.grad()), tail(end.grad())));
}

TEST_P(LongSequence, RowsAtTheEndAreAsAnyOthers) {
  const at::Tensor x = rows(E), weight = at::randn({E}, gpu(at::kFloat));
  EXPECT_TRUE(at::equal(tail(std::get<0>(ops::add_rms_norm({.x = x, .weight = weight}))),
                        std::get<0>(ops::add_rms_norm({.x = tail(x).clone(), .weight = weight}))));
  const at::Tensor ids = at::randint(0, 16, {T}, gpu(at::kByte)), table = at::randn({16, E}, gpu(at::kFloat));
  EXPECT_TRUE(at::equal(tail(ops::token_loss({.hidden = x, .weight = table, .targets = ids})),
                        ops::token_loss({.hidden = tail(x).clone(), .weight = table, .targets = tail(ids).clone()})));
  EXPECT_TRUE(
      at::equal(tail(ops::embed_tokens(ids, table, dtype)), ops::embed_tokens(tail(ids).clone(), table, dtype)));
}

INSTANTIATE_TEST_SUITE_P(Sizes, LongSequence,
                         ::testing::Values(Size{(1 << 20) + 1, 118, at::kFloat}, Size{1 << 24, 8, at::kFloat},
                                           Size{(1 << 23) + 5, 512, at::kBFloat16}),
                         [](const auto& tested) {
                           return std::to_string(tested.param.tokens) + "x" + std::to_string(tested.param.channels);
                         });

}  // namespace
}  // namespace dnamamba::test
