#include "kernels/gated_rms_norm.h"

#include <limits>
#include <ostream>
#include <stdexcept>

#include "tests/kernels/parallel.h"

namespace dnamamba::kernels {
namespace {

using test::Tensors;

struct Shape {
  std::int64_t rows, columns, groups = 1;
  bool norm_before_gate = false;
};
std::ostream& operator<<(std::ostream& out, const Shape& shape) {
  return out << shape.rows << " x " << shape.columns << " in " << shape.groups << " groups"
             << (shape.norm_before_gate ? ", norm before gate" : "");
}

template <typename T>
struct Norm {
  Shape shape;
  std::vector<T> x, z, weight, dy;

  [[nodiscard]] GatedRmsNormInputs<T> inputs() const {
    return {.rows = shape.rows,
            .columns = shape.columns,
            .groups = shape.groups,
            .x = x.data(),
            .z = z.data(),
            .weight = weight.data(),
            .epsilon = 0.1,  // large: with one channel, the norm of a value would otherwise hardly depend on it
            .norm_before_gate = shape.norm_before_gate};
  }
};

template <typename T>
Norm<T> random_norm(std::uint64_t seed, Shape shape) {
  test::Random random(seed);
  const std::int64_t size = shape.rows * shape.columns;
  return {shape, random.normal<T>(size, 0.5, 2), random.normal<T>(size, 0, 2), random.normal<T>(shape.columns, 1, 0.3),
          random.normal<T>(size)};
}

template <typename T, typename Function>
Tensors<T> forward_by(const Norm<T>& norm, Function&& function) {
  Tensors<T> out;
  out["y"].assign(norm.x.size(), std::numeric_limits<T>::quiet_NaN());
  function(norm.inputs(), out["y"].data());
  return out;
}
template <typename T, typename Function>
Tensors<T> backward_by(const Norm<T>& norm, Function&& function) {
  const T nan = std::numeric_limits<T>::quiet_NaN();
  Tensors<T> out;
  for (const char* name : {"dx", "dz"}) out[name].assign(norm.x.size(), nan);
  out["dweight"].assign(norm.weight.size(), nan);
  function(norm.inputs(),
           GatedRmsNormGradients<T>{norm.dy.data(), out["dx"].data(), out["dz"].data(), out["dweight"].data()});
  return out;
}

template <typename T>
Tensors<T> reference_forward(const Norm<T>& norm) {
  return forward_by(norm, [](const auto& in, auto* y) { reference::gated_rms_norm(in, y); });
}
template <typename T>
Tensors<T> cpu_forward(const Norm<T>& norm, const ParallelFor& parallel = serial_for) {
  return forward_by(norm, [&](const auto& in, auto* y) { cpu::gated_rms_norm(in, y, parallel); });
}
template <typename T>
Tensors<T> reference_backward(const Norm<T>& norm) {
  return backward_by(norm, [](const auto& in, const auto& out) { reference::gated_rms_norm_backward(in, out); });
}
template <typename T>
Tensors<T> cpu_backward(const Norm<T>& norm, const ParallelFor& parallel = serial_for) {
  return backward_by(norm, [&](const auto& in, const auto& out) {
    test::Garbage workspace(cpu::gated_rms_norm_backward_workspace(in));
    cpu::gated_rms_norm_backward(in, out, workspace.get(), parallel);
  });
}

class GatedRmsNorm : public ::testing::TestWithParam<Shape> {};

TEST_P(GatedRmsNorm, MatchesTheReferenceInFloat) {
  const auto norm = random_norm<float>(7, GetParam());
  test::expect_close(cpu_forward(norm), reference_forward(norm), 1e-5);
  test::expect_close(cpu_backward(norm), reference_backward(norm), 1e-5);
}
TEST_P(GatedRmsNorm, MatchesTheReferenceInDouble) {
  const auto norm = random_norm<double>(7, GetParam());
  test::expect_close(cpu_forward(norm), reference_forward(norm), 1e-10);
  test::expect_close(cpu_backward(norm), reference_backward(norm), 1e-10);
}
TEST_P(GatedRmsNorm, GivesTheSameBitsForAnyThreads) {
  const auto norm = random_norm<float>(7, GetParam());
  for (const ParallelFor& parallel : {ParallelFor(test::one_by_one_reversed), ParallelFor(test::three_threads)}) {
    test::expect_same_bits(cpu_forward(norm, parallel), cpu_forward(norm));
    test::expect_same_bits(cpu_backward(norm, parallel), cpu_backward(norm));
  }
}

INSTANTIATE_TEST_SUITE_P(Shapes, GatedRmsNorm,
                         ::testing::Values(Shape{3, 1}, Shape{700, 30, 3}, Shape{300, 118, 2, true},
                                           Shape{257, 236, 1, true}, Shape{20, 512, 8}, Shape{20, 512, 1, true},
                                           Shape{0, 30}));

TEST(GatedRmsNormGradient, AgreesWithFiniteDifferences) {
  for (const bool norm_before_gate : {false, true}) {
    auto norm = random_norm<double>(3, {3, 12, 2, norm_before_gate});
    for (const bool on_cpu : {false, true}) {
      const Tensors<double> gradients = on_cpu ? cpu_backward(norm) : reference_backward(norm);
      const auto loss = [&] {
        return test::dot(norm.dy, (on_cpu ? cpu_forward(norm) : reference_forward(norm)).at("y"));
      };
      test::expect_gradient(norm.x, gradients.at("dx"), loss, "x");
      test::expect_gradient(norm.z, gradients.at("dz"), loss, "z");
      test::expect_gradient(norm.weight, gradients.at("dweight"), loss, "weight");
    }
  }
}

TEST(GatedRmsNormRows, GetWhatTheyGetAlone) {
  const auto norm = random_norm<float>(9, {300, 118, 2});
  const Tensors<float> together = cpu_forward(norm);
  for (const std::int64_t row : {0, 17, 256, 299}) {
    Norm<float> alone = norm;
    alone.shape.rows = 1;
    alone.x = test::rows_of(norm.x, row, row + 1, 118);
    alone.z = test::rows_of(norm.z, row, row + 1, 118);
    EXPECT_TRUE(test::same_bits(cpu_forward(alone).at("y"), test::rows_of(together.at("y"), row, row + 1, 118)));
  }
}

TEST(GatedRmsNormErrors, RefusesArgumentsThatMakeNoSense) {
  const auto norm = random_norm<float>(51, {2, 4});
  std::vector<float> y(8);
  const auto run = [&](auto&& spoil) {
    GatedRmsNormInputs<float> in = norm.inputs();
    float* to = y.data();
    spoil(in, to);
    EXPECT_THROW(cpu::gated_rms_norm(in, to, serial_for), std::invalid_argument);
    EXPECT_THROW(reference::gated_rms_norm(in, to), std::invalid_argument);
  };
  run([](auto& in, auto&) { in.rows = -1; });
  run([](auto& in, auto&) { in.columns = 0; });
  run([](auto& in, auto&) { in.groups = 3; });
  run([](auto& in, auto&) { in.epsilon = -1; });
  run([](auto& in, auto&) { in.x = nullptr; });
  run([](auto& in, auto&) { in.z = nullptr; });
  run([](auto& in, auto&) { in.weight = nullptr; });
  run([](auto&, auto& to) { to = nullptr; });
  EXPECT_THROW(reference::gated_rms_norm_backward(norm.inputs(), {.dy = y.data(), .dx = y.data()}),
               std::invalid_argument);
  EXPECT_THROW(cpu::gated_rms_norm_backward(norm.inputs(), {.dy = y.data(), .dx = y.data(), .dz = y.data()}, nullptr,
                                            serial_for),
               std::invalid_argument);
}

}  // namespace
}  // namespace dnamamba::kernels
