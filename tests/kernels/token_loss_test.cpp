#include "kernels/token_loss.h"

#include <limits>
#include <ostream>
#include <stdexcept>

#include "tests/kernels/parallel.h"

namespace dnamamba::kernels {
namespace {

using test::Tensors;

struct Shape {
  std::int64_t tokens, width, vocabulary;
  bool weights = true;
};
std::ostream& operator<<(std::ostream& out, const Shape& shape) {
  return out << shape.tokens << " tokens, width " << shape.width << ", vocabulary " << shape.vocabulary;
}

template <typename T>
struct Loss {
  Shape shape;
  std::vector<T> hidden, weight, dloss;
  std::vector<std::uint8_t> targets;
  std::vector<float> token_weights;

  [[nodiscard]] TokenLossInputs<T> inputs() const {
    return {shape.tokens,
            shape.width,
            shape.vocabulary,
            hidden.data(),
            weight.data(),
            targets.data(),
            test::pointer_or_null(token_weights)};
  }
};

template <typename T>
Loss<T> random_loss(std::uint64_t seed, Shape shape) {
  test::Random random(seed);
  Loss<T> loss;
  loss.shape = shape;
  loss.hidden = random.normal<T>(shape.tokens * shape.width);
  loss.weight = random.normal<T>(shape.vocabulary * shape.width, 0, 0.2);
  loss.dloss = random.normal<T>(shape.tokens);
  loss.targets = random.bytes(shape.tokens, std::min<std::int64_t>(shape.vocabulary, 256));
  if (shape.weights) loss.token_weights = random.normal<float>(shape.tokens, 1);
  for (std::size_t t = 0; t < loss.token_weights.size(); t += 5) loss.token_weights[t] = 0;
  return loss;
}

template <typename T, typename Function>
std::vector<T> forward_by(const Loss<T>& loss, Function&& function) {
  std::vector<T> out(loss.dloss.size(), std::numeric_limits<T>::quiet_NaN());
  function(loss.inputs(), TokenLossOutputs<T>{out.data()});
  return out;
}
template <typename T, typename Function>
Tensors<T> backward_by(const Loss<T>& loss, Function&& function) {
  const T nan = std::numeric_limits<T>::quiet_NaN();
  Tensors<T> out;
  out["dhidden"].assign(loss.hidden.size(), nan);
  out["dweight"].assign(loss.weight.size(), nan);
  function(loss.inputs(), TokenLossGradients<T>{loss.dloss.data(), out["dhidden"].data(), out["dweight"].data()});
  return out;
}
template <typename T>
std::vector<T> reference_forward(const Loss<T>& loss) {
  return forward_by(loss, [](const auto& in, const auto& out) { reference::token_loss(in, out); });
}
template <typename T>
Tensors<T> reference_backward(const Loss<T>& loss) {
  return backward_by(loss, [](const auto& in, const auto& out) { reference::token_loss_backward(in, out); });
}
template <typename T>
std::vector<T> cpu_forward(const Loss<T>& loss, const ParallelFor& parallel = serial_for) {
  return forward_by(loss, [&](const auto& in, const auto& out) { cpu::token_loss(in, out, parallel); });
}
template <typename T>
Tensors<T> cpu_backward(const Loss<T>& loss, const ParallelFor& parallel = serial_for) {
  return backward_by(loss, [&](const auto& in, const auto& out) {
    test::Garbage workspace(cpu::token_loss_backward_workspace(in));
    cpu::token_loss_backward(in, out, workspace.get(), parallel);
  });
}

class TokenLoss : public ::testing::TestWithParam<Shape> {};

TEST_P(TokenLoss, MatchesTheReferenceInFloat) {
  const auto loss = random_loss<float>(7, GetParam());
  EXPECT_TRUE(test::close_in_norm(cpu_forward(loss), reference_forward(loss), 1e-5));
  test::expect_close(cpu_backward(loss), reference_backward(loss), 1e-5);
}
TEST_P(TokenLoss, MatchesTheReferenceInDouble) {
  const auto loss = random_loss<double>(7, GetParam());
  EXPECT_TRUE(test::close_in_norm(cpu_forward(loss), reference_forward(loss), 1e-10));
  test::expect_close(cpu_backward(loss), reference_backward(loss), 1e-10);
}
TEST_P(TokenLoss, GivesTheSameBitsForAnyThreads) {
  const auto loss = random_loss<float>(7, GetParam());
  for (const ParallelFor& parallel : {ParallelFor(test::one_by_one_reversed), ParallelFor(test::three_threads)}) {
    EXPECT_TRUE(test::same_bits(cpu_forward(loss, parallel), cpu_forward(loss)));
    test::expect_same_bits(cpu_backward(loss, parallel), cpu_backward(loss));
  }
}

INSTANTIATE_TEST_SUITE_P(Shapes, TokenLoss,
                         ::testing::Values(Shape{2000, 128, 16}, Shape{33, 30, 16, false}, Shape{1, 1, 1},
                                           Shape{70, 118, 5}, Shape{40, 64, 1024}, Shape{65, 512, 17},
                                           Shape{0, 30, 16}));

TEST(TokenLossGradient, AgreesWithFiniteDifferences) {
  auto loss = random_loss<double>(3, {11, 7, 5});
  for (const bool on_cpu : {false, true}) {
    const Tensors<double> gradients = on_cpu ? cpu_backward(loss) : reference_backward(loss);
    const auto total = [&] { return test::dot(loss.dloss, on_cpu ? cpu_forward(loss) : reference_forward(loss)); };
    test::expect_gradient(loss.hidden, gradients.at("dhidden"), total, "hidden");
    test::expect_gradient(loss.weight, gradients.at("dweight"), total, "weight");
  }
}

TEST(TokenLossValues, AreThoseOfAnEqualChoice) {
  Loss<float> loss = random_loss<float>(1, {.tokens = 9, .width = 4, .vocabulary = 16, .weights = false});
  std::fill(loss.weight.begin(), loss.weight.end(), 0.0F);
  for (const float value : cpu_forward(loss)) EXPECT_FLOAT_EQ(value, std::log(16.0F));
}

TEST(TokenLossValues, StayFiniteForLargeLogits) {
  Loss<float> loss = random_loss<float>(1, {.tokens = 40, .width = 30, .vocabulary = 16, .weights = false});
  for (float& v : loss.hidden) v *= 1e4F;
  EXPECT_TRUE(test::close_in_norm(cpu_forward(loss), reference_forward(loss), 1e-5));
  test::expect_close(cpu_backward(loss), reference_backward(loss), 1e-5);
}

// Positions without a target (N, padding) may hold anything at all.
TEST(TokenLossWeights, ZeroMeansExactlyNothing) {
  Loss<float> clean = random_loss<float>(5, {.tokens = 200, .width = 30, .vocabulary = 16});
  Loss<float> spoilt = clean;
  for (std::size_t t = 0; t < spoilt.token_weights.size(); ++t) {
    if (spoilt.token_weights[t] != 0) continue;
    spoilt.hidden[t * 30] = std::numeric_limits<float>::quiet_NaN();
    spoilt.hidden[t * 30 + 7] = std::numeric_limits<float>::infinity();
    spoilt.targets[t] = 255;
  }
  const std::vector<float> losses = cpu_forward(spoilt);
  const Tensors<float> gradients = cpu_backward(spoilt);
  for (std::size_t t = 0; t < spoilt.token_weights.size(); ++t) {
    if (spoilt.token_weights[t] != 0) continue;
    EXPECT_EQ(losses[t], 0.0F);
    for (std::size_t i = 0; i < 30; ++i) EXPECT_EQ(gradients.at("dhidden")[t * 30 + i], 0.0F);
  }
  EXPECT_TRUE(test::same_bits(losses, cpu_forward(clean)));
  test::expect_same_bits(gradients, cpu_backward(clean));
  EXPECT_TRUE(test::same_bits(reference_forward(spoilt), reference_forward(clean)));
  test::expect_same_bits(reference_backward(spoilt), reference_backward(clean));
}

TEST(TokenLossErrors, RefusesArgumentsThatMakeNoSense) {
  Loss<float> loss = random_loss<float>(5, {.tokens = 6, .width = 3, .vocabulary = 4, .weights = false});
  std::vector<float> out(6);
  const auto run = [&](auto&& spoil) {
    TokenLossInputs<float> in = loss.inputs();
    spoil(in);
    EXPECT_THROW(cpu::token_loss(in, {out.data()}, serial_for), std::invalid_argument);
    EXPECT_THROW(reference::token_loss(in, {out.data()}), std::invalid_argument);
  };
  run([](auto& in) { in.vocabulary = 0; });
  run([](auto& in) { in.vocabulary = 1025; });
  run([](auto& in) { in.width = 0; });
  run([](auto& in) { in.hidden = nullptr; });
  loss.targets[3] = 4;
  run([](auto&) {});
  EXPECT_THROW(cpu::token_loss(loss.inputs(), {nullptr}, serial_for), std::invalid_argument);
}

}  // namespace
}  // namespace dnamamba::kernels
