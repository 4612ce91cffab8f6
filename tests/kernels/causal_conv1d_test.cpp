#include "kernels/causal_conv1d.h"

#include <limits>
#include <ostream>
#include <stdexcept>

#include "tests/kernels/parallel.h"

namespace dnamamba::kernels {
namespace {

using test::Tensors;

struct Shape {
  std::int64_t channels, width;
  bool silu = true, reverse = false, bias = true, initial_state = true, final_state = true;
};
std::ostream& operator<<(std::ostream& out, const Shape& shape) {
  return out << shape.channels << " channels, width " << shape.width << (shape.silu ? ", silu" : "")
             << (shape.reverse ? ", reverse" : "");
}

template <typename T>
struct Conv {
  Shape shape;
  std::vector<std::int64_t> offsets;
  std::vector<T> x, weight, bias, initial_state, dy, dfinal_state;

  [[nodiscard]] std::int64_t sequences() const { return static_cast<std::int64_t>(offsets.size()) - 1; }
  [[nodiscard]] std::int64_t tokens() const { return offsets.back(); }
  [[nodiscard]] std::int64_t state_size() const { return (shape.width - 1) * shape.channels; }

  [[nodiscard]] CausalConv1dInputs<T> inputs() const {
    return {.ragged = {offsets.data(), sequences()},
            .channels = shape.channels,
            .width = shape.width,
            .x = x.data(),
            .weight = weight.data(),
            .bias = test::pointer_or_null(bias),
            .initial_state = test::pointer_or_null(initial_state),
            .silu = shape.silu,
            .reverse = shape.reverse};
  }
};

template <typename T>
Conv<T> random_conv(std::uint64_t seed, std::vector<std::int64_t> lengths, Shape shape) {
  test::Random random(seed);
  Conv<T> conv;
  conv.shape = shape;
  conv.offsets = random.offsets(std::move(lengths));
  const std::int64_t size = conv.tokens() * shape.channels;
  conv.x = random.normal<T>(size);
  conv.weight = random.normal<T>(shape.channels * shape.width);
  if (shape.bias) conv.bias = random.normal<T>(shape.channels);
  if (shape.initial_state) conv.initial_state = random.normal<T>(conv.sequences() * conv.state_size());
  conv.dy = random.normal<T>(size);
  if (shape.final_state) conv.dfinal_state = random.normal<T>(conv.sequences() * conv.state_size());
  return conv;
}

template <typename T, typename Function>
Tensors<T> forward_by(const Conv<T>& conv, Function&& function) {
  const T nan = std::numeric_limits<T>::quiet_NaN();
  Tensors<T> out;
  out["y"].assign(conv.x.size(), nan);
  out["final_state"].assign(conv.sequences() * conv.state_size(), nan);
  function(conv.inputs(), CausalConv1dOutputs<T>{out["y"].data(), test::pointer_or_null(out["final_state"])});
  return out;
}

template <typename T, typename Function>
Tensors<T> backward_by(const Conv<T>& conv, Function&& function) {
  const T nan = std::numeric_limits<T>::quiet_NaN();
  Tensors<T> out;
  const auto wanted = [&](const char* name, std::size_t size) {
    out[name].assign(size, nan);
    return test::pointer_or_null(out[name]);
  };
  CausalConv1dGradients<T> gradients;
  gradients.dy = conv.dy.data();
  gradients.dfinal_state = test::pointer_or_null(conv.dfinal_state);
  gradients.dx = wanted("dx", conv.x.size());
  gradients.dweight = wanted("dweight", conv.weight.size());
  gradients.dbias = wanted("dbias", conv.bias.size());
  gradients.dinitial_state = wanted("dinitial_state", conv.initial_state.size());
  function(conv.inputs(), gradients);
  return out;
}

template <typename T>
Tensors<T> reference_forward(const Conv<T>& conv) {
  return forward_by(conv, [](const auto& in, const auto& out) { reference::causal_conv1d(in, out); });
}
template <typename T>
Tensors<T> reference_backward(const Conv<T>& conv) {
  return backward_by(conv, [](const auto& in, const auto& out) { reference::causal_conv1d_backward(in, out); });
}
template <typename T>
Tensors<T> cpu_forward(const Conv<T>& conv, const ParallelFor& parallel = serial_for) {
  return forward_by(conv, [&](const auto& in, const auto& out) { cpu::causal_conv1d(in, out, parallel); });
}
template <typename T>
Tensors<T> cpu_backward(const Conv<T>& conv, const ParallelFor& parallel = serial_for) {
  return backward_by(conv, [&](const auto& in, const auto& out) {
    test::Garbage workspace(cpu::causal_conv1d_backward_workspace(in));
    cpu::causal_conv1d_backward(in, out, workspace.get(), parallel);
  });
}

class CausalConv1d : public ::testing::TestWithParam<Shape> {
 protected:
  const std::vector<std::int64_t> lengths_ = {0, 1, 2, 3, 64, 65, 700, 0};
};

TEST_P(CausalConv1d, MatchesTheReferenceInFloat) {
  const auto conv = random_conv<float>(7, lengths_, GetParam());
  test::expect_close(cpu_forward(conv), reference_forward(conv), 1e-5);
  test::expect_close(cpu_backward(conv), reference_backward(conv), 1e-5);
}
TEST_P(CausalConv1d, MatchesTheReferenceInDouble) {
  const auto conv = random_conv<double>(7, lengths_, GetParam());
  test::expect_close(cpu_forward(conv), reference_forward(conv), 1e-10);
  test::expect_close(cpu_backward(conv), reference_backward(conv), 1e-10);
}
TEST_P(CausalConv1d, GivesTheSameBitsForAnyThreads) {
  const auto conv = random_conv<float>(7, lengths_, GetParam());
  for (const ParallelFor& parallel : {ParallelFor(test::one_by_one_reversed), ParallelFor(test::three_threads)}) {
    test::expect_same_bits(cpu_forward(conv, parallel), cpu_forward(conv));
    test::expect_same_bits(cpu_backward(conv, parallel), cpu_backward(conv));
  }
}

INSTANTIATE_TEST_SUITE_P(Shapes, CausalConv1d,
                         ::testing::Values(Shape{1, 4}, Shape{30, 4, true, true}, Shape{118, 3},
                                           Shape{236, 2, true, true}, Shape{512, 4}, Shape{30, 1},
                                           Shape{19, 7, false, true}, Shape{5, 64},
                                           Shape{30, 4, false, false, false, true, true},
                                           Shape{30, 4, true, false, true, false, true},
                                           Shape{30, 4, true, true, true, true, false}));

template <typename Forward, typename Backward>
void expect_gradients(Conv<double> conv, Forward&& forward, Backward&& backward) {
  const Tensors<double> gradients = backward(conv);
  const auto loss = [&] {
    const Tensors<double> out = forward(conv);
    return test::dot(conv.dy, out.at("y")) + test::dot(conv.dfinal_state, out.at("final_state"));
  };
  test::expect_gradient(conv.x, gradients.at("dx"), loss, "x");
  test::expect_gradient(conv.weight, gradients.at("dweight"), loss, "weight");
  test::expect_gradient(conv.bias, gradients.at("dbias"), loss, "bias");
  test::expect_gradient(conv.initial_state, gradients.at("dinitial_state"), loss, "initial_state");
}

TEST(CausalConv1dGradient, AgreesWithFiniteDifferences) {
  for (const bool reverse : {false, true}) {
    const auto conv = random_conv<double>(3, {4, 0, 1, 2, 70}, {.channels = 3, .width = 4, .reverse = reverse});
    expect_gradients(conv, reference_forward<double>, reference_backward<double>);
    expect_gradients(
        conv, [](const auto& c) { return cpu_forward(c); }, [](const auto& c) { return cpu_backward(c); });
  }
}

/// Positions [first, last) of a single sequence in the order of reading.
template <typename T>
Conv<T> piece_of(const Conv<T>& whole, std::int64_t first, std::int64_t last, std::vector<T> initial_state,
                 std::vector<T> dfinal_state) {
  Conv<T> piece = whole;
  const std::int64_t begin = whole.shape.reverse ? whole.tokens() - last : first;
  piece.offsets = {0, last - first};
  piece.x = test::rows_of(whole.x, begin, begin + last - first, whole.shape.channels);
  piece.dy = test::rows_of(whole.dy, begin, begin + last - first, whole.shape.channels);
  piece.initial_state = std::move(initial_state);
  piece.dfinal_state = std::move(dfinal_state);
  return piece;
}

TEST(CausalConv1dCuts, NeverShow) {
  for (const std::uint64_t seed : {1, 2, 3, 4, 5, 6}) {
    const auto whole = random_conv<double>(seed, {150}, {.channels = 30, .width = 4, .reverse = seed % 2 == 0});
    test::Random random(seed);
    std::vector<std::int64_t> cuts{0, 0, 1, 3, 4, 150};  // pieces of 0, 1 and K - 2 tokens among them
    for (int i = 0; i < 5; ++i) cuts.push_back(random.whole(0, 150));
    std::sort(cuts.begin(), cuts.end());

    const Tensors<double> forward = cpu_forward(whole), backward = cpu_backward(whole);
    const auto expected_rows = [&](const std::vector<double>& rows, std::int64_t first, std::int64_t last) {
      const std::int64_t begin = whole.shape.reverse ? whole.tokens() - last : first;
      return test::rows_of(rows, begin, begin + last - first, whole.shape.channels);
    };
    std::vector<std::vector<double>> states{whole.initial_state};
    for (std::size_t i = 0; i + 1 < cuts.size(); ++i) {
      const auto out = cpu_forward(piece_of(whole, cuts[i], cuts[i + 1], states.back(), whole.dfinal_state));
      EXPECT_TRUE(test::same_bits(out.at("y"), expected_rows(forward.at("y"), cuts[i], cuts[i + 1])));
      states.push_back(out.at("final_state"));
    }
    EXPECT_TRUE(test::same_bits(states.back(), forward.at("final_state")));

    std::vector<double> dstate = whole.dfinal_state, dweight(whole.weight.size()), dbias(whole.bias.size());
    for (std::size_t i = cuts.size() - 1; i-- > 0;) {
      const auto out = cpu_backward(piece_of(whole, cuts[i], cuts[i + 1], states[i], dstate));
      EXPECT_TRUE(test::close_in_norm(out.at("dx"), expected_rows(backward.at("dx"), cuts[i], cuts[i + 1]), 1e-10));
      for (std::size_t j = 0; j < dweight.size(); ++j) dweight[j] += out.at("dweight")[j];
      for (std::size_t j = 0; j < dbias.size(); ++j) dbias[j] += out.at("dbias")[j];
      dstate = out.at("dinitial_state");
    }
    EXPECT_TRUE(test::close_in_norm(dstate, backward.at("dinitial_state"), 1e-10));
    EXPECT_TRUE(test::close_in_norm(dweight, backward.at("dweight"), 1e-10));
    EXPECT_TRUE(test::close_in_norm(dbias, backward.at("dbias"), 1e-10));
  }
}

TEST(CausalConv1dBatch, GivesEverySequenceWhatItGetsAlone) {
  for (const bool reverse : {false, true}) {
    const auto batch = random_conv<float>(21, {3, 0, 129, 1, 64}, {.channels = 30, .width = 4, .reverse = reverse});
    const Tensors<float> forward = cpu_forward(batch), backward = cpu_backward(batch);
    const std::int64_t E = batch.shape.channels;
    for (std::int64_t s = 0; s < batch.sequences(); ++s) {
      const std::int64_t begin = batch.offsets[s], end = batch.offsets[s + 1];
      Conv<float> alone = batch;
      alone.offsets = {0, end - begin};
      alone.x = test::rows_of(batch.x, begin, end, E);
      alone.dy = test::rows_of(batch.dy, begin, end, E);
      alone.initial_state = test::rows_of(batch.initial_state, s, s + 1, batch.state_size());
      alone.dfinal_state = test::rows_of(batch.dfinal_state, s, s + 1, batch.state_size());
      const Tensors<float> one = cpu_forward(alone), one_back = cpu_backward(alone);
      const auto state = [&](const std::vector<float>& rows) {
        return test::rows_of(rows, s, s + 1, batch.state_size());
      };
      EXPECT_TRUE(test::same_bits(one.at("y"), test::rows_of(forward.at("y"), begin, end, E)));
      EXPECT_TRUE(test::same_bits(one.at("final_state"), state(forward.at("final_state"))));
      EXPECT_TRUE(test::same_bits(one_back.at("dx"), test::rows_of(backward.at("dx"), begin, end, E)));
      EXPECT_TRUE(test::same_bits(one_back.at("dinitial_state"), state(backward.at("dinitial_state"))));
    }
  }
}

TEST(CausalConv1dErrors, RefusesArgumentsThatMakeNoSense) {
  const auto conv = random_conv<float>(51, {4}, {.channels = 3, .width = 4});
  std::vector<float> y(12);
  const auto run = [&](auto&& spoil) {
    CausalConv1dInputs<float> in = conv.inputs();
    CausalConv1dOutputs<float> out{y.data(), nullptr};
    spoil(in, out);
    EXPECT_THROW(cpu::causal_conv1d(in, out, serial_for), std::invalid_argument);
    EXPECT_THROW(reference::causal_conv1d(in, out), std::invalid_argument);
  };
  run([](auto& in, auto&) { in.width = 0; });
  run([](auto& in, auto&) { in.width = 65; });
  run([](auto& in, auto&) { in.channels = 0; });
  run([](auto& in, auto&) { in.weight = nullptr; });
  run([](auto& in, auto&) { in.x = nullptr; });
  run([](auto&, auto& out) { out.y = nullptr; });
  run([](auto& in, auto&) { in.ragged.offsets = nullptr; });
  EXPECT_THROW(cpu::causal_conv1d_backward(conv.inputs(), {.dy = y.data()}, nullptr, serial_for),
               std::invalid_argument);
}

}  // namespace
}  // namespace dnamamba::kernels
