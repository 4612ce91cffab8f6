#include "kernels/ssd.h"

#include <limits>
#include <ostream>
#include <stdexcept>

#include "tests/kernels/parallel.h"

namespace dnamamba::kernels {
namespace {

using test::Tensors;

struct Shape {
  std::int64_t heads, head_dim, groups, states;
  bool reverse = false;
};
std::ostream& operator<<(std::ostream& out, const Shape& shape) {
  return out << shape.heads << " heads of " << shape.head_dim << " in " << shape.groups << " groups, " << shape.states
             << " states" << (shape.reverse ? ", reverse" : "");
}

/// Which of the optional pointers are given.
struct Optional {
  bool skip = true, skip_per_channel = false, bias = true, initial_state = true, final_state = true;
};

/// Tensors by name, in a map for each leading dimension, so that rows and sequences can be picked out of all at once.
template <typename T>
struct Ssd {
  Shape shape;
  std::vector<std::int64_t> offsets;
  Tensors<T> rows;        ///< [T, …] x, dt, B, C, dy
  Tensors<T> states;      ///< [S, H, P, N] initial_state, dfinal_state
  Tensors<T> parameters;  ///< A, D, bias
  bool D_per_channel = false, want_final_state = true;
  double dt_min = 0, dt_max = std::numeric_limits<double>::infinity();

  [[nodiscard]] std::int64_t sequences() const { return static_cast<std::int64_t>(offsets.size()) - 1; }
  [[nodiscard]] std::int64_t tokens() const { return offsets.back(); }
  [[nodiscard]] std::int64_t state_size() const { return shape.heads * shape.head_dim * shape.states; }
  /// Values a token has in x, dt, B, C, dy, y or a gradient of one of them; 0 for anything else.
  [[nodiscard]] std::int64_t width(const std::string& name) const {
    if (name == "x" || name == "y" || name == "dy" || name == "dx") return shape.heads * shape.head_dim;
    if (name == "dt" || name == "ddt") return shape.heads;
    return name == "B" || name == "C" || name == "dB" || name == "dC" ? shape.groups * shape.states : 0;
  }

