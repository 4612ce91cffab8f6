#include "kernels/selective_scan.h"

#include <limits>
#include <ostream>
#include <stdexcept>

#include "tests/kernels/parallel.h"

namespace dnamamba::kernels {
namespace {

using test::Tensors;

/// Which of the optional pointers are given.
struct Optional {
  bool skip = true, gate = true, bias = true, initial_state = true, final_state = true;
};

template <typename T>
struct Scan {
  std::vector<std::int64_t> offsets;
  std::int64_t channels = 0, states = 0;
  bool reverse = false;
  std::vector<T> x, delta, A, B, C, D, z, bias, initial_state;
  std::vector<T> dy, dfinal_state;  // what flows back
  bool want_final_state = true;

  [[nodiscard]] std::int64_t sequences() const { return static_cast<std::int64_t>(offsets.size()) - 1; }
  [[nodiscard]] std::int64_t tokens() const { return offsets.back(); }

  [[nodiscard]] SelectiveScanInputs<T> inputs() const {
    using test::pointer_or_null;
    return {.ragged = {offsets.data(), sequences()},
            .channels = channels,
            .states = states,
            .x = x.data(),
            .delta = delta.data(),
            .A = A.data(),
            .B = B.data(),
            .C = C.data(),
            .D = pointer_or_null(D),
            .z = pointer_or_null(z),
            .delta_bias = pointer_or_null(bias),
            .initial_state = pointer_or_null(initial_state),
            .reverse = reverse};
  }
};

template <typename T>
Scan<T> random_scan(std::uint64_t seed, std::vector<std::int64_t> lengths, std::int64_t channels, std::int64_t states,
                    bool reverse = false, Optional optional = {}) {
  test::Random random(seed);
  Scan<T> scan;
  scan.offsets = random.offsets(std::move(lengths));
  scan.channels = channels;
  scan.states = states;
  scan.reverse = reverse;
  const std::int64_t T_E = scan.tokens() * channels, T_N = scan.tokens() * states;
  const std::int64_t S_E_N = scan.sequences() * channels * states;
  scan.x = random.normal<T>(T_E);
  scan.delta = random.normal<T>(T_E, optional.bias ? 0 : -2, 1.5);
  scan.A = random.normal<T>(channels * states);
  for (T& a : scan.A) a = -std::exp(a);
  scan.B = random.normal<T>(T_N);
  scan.C = random.normal<T>(T_N);
  if (optional.skip) scan.D = random.normal<T>(channels);
  if (optional.gate) scan.z = random.normal<T>(T_E);
  if (optional.bias) scan.bias = random.normal<T>(channels, -2);
  if (optional.initial_state) scan.initial_state = random.normal<T>(S_E_N);
  scan.dy = random.normal<T>(T_E);
  if (optional.final_state) scan.dfinal_state = random.normal<T>(S_E_N);
  scan.want_final_state = optional.final_state;
  return scan;
}

/// Runs `scan_function(inputs, outputs)` on memory full of NaN.
template <typename T, typename Function>
Tensors<T> forward_by(const Scan<T>& scan, Function&& scan_function) {
  const T nan = std::numeric_limits<T>::quiet_NaN();
  Tensors<T> out;
  out["y"].assign(scan.x.size(), nan);
  if (scan.want_final_state) out["final_state"].assign(scan.sequences() * scan.channels * scan.states, nan);
  scan_function(scan.inputs(),
                SelectiveScanOutputs<T>{out["y"].data(), scan.want_final_state ? out["final_state"].data() : nullptr});
  return out;
}

template <typename T, typename Function>
Tensors<T> backward_by(const Scan<T>& scan, Function&& backward_function) {
  const T nan = std::numeric_limits<T>::quiet_NaN();
  Tensors<T> out;
  const auto wanted = [&](const char* name, std::size_t size) {
    if (size == 0) return static_cast<T*>(nullptr);
    out[name].assign(size, nan);
    return out[name].data();
  };
  SelectiveScanGradients<T> gradients;
  gradients.dy = scan.dy.data();
  gradients.dfinal_state = test::pointer_or_null(scan.dfinal_state);
  gradients.dx = wanted("dx", scan.x.size());
  gradients.ddelta = wanted("ddelta", scan.x.size());
  gradients.dA = wanted("dA", scan.A.size());
  gradients.dB = wanted("dB", scan.B.size());
  gradients.dC = wanted("dC", scan.C.size());
  gradients.dD = wanted("dD", scan.D.size());
  gradients.dz = wanted("dz", scan.z.size());
  gradients.ddelta_bias = wanted("ddelta_bias", scan.bias.size());
  gradients.dinitial_state = wanted("dinitial_state", scan.initial_state.size());
  backward_function(scan.inputs(), gradients);
  return out;
}

template <typename T>
Tensors<T> reference_forward(const Scan<T>& scan) {
  return forward_by(scan, [](const auto& in, const auto& out) { reference::selective_scan(in, out); });
}
template <typename T>
Tensors<T> reference_backward(const Scan<T>& scan) {
  return backward_by(scan, [](const auto& in, const auto& out) { reference::selective_scan_backward(in, out); });
}
template <typename T>
Tensors<T> cpu_forward(const Scan<T>& scan, const ParallelFor& parallel = serial_for) {
  return forward_by(scan, [&](const auto& in, const auto& out) { cpu::selective_scan(in, out, parallel); });
}
template <typename T>
Tensors<T> cpu_backward(const Scan<T>& scan, const ParallelFor& parallel = serial_for) {
  return backward_by(scan, [&](const auto& in, const auto& out) {
    test::Garbage workspace(cpu::selective_scan_backward_workspace(in));
    cpu::selective_scan_backward(in, out, workspace.get(), parallel);
  });
}

struct Shape {
  std::int64_t channels, states;
  bool reverse;
};
std::ostream& operator<<(std::ostream& out, const Shape& shape) {
  return out << shape.channels << " channels, " << shape.states << " states" << (shape.reverse ? ", reverse" : "");
}

class SelectiveScan : public ::testing::TestWithParam<Shape> {
 protected:
  template <typename T>
  Scan<T> scan() const {
    const auto [channels, states, reverse] = GetParam();
    return random_scan<T>(7, {0, 1, 2, 63, 64, 65, 150, 0}, channels, states, reverse);
  }
};

// The reference computes in double and rounds at the end: what is left is the arithmetic of the kernel.
TEST_P(SelectiveScan, MatchesTheReferenceInFloat) {
  const Scan<float> inputs = scan<float>();
  test::expect_close(cpu_forward(inputs), reference_forward(inputs), 1e-5);
  test::expect_close(cpu_backward(inputs), reference_backward(inputs), 1e-5);
}
TEST_P(SelectiveScan, MatchesTheReferenceInDouble) {
  const Scan<double> inputs = scan<double>();
  test::expect_close(cpu_forward(inputs), reference_forward(inputs), 1e-10);
  test::expect_close(cpu_backward(inputs), reference_backward(inputs), 1e-10);
}

TEST_P(SelectiveScan, GivesTheSameBitsForAnyThreads) {
  const Scan<float> inputs = scan<float>();
  const Tensors<float> forward = cpu_forward(inputs), backward = cpu_backward(inputs);
  for (const ParallelFor& parallel : {ParallelFor(test::one_by_one_reversed), ParallelFor(test::three_threads)}) {
    test::expect_same_bits(cpu_forward(inputs, parallel), forward);
    test::expect_same_bits(cpu_backward(inputs, parallel), backward);
  }
}

INSTANTIATE_TEST_SUITE_P(Shapes, SelectiveScan,
                         ::testing::Values(Shape{1, 16, false}, Shape{30, 16, true}, Shape{118, 16, false},
                                           Shape{236, 16, true}, Shape{512, 16, false}, Shape{30, 1, false},
                                           Shape{118, 8, true}, Shape{30, 64, false}, Shape{30, 7, true}));

TEST(SelectiveScanOptions, AreEachOptionalForTheReferenceToo) {
  for (int bits = 0; bits < 32; ++bits) {
    const Optional optional{(bits & 1) != 0, (bits & 2) != 0, (bits & 4) != 0, (bits & 8) != 0, (bits & 16) != 0};
    const auto inputs = random_scan<double>(11, {5, 70, 0}, 19, 5, bits % 3 == 0, optional);
    test::expect_close(cpu_forward(inputs), reference_forward(inputs), 1e-12);
    test::expect_close(cpu_backward(inputs), reference_backward(inputs), 1e-10);
  }
}

TEST(SelectiveScanOptions, NoGradientIsWrittenThatIsNotWanted) {
  const auto inputs = random_scan<float>(12, {40, 80}, 70, 16);
  const Tensors<float> all = cpu_backward(inputs);
  std::vector<float> dx(inputs.x.size());
  const SelectiveScanGradients<float> gradients{
      .dy = inputs.dy.data(), .dfinal_state = inputs.dfinal_state.data(), .dx = dx.data()};
  test::Garbage workspace(cpu::selective_scan_backward_workspace(inputs.inputs()));
  cpu::selective_scan_backward(inputs.inputs(), gradients, workspace.get(), serial_for);
  EXPECT_TRUE(test::same_bits(dx, all.at("dx")));
}

/// <dy, y> + <dfinal, final>, whose gradients are what the backward pass computes.
template <typename Forward>
double loss_of(const Scan<double>& scan, Forward&& forward) {
  const Tensors<double> out = forward(scan);
  return test::dot(scan.dy, out.at("y")) + test::dot(scan.dfinal_state, out.at("final_state"));
}

template <typename Forward, typename Backward>
void expect_gradients(Scan<double> scan, Forward&& forward, Backward&& backward) {
  const Tensors<double> gradients = backward(scan);
  const auto loss = [&] { return loss_of(scan, forward); };
  test::expect_gradient(scan.x, gradients.at("dx"), loss, "x");
  test::expect_gradient(scan.delta, gradients.at("ddelta"), loss, "delta");
  test::expect_gradient(scan.A, gradients.at("dA"), loss, "A");
  test::expect_gradient(scan.B, gradients.at("dB"), loss, "B");
  test::expect_gradient(scan.C, gradients.at("dC"), loss, "C");
  test::expect_gradient(scan.D, gradients.at("dD"), loss, "D");
  test::expect_gradient(scan.z, gradients.at("dz"), loss, "z");
  test::expect_gradient(scan.bias, gradients.at("ddelta_bias"), loss, "delta_bias");
  test::expect_gradient(scan.initial_state, gradients.at("dinitial_state"), loss, "initial_state");
}

TEST(SelectiveScanGradient, OfTheReferenceAgreesWithFiniteDifferences) {
  for (const bool reverse : {false, true}) {
    expect_gradients(random_scan<double>(3, {4, 0, 1, 7}, 3, 2, reverse), reference_forward<double>,
                     reference_backward<double>);
  }
}
TEST(SelectiveScanGradient, OfTheCpuAgreesWithFiniteDifferences) {
  for (const bool reverse : {false, true}) {
    expect_gradients(
        random_scan<double>(5, {3, 0, 1, 68}, 3, 5, reverse), [](const auto& scan) { return cpu_forward(scan); },
        [](const auto& scan) { return cpu_backward(scan); });
  }
}

/// Tokens [first, last) of a scan of one sequence, in the order of reading, with the states given.
template <typename T>
Scan<T> piece_of(const Scan<T>& whole, std::int64_t first, std::int64_t last, std::vector<T> initial_state,
                 std::vector<T> dfinal_state) {
  Scan<T> piece = whole;
  const std::int64_t begin = whole.reverse ? whole.tokens() - last : first;
  const std::int64_t end = whole.reverse ? whole.tokens() - first : last;
  piece.offsets = {0, last - first};
  for (auto* tensor : {&piece.x, &piece.delta, &piece.z, &piece.dy}) {
    *tensor = test::rows_of(*tensor, begin, end, whole.channels);
  }
  for (auto* tensor : {&piece.B, &piece.C}) *tensor = test::rows_of(*tensor, begin, end, whole.states);
  piece.initial_state = std::move(initial_state);
  piece.dfinal_state = std::move(dfinal_state);
  return piece;
}

/// Puts the rows of a piece where they belong in the whole.
template <typename T>
void put_rows(const Scan<T>& whole, std::int64_t first, std::int64_t last, const std::vector<T>& rows,
              std::int64_t width, std::vector<T>& to) {
  const std::int64_t begin = whole.reverse ? whole.tokens() - last : first;
  to.resize(static_cast<std::size_t>(whole.tokens() * width));
  std::copy(rows.begin(), rows.end(), to.begin() + begin * width);
}

/// Forwards piece after piece with the state handed on, then backwards with its gradient handed back.
template <typename T>
void run_in_pieces(const Scan<T>& whole, const std::vector<std::int64_t>& cuts, Tensors<T>& forward,
                   Tensors<T>& backward) {
  std::vector<std::vector<T>> states{whole.initial_state};
  for (std::size_t i = 0; i + 1 < cuts.size(); ++i) {
    const Tensors<T> out = cpu_forward(piece_of(whole, cuts[i], cuts[i + 1], states.back(), whole.dfinal_state));
    put_rows(whole, cuts[i], cuts[i + 1], out.at("y"), whole.channels, forward["y"]);
    states.push_back(out.at("final_state"));
  }
  forward["final_state"] = states.back();
  std::vector<T> dstate = whole.dfinal_state;
  for (std::size_t i = cuts.size() - 1; i-- > 0;) {
    const Tensors<T> out = cpu_backward(piece_of(whole, cuts[i], cuts[i + 1], states[i], dstate));
    for (const auto& [name, values] : out) {
      if (name == "dx" || name == "ddelta" || name == "dz") {
        put_rows(whole, cuts[i], cuts[i + 1], values, whole.channels, backward[name]);
      } else if (name == "dB" || name == "dC") {
        put_rows(whole, cuts[i], cuts[i + 1], values, whole.states, backward[name]);
      } else if (name != "dinitial_state") {
        backward[name].resize(values.size());
        for (std::size_t j = 0; j < values.size(); ++j) backward[name][j] += values[j];
      }
    }
    dstate = out.at("dinitial_state");
  }
  backward["dinitial_state"] = dstate;
}

std::vector<std::int64_t> random_cuts(std::uint64_t seed, std::int64_t length) {
  test::Random random(seed);
  std::vector<std::int64_t> cuts{0, 0, 1, 3, length};
  for (int i = 0; i < 4; ++i) cuts.push_back(random.whole(0, length));
  std::sort(cuts.begin(), cuts.end());
  return cuts;
}

TEST(SelectiveScanCuts, NeverShow) {
  for (const std::uint64_t seed : {1, 2, 3, 4, 5, 6}) {
    const bool reverse = seed % 2 == 0;
    const auto cuts = random_cuts(seed, 333);
    const auto whole = random_scan<double>(seed, {333}, 30, 16, reverse);
    Tensors<double> forward, backward;
    run_in_pieces(whole, cuts, forward, backward);
    test::expect_same_bits(forward, cpu_forward(whole));
    test::expect_close(backward, cpu_backward(whole), 1e-10);
  }
}
TEST(SelectiveScanCuts, ChangeNoBitOfFloatValues) {
  const auto whole = random_scan<float>(9, {500}, 118, 16);
  Tensors<float> forward, backward;
  run_in_pieces(whole, random_cuts(17, 500), forward, backward);
  test::expect_same_bits(forward, cpu_forward(whole));
  test::expect_close(backward, cpu_backward(whole), 1e-5);
}

TEST(SelectiveScanBatch, GivesEverySequenceWhatItGetsAlone) {
  for (const bool reverse : {false, true}) {
    const auto batch = random_scan<float>(21, {3, 0, 129, 1, 64}, 30, 16, reverse);
    const Tensors<float> forward = cpu_forward(batch), backward = cpu_backward(batch);
    const std::int64_t E = batch.channels, N = batch.states;
    for (std::int64_t s = 0; s < batch.sequences(); ++s) {
      const std::int64_t begin = batch.offsets[s], end = batch.offsets[s + 1];
      Scan<float> alone = batch;
      alone.offsets = {0, end - begin};
      for (auto* tensor : {&alone.x, &alone.delta, &alone.z, &alone.dy})
        *tensor = test::rows_of(*tensor, begin, end, E);
      for (auto* tensor : {&alone.B, &alone.C}) *tensor = test::rows_of(*tensor, begin, end, N);
      for (auto* tensor : {&alone.initial_state, &alone.dfinal_state})
        *tensor = test::rows_of(*tensor, s, s + 1, E * N);
      const Tensors<float> alone_forward = cpu_forward(alone);
      EXPECT_TRUE(test::same_bits(alone_forward.at("y"), test::rows_of(forward.at("y"), begin, end, E)));
      EXPECT_TRUE(
          test::same_bits(alone_forward.at("final_state"), test::rows_of(forward.at("final_state"), s, s + 1, E * N)));
      if (begin == end) continue;
      const Tensors<float> alone_backward = cpu_backward(alone);
      for (const char* name : {"dx", "ddelta", "dz"}) {
        EXPECT_TRUE(test::same_bits(alone_backward.at(name), test::rows_of(backward.at(name), begin, end, E))) << name;
      }
      for (const char* name : {"dB", "dC"}) {
        EXPECT_TRUE(test::same_bits(alone_backward.at(name), test::rows_of(backward.at(name), begin, end, N))) << name;
      }
    }
  }
}

// Steps from next to nothing to beyond the range of exp, gates far out on both sides.
TEST(SelectiveScanRange, ExtremeStepsAndGatesMatchTheReference) {
  auto inputs = random_scan<float>(31, {120}, 30, 16);
  test::Random random(32);
  inputs.delta = random.normal<float>(120 * 30, 0, 25);
  inputs.z = random.normal<float>(120 * 30, 0, 60);
  test::expect_close(cpu_forward(inputs), reference_forward(inputs), 1e-5);
  test::expect_close(cpu_backward(inputs), reference_backward(inputs), 1e-5);
}

TEST(SelectiveScanRange, ANanStepIsNotHidden) {
  auto inputs = random_scan<float>(32, {10}, 6, 4);
  inputs.delta[4 * 6] = std::numeric_limits<float>::quiet_NaN();  // token 4 of channel 0
  const Tensors<float> out = cpu_forward(inputs);
  for (std::int64_t t = 0; t < 10; ++t) EXPECT_EQ(std::isnan(out.at("y")[t * 6]), t >= 4) << t;
}

// Factors just below 1 over many tokens: an error of the exponential that is always on one side would add up.
TEST(SelectiveScanRange, LongMemoryStaysExactInFloat) {
  auto inputs = random_scan<float>(33, {20000}, 16, 4);
  for (float& v : inputs.bias) v = -9;
  for (float& v : inputs.delta) v *= 0.1F;
  for (float& v : inputs.A) v = -0.5F;
  for (float& v : inputs.B) v = std::abs(v);
  test::expect_close(cpu_forward(inputs), reference_forward(inputs), 1e-5);
  test::expect_close(cpu_backward(inputs), reference_backward(inputs), 2e-5);
}

TEST(SelectiveScanErrors, RefusesArgumentsThatMakeNoSense) {
  auto scan = random_scan<float>(51, {4}, 3, 2);
  std::vector<float> y(12);
  const auto run = [&](auto&& spoil) {
    SelectiveScanInputs<float> in = scan.inputs();
    SelectiveScanOutputs<float> out{y.data(), nullptr};
    spoil(in, out);
    EXPECT_THROW(cpu::selective_scan(in, out, serial_for), std::invalid_argument);
    EXPECT_THROW(reference::selective_scan(in, out), std::invalid_argument);
  };
  run([](auto& in, auto&) { in.states = 0; });
  run([](auto& in, auto&) { in.states = 257; });
  run([](auto& in, auto&) { in.channels = 0; });
  run([](auto& in, auto&) { in.x = nullptr; });
  run([](auto& in, auto&) { in.A = nullptr; });
  run([](auto&, auto& out) { out.y = nullptr; });
  const std::int64_t decreasing[] = {0, 5, 4};
  run([&](auto& in, auto&) { in.ragged = {decreasing, 2}; });
  const std::int64_t beginning_late[] = {1, 4};
  run([&](auto& in, auto&) { in.ragged = {beginning_late, 1}; });
  std::vector<float> gradient(24);
  EXPECT_THROW(cpu::selective_scan_backward(scan.inputs(), {.dy = gradient.data()}, nullptr, serial_for),
               std::invalid_argument);
  EXPECT_THROW(reference::selective_scan_backward(scan.inputs(), {}), std::invalid_argument);
}

}  // namespace
}  // namespace dnamamba::kernels
