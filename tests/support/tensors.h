// Random tensors, and how far two tensors are apart. For tests that link LibTorch.
#pragma once
#include <ATen/CPUGeneratorImpl.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>

#include <algorithm>
#include <cstdint>
#include <limits>
#include <random>
#include <vector>

namespace dnamamba::test {

/// Everything random of one test, from one seed.
class RandomTensors {
 public:
  explicit RandomTensors(std::uint64_t seed) : engine_(seed), generator_(at::detail::createCPUGenerator(seed)) {}

  /// N(0, scale), drawn in double whatever the type: the same numbers in fp32 and fp64.
  at::Tensor normal(at::IntArrayRef shape, at::ScalarType dtype = at::kDouble, double scale = 1) {
    return at::empty(shape, at::kDouble).normal_(0, scale, generator_).to(dtype);
  }
  /// uint8 ids below `vocabulary`.
  at::Tensor ids(std::int64_t count, std::int64_t vocabulary) {
    return at::empty({count}, at::kByte).random_(0, vocabulary, generator_);
  }
  /// Both ends included.
  std::int64_t between(std::int64_t low, std::int64_t high) {
    return std::uniform_int_distribution<std::int64_t>(low, high)(engine_);
  }
  bool coin() { return between(0, 1) == 1; }

  /// Ends of `pieces` pieces of `length` tokens, not falling, the last one `length`: pieces of 0 and 1 are common.
  std::vector<std::int64_t> cuts(std::int64_t length, std::int64_t pieces) {
    std::vector<std::int64_t> ends(static_cast<std::size_t>(pieces), length);
    for (std::int64_t p = 0; p + 1 < pieces; ++p) {
      const std::int64_t near = p == 0 ? 0 : ends[p - 1];
      ends[p] = between(0, 2) == 0 ? between(0, length) : std::min(length, near + between(0, 4));
    }
    std::sort(ends.begin(), ends.end());
    return ends;
  }

 private:
  std::mt19937_64 engine_;
  at::Generator generator_;
};

/// ‖a − b‖ / ‖b‖ over all values; infinite if the shapes differ; a NaN stays one and passes no comparison.
inline double relative_error(const at::Tensor& a, const at::Tensor& b) {
  if (!a.defined() || !b.defined() || a.sizes() != b.sizes()) return std::numeric_limits<double>::infinity();
  const double difference = a.detach().to(at::kDouble).sub(b.detach().to(at::kDouble)).norm().item<double>();
  if (difference == 0) return 0;
  return difference / b.detach().to(at::kDouble).norm().item<double>();
}

/// What "the same answer" means in a type: rounding in another order, and no more.
inline double tolerance(at::ScalarType dtype) {
  return dtype == at::kDouble ? 1e-10 : 1e-5;
}

}  // namespace dnamamba::test
