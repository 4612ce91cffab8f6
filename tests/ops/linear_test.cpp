// Products that share an input have the gradients of products that don't.
#include "core/ops/linear.h"

#include <ATen/ops/add.h>
#include <ATen/ops/allclose.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/mul.h>
#include <ATen/ops/randn.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include <functional>
#include <vector>

namespace dnamamba::test {
namespace {

using at::Tensor;

Tensor leaf(at::IntArrayRef shape) {
  return at::randn(shape, at::kDouble).requires_grad_(true);
}

/// The gradients of the leaves by what `call` makes of them.
std::vector<Tensor> gradients(const std::vector<Tensor>& leaves, const std::function<Tensor()>& call) {
  const Tensor out = call();
  const Tensor weights = at::arange(out.numel(), at::kDouble).view(out.sizes()).add(1);
  torch::autograd::backward({out}, {weights});
  std::vector<Tensor> found;
  for (const Tensor& of : leaves) {
    found.push_back(of.grad().clone());
    of.mutable_grad() = Tensor();
  }
  return found;
}

void expect_same_gradients(const std::vector<Tensor>& leaves, const std::function<Tensor()>& actual,
                           const std::function<Tensor()>& expected) {
  const auto ours = gradients(leaves, actual), plain = gradients(leaves, expected);
  for (std::size_t i = 0; i < leaves.size(); ++i) EXPECT_TRUE(at::allclose(ours[i], plain[i])) << "leaf " << i;
}

TEST(Linear, APairOfProductsIsTwoProducts) {
  const Tensor x = leaf({5, 3}), weight = leaf({6, 3}), bias = leaf({6});
  const auto sum = [](const Tensor& first, const Tensor& second) {
    return at::add(at::mul(first, first), at::mul(second, second.sin()).sum(1, true));
  };
  expect_same_gradients(
      {x, weight, bias},
      [&] {
        const auto [first, second] = ops::linear_pair(x, weight, bias, 2);
        return sum(first, second);
      },
      [&] {
        return sum(at::linear(x, weight.narrow(0, 0, 2), bias.narrow(0, 0, 2)),
                   at::linear(x, weight.narrow(0, 2, 4), bias.narrow(0, 2, 4)));
      });
}

TEST(Linear, AProductBesideAnotherUseAddsToItsGradient) {
  const Tensor x = leaf({5, 3}), weight = leaf({4, 3});
  const auto sum = [](const Tensor& itself, const Tensor& product) {
    return at::add(at::mul(itself, itself).sum(1, true), product.sin());
  };
  expect_same_gradients(
      {x, weight},
      [&] {
        const auto [itself, product] = ops::linear_beside(at::mul(x, 2), weight);
        return sum(itself, product);
      },
      [&] {
        const Tensor twice = at::mul(x, 2);
        return sum(twice, at::linear(twice, weight));
      });
  // Where one of the two is not used.
  expect_same_gradients(
      {x}, [&] { return ops::linear_beside(at::mul(x, 3), weight).first; }, [&] { return at::mul(x, 3); });
  expect_same_gradients(
      {x, weight}, [&] { return ops::linear_beside(x, weight).second; }, [&] { return at::linear(x, weight); });
}

}  // namespace
}  // namespace dnamamba::test
