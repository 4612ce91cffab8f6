#include "kernels/add_rms_norm.h"

#include <limits>
#include <ostream>
#include <stdexcept>

#include "tests/kernels/parallel.h"

namespace dnamamba::kernels {
namespace {

using test::Tensors;

struct Shape {
  std::int64_t rows, columns;
  bool layer_norm = false, residual = true, bias = true, residual_gradient = true;
};
std::ostream& operator<<(std::ostream& out, const Shape& shape) {
  return out << shape.rows << " x " << shape.columns << (shape.layer_norm ? ", layer norm" : ", RMS norm")
             << (shape.residual ? ", residual" : "") << (shape.bias ? ", bias" : "");
}

template <typename T>
struct Norm {
  Shape shape;
  std::vector<T> x, residual, weight, bias, dy, dresidual_out;

  [[nodiscard]] AddRmsNormInputs<T> inputs() const {
    return {.rows = shape.rows,
            .columns = shape.columns,
            .x = x.data(),
            .residual = test::pointer_or_null(residual),
            .weight = weight.data(),
            .bias = test::pointer_or_null(bias),
            .epsilon = 1e-5,
            .layer_norm = shape.layer_norm};
  }
};

template <typename T>
Norm<T> random_norm(std::uint64_t seed, Shape shape) {
  test::Random random(seed);
  Norm<T> norm;
  norm.shape = shape;
  const std::int64_t size = shape.rows * shape.columns;
  norm.x = random.normal<T>(size, 0.5, 2);
  if (shape.residual) norm.residual = random.normal<T>(size);
  norm.weight = random.normal<T>(shape.columns, 1, 0.3);
  if (shape.bias) norm.bias = random.normal<T>(shape.columns);
  norm.dy = random.normal<T>(size);
  if (shape.residual_gradient) norm.dresidual_out = random.normal<T>(size);
  return norm;
}

template <typename T, typename Function>
Tensors<T> forward_by(const Norm<T>& norm, Function&& function) {
  const T nan = std::numeric_limits<T>::quiet_NaN();
  Tensors<T> out;
  out["y"].assign(norm.x.size(), nan);
  out["r"].assign(norm.x.size(), nan);
  function(norm.inputs(), AddRmsNormOutputs<T>{out["y"].data(), out["r"].data()});
  return out;
}
template <typename T, typename Function>
Tensors<T> backward_by(const Norm<T>& norm, const std::vector<T>& r, Function&& function) {
  const T nan = std::numeric_limits<T>::quiet_NaN();
  Tensors<T> out;
  out["dx"].assign(norm.x.size(), nan);
  out["dresidual"].assign(norm.residual.size(), nan);
  out["dweight"].assign(norm.weight.size(), nan);
  out["dbias"].assign(norm.bias.size(), nan);
  AddRmsNormInputs<T> in = norm.inputs();
  in.x = in.residual = nullptr;
  function(in, AddRmsNormGradients<T>{.r = r.data(),
                                      .dy = norm.dy.data(),
                                      .dresidual_out = test::pointer_or_null(norm.dresidual_out),
                                      .dx = out["dx"].data(),
                                      .dresidual = test::pointer_or_null(out["dresidual"]),
                                      .dweight = out["dweight"].data(),
                                      .dbias = test::pointer_or_null(out["dbias"])});
  return out;
}

template <typename T>
Tensors<T> reference_forward(const Norm<T>& norm) {
  return forward_by(norm, [](const auto& in, const auto& out) { reference::add_rms_norm(in, out); });
}
template <typename T>
Tensors<T> cpu_forward(const Norm<T>& norm, const ParallelFor& parallel = serial_for) {
  return forward_by(norm, [&](const auto& in, const auto& out) { cpu::add_rms_norm(in, out, parallel); });
}
template <typename T>
Tensors<T> reference_backward(const Norm<T>& norm) {
  return backward_by(norm, reference_forward(norm).at("r"),
                     [](const auto& in, const auto& out) { reference::add_rms_norm_backward(in, out); });
}
template <typename T>
Tensors<T> cpu_backward(const Norm<T>& norm, const ParallelFor& parallel = serial_for) {
  return backward_by(norm, reference_forward(norm).at("r"), [&](const auto& in, const auto& out) {
    test::Garbage workspace(cpu::add_rms_norm_backward_workspace(in));
    cpu::add_rms_norm_backward(in, out, workspace.get(), parallel);
  });
}

class AddRmsNorm : public ::testing::TestWithParam<Shape> {};

TEST_P(AddRmsNorm, MatchesTheReferenceInFloat) {
  const auto norm = random_norm<float>(7, GetParam());
  test::expect_close(cpu_forward(norm), reference_forward(norm), 1e-5);
  test::expect_close(cpu_backward(norm), reference_backward(norm), 1e-5);
}
TEST_P(AddRmsNorm, MatchesTheReferenceInDouble) {
  const auto norm = random_norm<double>(7, GetParam());
  test::expect_close(cpu_forward(norm), reference_forward(norm), 1e-10);
  test::expect_close(cpu_backward(norm), reference_backward(norm), 1e-10);
}
TEST_P(AddRmsNorm, GivesTheSameBitsForAnyThreads) {
  const auto norm = random_norm<float>(7, GetParam());
  for (const ParallelFor& parallel : {ParallelFor(test::one_by_one_reversed), ParallelFor(test::three_threads)}) {
    test::expect_same_bits(cpu_forward(norm, parallel), cpu_forward(norm));
    test::expect_same_bits(cpu_backward(norm, parallel), cpu_backward(norm));
  }
}

INSTANTIATE_TEST_SUITE_P(Shapes, AddRmsNorm,
                         ::testing::Values(Shape{3, 1}, Shape{700, 30}, Shape{300, 118, true}, Shape{257, 236},
                                           Shape{20, 512, true, false}, Shape{20, 512, false, true, false},
                                           Shape{20, 30, true, true, true, false}, Shape{0, 30}));

TEST(AddRmsNormGradient, AgreesWithFiniteDifferences) {
  for (const bool layer_norm : {false, true}) {
    auto norm = random_norm<double>(3, {.rows = 3, .columns = 11, .layer_norm = layer_norm});
    for (const bool on_cpu : {false, true}) {
      const Tensors<double> gradients = on_cpu ? cpu_backward(norm) : reference_backward(norm);
      const auto loss = [&] {
        const Tensors<double> out = on_cpu ? cpu_forward(norm) : reference_forward(norm);
        return test::dot(norm.dy, out.at("y")) + test::dot(norm.dresidual_out, out.at("r"));
      };
      test::expect_gradient(norm.x, gradients.at("dx"), loss, "x");
      test::expect_gradient(norm.residual, gradients.at("dresidual"), loss, "residual");
      test::expect_gradient(norm.weight, gradients.at("dweight"), loss, "weight");
      test::expect_gradient(norm.bias, gradients.at("dbias"), loss, "bias");
    }
  }
}

TEST(AddRmsNormRows, GetWhatTheyGetAlone) {
  const auto norm = random_norm<float>(9, {.rows = 300, .columns = 118});
  const Tensors<float> together = cpu_forward(norm);
  for (const std::int64_t row : {0, 17, 256, 299}) {
    Norm<float> alone = norm;
    alone.shape.rows = 1;
    alone.x = test::rows_of(norm.x, row, row + 1, 118);
    alone.residual = test::rows_of(norm.residual, row, row + 1, 118);
    EXPECT_TRUE(test::same_bits(cpu_forward(alone).at("y"), test::rows_of(together.at("y"), row, row + 1, 118)));
  }
}

TEST(AddRmsNormMemory, TheSumMayReplaceAnInput) {
  auto norm = random_norm<float>(9, {.rows = 5, .columns = 30});
  const Tensors<float> expected = cpu_forward(norm);
  for (std::vector<float> Norm<float>::*replaced : {&Norm<float>::x, &Norm<float>::residual}) {
    Norm<float> copy = norm;
    std::vector<float> y(copy.x.size());
    cpu::add_rms_norm(copy.inputs(), {y.data(), (copy.*replaced).data()}, serial_for);
    EXPECT_TRUE(test::same_bits(y, expected.at("y")));
    EXPECT_TRUE(test::same_bits(copy.*replaced, expected.at("r")));
  }
  std::vector<float> y(norm.x.size());
  cpu::add_rms_norm(norm.inputs(), {y.data(), nullptr}, serial_for);
  EXPECT_TRUE(test::same_bits(y, expected.at("y")));
}

TEST(AddRmsNormErrors, RefusesArgumentsThatMakeNoSense) {
  const auto norm = random_norm<float>(51, {.rows = 2, .columns = 3});
  std::vector<float> y(6);
  const auto run = [&](auto&& spoil) {
    AddRmsNormInputs<float> in = norm.inputs();
    AddRmsNormOutputs<float> out{y.data(), nullptr};
    spoil(in, out);
    EXPECT_THROW(cpu::add_rms_norm(in, out, serial_for), std::invalid_argument);
    EXPECT_THROW(reference::add_rms_norm(in, out), std::invalid_argument);
  };
  run([](auto& in, auto&) { in.rows = -1; });
  run([](auto& in, auto&) { in.columns = 0; });
  run([](auto& in, auto&) { in.x = nullptr; });
  run([](auto& in, auto&) { in.weight = nullptr; });
  run([](auto&, auto& out) { out.y = nullptr; });
  const AddRmsNormGradients<float> gradients{.dy = y.data(), .dx = y.data()};
  EXPECT_THROW(reference::add_rms_norm_backward(norm.inputs(), gradients), std::invalid_argument);  // without r
}

}  // namespace
}  // namespace dnamamba::kernels