  [[nodiscard]] SsdInputs<T> inputs() const {
    using test::pointer_or_null;
    return {.ragged = {offsets.data(), sequences()},
            .heads = shape.heads,
            .head_dim = shape.head_dim,
            .groups = shape.groups,
            .states = shape.states,
            .x = rows.at("x").data(),
            .dt = rows.at("dt").data(),
            .A = parameters.at("A").data(),
            .B = rows.at("B").data(),
            .C = rows.at("C").data(),
            .D = pointer_or_null(parameters.at("D")),
            .D_per_channel = D_per_channel,
            .dt_bias = pointer_or_null(parameters.at("bias")),
            .dt_min = dt_min,
            .dt_max = dt_max,
            .initial_state = pointer_or_null(states.at("initial_state")),
            .reverse = shape.reverse};
  }
};

template <typename T>
Ssd<T> random_ssd(std::uint64_t seed, std::vector<std::int64_t> lengths, Shape shape, Optional optional = {}) {
  test::Random random(seed);
  Ssd<T> ssd;
  ssd.shape = shape;
  ssd.offsets = random.offsets(std::move(lengths));
  ssd.D_per_channel = optional.skip_per_channel;
  ssd.want_final_state = optional.final_state;
  for (const char* name : {"x", "B", "C", "dy"}) ssd.rows[name] = random.normal<T>(ssd.tokens() * ssd.width(name));
  ssd.rows["dt"] = random.normal<T>(ssd.tokens() * shape.heads, optional.bias ? 0 : -2, 1.5);
  ssd.parameters["A"] = random.normal<T>(shape.heads);
  for (T& a : ssd.parameters["A"]) a = -std::exp(a);
  const auto maybe = [&](bool there, std::int64_t count, double mean = 0) {
    return there ? random.normal<T>(count, mean) : std::vector<T>{};
  };
  ssd.parameters["D"] = maybe(optional.skip, shape.heads * (optional.skip_per_channel ? shape.head_dim : 1));
  ssd.parameters["bias"] = maybe(optional.bias, shape.heads, -2);
  ssd.states["initial_state"] = maybe(optional.initial_state, ssd.sequences() * ssd.state_size());
  ssd.states["dfinal_state"] = maybe(optional.final_state, ssd.sequences() * ssd.state_size());
  return ssd;
}

/// Runs `function(inputs, outputs)` on memory full of NaN.
template <typename T, typename Function>
Tensors<T> forward_by(const Ssd<T>& ssd, Function&& function) {
  const T nan = std::numeric_limits<T>::quiet_NaN();
  Tensors<T> out;
  out["y"].assign(ssd.rows.at("x").size(), nan);
  if (ssd.want_final_state) out["final_state"].assign(ssd.sequences() * ssd.state_size(), nan);
  function(ssd.inputs(), SsdOutputs<T>{out["y"].data(), ssd.want_final_state ? out["final_state"].data() : nullptr});
  return out;
}

template <typename T, typename Function>
Tensors<T> backward_by(const Ssd<T>& ssd, Function&& function) {
  const T nan = std::numeric_limits<T>::quiet_NaN();
  Tensors<T> out;
  const auto wanted = [&](const char* name, const std::vector<T>& like) {
    if (like.empty()) return static_cast<T*>(nullptr);
    out[name].assign(like.size(), nan);
    return out[name].data();
  };
  SsdGradients<T> gradients;
  gradients.dy = ssd.rows.at("dy").data();
  gradients.dfinal_state = test::pointer_or_null(ssd.states.at("dfinal_state"));
  gradients.dx = wanted("dx", ssd.rows.at("x"));
  gradients.ddt = wanted("ddt", ssd.rows.at("dt"));
  gradients.dA = wanted("dA", ssd.parameters.at("A"));
  gradients.dB = wanted("dB", ssd.rows.at("B"));
  gradients.dC = wanted("dC", ssd.rows.at("C"));
  gradients.dD = wanted("dD", ssd.parameters.at("D"));
  gradients.ddt_bias = wanted("ddt_bias", ssd.parameters.at("bias"));
  gradients.dinitial_state = wanted("dinitial_state", ssd.states.at("initial_state"));
  function(ssd.inputs(), gradients);
  return out;
}

template <typename T>
Tensors<T> reference_forward(const Ssd<T>& ssd) {
  return forward_by(ssd, [](const auto& in, const auto& out) { reference::ssd(in, out); });
}
template <typename T>
Tensors<T> reference_backward(const Ssd<T>& ssd) {
  return backward_by(ssd, [](const auto& in, const auto& out) { reference::ssd_backward(in, out); });
}
template <typename T>
Tensors<T> cpu_forward(const Ssd<T>& ssd, const ParallelFor& parallel = serial_for) {
  return forward_by(ssd, [&](const auto& in, const auto& out) { cpu::ssd(in, out, parallel); });
}
template <typename T>
Tensors<T> cpu_backward(const Ssd<T>& ssd, const ParallelFor& parallel = serial_for) {
  return backward_by(ssd, [&](const auto& in, const auto& out) {
    test::Garbage workspace(cpu::ssd_backward_workspace(in));
    cpu::ssd_backward(in, out, workspace.get(), parallel);
  });
}

class SsdOfShape : public ::testing::TestWithParam<Shape> {
 protected:
  template <typename T>
  Ssd<T> ssd() const {
    return random_ssd<T>(7, {0, 1, 2, 63, 64, 65, 0}, GetParam());
  }
};

// The reference computes in double and rounds at the end: what is left is the arithmetic of the kernel.
TEST_P(SsdOfShape, MatchesTheReferenceInFloat) {
  const Ssd<float> inputs = ssd<float>();
  test::expect_close(cpu_forward(inputs), reference_forward(inputs), 1e-5);
  test::expect_close(cpu_backward(inputs), reference_backward(inputs), 1e-5);
}
TEST_P(SsdOfShape, MatchesTheReferenceInDouble) {
  const Ssd<double> inputs = ssd<double>();
  test::expect_close(cpu_forward(inputs), reference_forward(inputs), 1e-10);
  test::expect_close(cpu_backward(inputs), reference_backward(inputs), 1e-10);
}

TEST_P(SsdOfShape, GivesTheSameBitsForAnyThreads) {
  const Ssd<float> inputs = ssd<float>();
  const Tensors<float> forward = cpu_forward(inputs), backward = cpu_backward(inputs);
  for (const ParallelFor& parallel : {ParallelFor(test::one_by_one_reversed), ParallelFor(test::three_threads)}) {
    test::expect_same_bits(cpu_forward(inputs, parallel), forward);
    test::expect_same_bits(cpu_backward(inputs, parallel), backward);
  }
}

INSTANTIATE_TEST_SUITE_P(Shapes, SsdOfShape,
                         ::testing::Values(Shape{1, 1, 1, 16}, Shape{3, 7, 1, 1}, Shape{8, 16, 2, 64, true},
                                           Shape{3, 64, 1, 128}, Shape{2, 100, 2, 16, true}, Shape{1, 118, 1, 7},
                                           Shape{8, 1, 1, 5, true}, Shape{1, 33, 1, 200}, Shape{2, 256, 1, 3},
                                           Shape{40, 2, 2, 9}));

// One sequence: the slots of a group are several then, and their sums partial.
TEST(SsdOfOneSequence, MatchesTheReference) {
  for (const Shape& shape : {Shape{8, 64, 1, 16}, Shape{3, 100, 3, 9, true}, Shape{5, 30, 1, 12}}) {
    const auto inputs = random_ssd<float>(8, {130}, shape);
    test::expect_close(cpu_forward(inputs), reference_forward(inputs), 1e-5);
    const Tensors<float> backward = cpu_backward(inputs);
    test::expect_close(backward, reference_backward(inputs), 1e-5);
    test::expect_same_bits(cpu_backward(inputs, test::three_threads), backward);
  }
}

TEST(SsdOptions, AreEachOptionalForTheReferenceToo) {
  for (int bits = 0; bits < 64; ++bits) {
    const bool skip = (bits & 1) != 0;
    const Optional optional{skip, skip && (bits & 2) != 0, (bits & 4) != 0, (bits & 8) != 0, (bits & 16) != 0};
    const auto inputs = random_ssd<double>(11, {5, 70, 0}, {4, 19, 2, 5, (bits & 32) != 0}, optional);
    test::expect_close(cpu_forward(inputs), reference_forward(inputs), 1e-12);
    test::expect_close(cpu_backward(inputs), reference_backward(inputs), 1e-10);
  }
}

TEST(SsdOptions, NoGradientIsWrittenThatIsNotWanted) {
  const auto inputs = random_ssd<float>(12, {80}, {3, 70, 1, 16});
  const Tensors<float> all = cpu_backward(inputs);
  const SsdInputs<float> in = inputs.inputs();
  test::Garbage workspace(cpu::ssd_backward_workspace(in));
  const auto alone = [&](const char* name, float* SsdGradients<float>::*wanted) {
    SsdGradients<float> gradients{.dy = inputs.rows.at("dy").data(),
                                  .dfinal_state = inputs.states.at("dfinal_state").data()};
    std::vector<float> gradient(all.at(name).size());
    gradients.*wanted = gradient.data();
    cpu::ssd_backward(in, gradients, workspace.get(), serial_for);
    EXPECT_TRUE(test::same_bits(gradient, all.at(name))) << name;
  };
  alone("dx", &SsdGradients<float>::dx);
  alone("ddt", &SsdGradients<float>::ddt);
  alone("dB", &SsdGradients<float>::dB);
  alone("dC", &SsdGradients<float>::dC);
  alone("dinitial_state", &SsdGradients<float>::dinitial_state);
}

TEST(SsdLimits, ClampStepSizesAndStopTheirGradientOutside) {
  auto inputs = random_ssd<double>(13, {90, 40}, {4, 20, 2, 6});
  inputs.dt_min = 0.05;
  inputs.dt_max = 0.3;
  test::expect_close(cpu_forward(inputs), reference_forward(inputs), 1e-12);
  const Tensors<double> limited = cpu_backward(inputs);
  test::expect_close(limited, reference_backward(inputs), 1e-10);
  std::int64_t below = 0, inside = 0, above = 0;
  for (std::size_t i = 0; i < limited.at("ddt").size(); ++i) {
    const double dt = std::log1p(std::exp(inputs.rows.at("dt")[i] + inputs.parameters.at("bias")[i % 4]));
    (dt < 0.05 ? below : dt > 0.3 ? above : inside) += 1;
    EXPECT_EQ(limited.at("ddt")[i] == 0, dt < 0.05 || dt > 0.3) << i;
  }
  EXPECT_GT(std::min({below, inside, above}), 50);
}

template <typename Forward, typename Backward>
void expect_gradients(Ssd<double> ssd, Forward&& forward, Backward&& backward) {
  const Tensors<double> gradients = backward(ssd);
  const auto loss = [&] {  // its gradients are what the backward pass computes
    const Tensors<double> out = forward(ssd);
    return test::dot(ssd.rows.at("dy"), out.at("y")) + test::dot(ssd.states.at("dfinal_state"), out.at("final_state"));
  };
  for (const char* name : {"x", "dt", "B", "C"}) {
    test::expect_gradient(ssd.rows.at(name), gradients.at(std::string("d") + name), loss, name);
  }
  test::expect_gradient(ssd.parameters.at("A"), gradients.at("dA"), loss, "A");
  test::expect_gradient(ssd.parameters.at("D"), gradients.at("dD"), loss, "D");
  test::expect_gradient(ssd.parameters.at("bias"), gradients.at("ddt_bias"), loss, "dt_bias");
  test::expect_gradient(ssd.states.at("initial_state"), gradients.at("dinitial_state"), loss, "initial_state");
}

TEST(SsdGradient, OfTheReferenceAgreesWithFiniteDifferences) {
  for (const bool reverse : {false, true}) {
    auto ssd = random_ssd<double>(3, {4, 0, 1, 7}, {4, 2, 2, 3, reverse}, {.skip_per_channel = reverse});
    ssd.dt_min = 0.05;
    ssd.dt_max = 0.5;
    expect_gradients(ssd, reference_forward<double>, reference_backward<double>);
  }
}
TEST(SsdGradient, OfTheCpuAgreesWithFiniteDifferences) {
  expect_gradients(
      random_ssd<double>(5, {3, 0, 1, 68}, {2, 3, 1, 5}), [](const auto& ssd) { return cpu_forward(ssd); },
      [](const auto& ssd) { return cpu_backward(ssd); });
}

/// Tokens [first, last) of one sequence, in the order of reading, with the states given.
template <typename T>
Ssd<T> piece_of(const Ssd<T>& whole, std::int64_t first, std::int64_t last, std::vector<T> initial_state,
                std::vector<T> dfinal_state) {
  Ssd<T> piece = whole;
  const std::int64_t begin = whole.shape.reverse ? whole.tokens() - last : first;
  piece.offsets = {0, last - first};
  for (auto& [name, values] : piece.rows)
    values = test::rows_of(values, begin, begin + last - first, whole.width(name));
  piece.states["initial_state"] = std::move(initial_state);
  piece.states["dfinal_state"] = std::move(dfinal_state);
  return piece;
}

/// Puts what a piece answered where it belongs in the answer of the whole: rows in their place, sums added.
template <typename T>
void collect(const Ssd<T>& whole, std::int64_t first, std::int64_t last, const Tensors<T>& from, Tensors<T>& to) {
  const std::int64_t begin = whole.shape.reverse ? whole.tokens() - last : first;
  for (const auto& [name, values] : from) {
    const std::int64_t width = whole.width(name);
    if (width > 0) {
      to[name].resize(static_cast<std::size_t>(whole.tokens() * width));
      std::copy(values.begin(), values.end(), to[name].begin() + begin * width);
    } else if (name == "final_state" || name == "dinitial_state") {
      to[name] = values;
    } else {
      to[name].resize(values.size());
      for (std::size_t i = 0; i < values.size(); ++i) to[name][i] += values[i];
    }
  }
}

/// Forwards piece after piece with the state handed on, then backwards with its gradient handed back.
template <typename T>
void run_in_pieces(const Ssd<T>& whole, const std::vector<std::int64_t>& cuts, Tensors<T>& forward,
                   Tensors<T>& backward) {
  const std::vector<T>& dfinal_state = whole.states.at("dfinal_state");
  std::vector<std::vector<T>> states{whole.states.at("initial_state")};
  for (std::size_t i = 0; i + 1 < cuts.size(); ++i) {
    collect(whole, cuts[i], cuts[i + 1],
            cpu_forward(piece_of(whole, cuts[i], cuts[i + 1], states.back(), dfinal_state)), forward);
    states.push_back(forward.at("final_state"));
  }
  std::vector<T> dstate = dfinal_state;
  for (std::size_t i = cuts.size() - 1; i-- > 0;) {
    collect(whole, cuts[i], cuts[i + 1], cpu_backward(piece_of(whole, cuts[i], cuts[i + 1], states[i], dstate)),
            backward);
    dstate = backward.at("dinitial_state");
  }
}

std::vector<std::int64_t> random_cuts(std::uint64_t seed, std::int64_t length) {
  test::Random random(seed);
  std::vector<std::int64_t> cuts{0, 0, 1, 3, length};
  for (int i = 0; i < 4; ++i) cuts.push_back(random.whole(0, length));
  std::sort(cuts.begin(), cuts.end());
  return cuts;
}

// A chunk's sums are in another order than the same tokens' in two chunks: what is left is a few roundings.
TEST(SsdCuts, NeverShow) {
  for (const std::uint64_t seed : {1, 2, 3, 4}) {
    const auto whole = random_ssd<double>(seed, {333}, {2, 30, 1, 16, seed % 2 == 0});
    Tensors<double> forward, backward;
    run_in_pieces(whole, random_cuts(seed, 333), forward, backward);
    test::expect_close(forward, cpu_forward(whole), 1e-14);
    test::expect_close(backward, cpu_backward(whole), 1e-10);
  }
}
TEST(SsdCuts, NeverShowInFloat) {
  for (const bool reverse : {false, true}) {
    const auto whole = random_ssd<float>(9, {500}, {3, 118, 1, 17, reverse});
    Tensors<float> forward, backward;
    run_in_pieces(whole, random_cuts(17, 500), forward, backward);
    test::expect_close(forward, cpu_forward(whole), 1e-6);
    test::expect_close(backward, cpu_backward(whole), 1e-5);
  }
}
// Pieces of whole chunks are what the whole is cut into anyway.
TEST(SsdCuts, ChangeNoBitBetweenChunks) {
  const auto whole = random_ssd<float>(9, {500}, {3, 118, 1, 17});
  Tensors<float> forward, backward;
  run_in_pieces(whole, {0, 64, 64, 256, 448, 500}, forward, backward);
  test::expect_same_bits(forward, cpu_forward(whole));
  const Tensors<float> at_once = cpu_backward(whole);
  for (const char* name : {"dx", "ddt", "dB", "dC", "dinitial_state"}) {
    EXPECT_TRUE(test::same_bits(backward.at(name), at_once.at(name))) << name;
  }
}

TEST(SsdBatch, GivesEverySequenceWhatItGetsAlone) {
  for (const bool reverse : {false, true}) {
    const auto batch = random_ssd<float>(21, {3, 0, 129, 1, 64}, {4, 30, 2, 16, reverse});
    const Tensors<float> forward = cpu_forward(batch), backward = cpu_backward(batch);
    for (std::int64_t s = 0; s < batch.sequences(); ++s) {
      const std::int64_t begin = batch.offsets[s], end = batch.offsets[s + 1], state = batch.state_size();
      Ssd<float> alone = batch;
      alone.offsets = {0, end - begin};
      for (auto& [name, values] : alone.rows) values = test::rows_of(values, begin, end, batch.width(name));
      for (auto& [name, values] : alone.states) values = test::rows_of(values, s, s + 1, state);
      const Tensors<float> alone_forward = cpu_forward(alone), alone_backward = cpu_backward(alone);
      EXPECT_TRUE(test::same_bits(alone_forward.at("y"), test::rows_of(forward.at("y"), begin, end, batch.width("y"))));
      EXPECT_TRUE(
          test::same_bits(alone_forward.at("final_state"), test::rows_of(forward.at("final_state"), s, s + 1, state)));
      EXPECT_TRUE(test::same_bits(alone_backward.at("dinitial_state"),
                                  test::rows_of(backward.at("dinitial_state"), s, s + 1, state)));
      if (begin == end) continue;
      for (const char* name : {"dx", "ddt", "dB", "dC"}) {
        EXPECT_TRUE(test::close_in_norm(alone_backward.at(name),
                                        test::rows_of(backward.at(name), begin, end, batch.width(name)), 1e-6))
            << name;
      }
    }
  }
}

// Steps from next to nothing to beyond the range of exp.
TEST(SsdRange, ExtremeStepsMatchTheReference) {
  auto inputs = random_ssd<float>(31, {120}, {5, 30, 1, 16});
  inputs.rows["dt"] = test::Random(32).normal<float>(120 * 5, 0, 25);
  test::expect_close(cpu_forward(inputs), reference_forward(inputs), 1e-5);
  test::expect_close(cpu_backward(inputs), reference_backward(inputs), 1e-5);
}

TEST(SsdRange, ANanStepIsNotHiddenByItsLimits) {
  auto inputs = random_ssd<float>(32, {10}, {2, 3, 1, 4});
  inputs.dt_min = 0.1;
  inputs.dt_max = 0.5;
  inputs.rows["dt"][2 * 4] = std::numeric_limits<float>::quiet_NaN();  // token 4 of head 0
  const Tensors<float> out = cpu_forward(inputs);
  for (std::int64_t t = 0; t < 10; ++t) EXPECT_EQ(std::isnan(out.at("y")[t * 6]), t >= 4) << t;
}

// Factors just below 1 over many tokens: an error of the exponential that is always on one side would add up.
TEST(SsdRange, LongMemoryStaysExactInFloat) {
  auto inputs = random_ssd<float>(33, {20000}, {8, 2, 1, 4});
  for (float& v : inputs.parameters["bias"]) v = -9;
  for (float& v : inputs.rows["dt"]) v *= 0.1F;
  for (float& v : inputs.parameters["A"]) v = -0.5F;
  for (float& v : inputs.rows["B"]) v = std::abs(v);
  test::expect_close(cpu_forward(inputs), reference_forward(inputs), 1e-5);
  test::expect_close(cpu_backward(inputs), reference_backward(inputs), 2e-5);
}

TEST(SsdErrors, RefusesArgumentsThatMakeNoSense) {
  const auto ssd = random_ssd<float>(51, {4}, {2, 3, 1, 2});
  std::vector<float> y(24);
  const auto run = [&](auto&& spoil) {
    SsdInputs<float> in = ssd.inputs();
    SsdOutputs<float> out{y.data(), nullptr};
    spoil(in, out);
    EXPECT_THROW(cpu::ssd(in, out, serial_for), std::invalid_argument);
    EXPECT_THROW(reference::ssd(in, out), std::invalid_argument);
  };
  run([](auto& in, auto&) { in.states = 0; });
  run([](auto& in, auto&) { in.states = 257; });
  run([](auto& in, auto&) { in.heads = 0; });
  run([](auto& in, auto&) { in.head_dim = 0; });
  run([](auto& in, auto&) { in.head_dim = 257; });
  run([](auto& in, auto&) { in.groups = 0; });
  run([](auto& in, auto&) { in.groups = 3; });
  run([](auto& in, auto&) { in.dt_min = -1; });
  run([](auto& in, auto&) { in.dt_min = 2, in.dt_max = 1; });
  run([](auto& in, auto&) { in.dt_max = std::numeric_limits<double>::quiet_NaN(); });
  run([](auto& in, auto&) { in.x = nullptr; });
  run([](auto& in, auto&) { in.A = nullptr; });
  run([](auto& in, auto&) { in.B = nullptr; });
  run([](auto&, auto& out) { out.y = nullptr; });
  const std::int64_t decreasing[] = {0, 5, 4};
  run([&](auto& in, auto&) { in.ragged = {decreasing, 2}; });
  EXPECT_THROW(cpu::ssd_backward(ssd.inputs(), {.dy = y.data()}, nullptr, serial_for), std::invalid_argument);
  EXPECT_THROW(reference::ssd_backward(ssd.inputs(), {}), std::invalid_argument);
  SsdInputs<float> bare = ssd.inputs();
  bare.D = nullptr;
  EXPECT_THROW(reference::ssd_backward(bare, {.dy = y.data(), .dD = y.data()}), std::invalid_argument);
}

}  // namespace
}  // namespace dnamamba::kernels
