// Row after row, group after group. dweight: sums of 256 rows in T, then of those in double.
#include "kernels/gated_rms_norm.h"

#include <algorithm>
#include <cmath>

#include "kernels/arguments.h"
#include "kernels/cpu/partial_sums.h"
#include "kernels/cpu/partition.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/gated_rms_norm.cpp"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
// After foreach_target:
#include "hwy/highway.h"
#include "kernels/cpu/dispatch.h"
#include "kernels/cpu/vectors-inl.h"

HWY_BEFORE_NAMESPACE();
namespace dnamamba::kernels::cpu::HWY_NAMESPACE {
namespace {

/// One group of one row.
struct Group {
  std::int64_t at;      ///< of its first channel in [T, W]
  std::int64_t column;  ///< the same in [W]
  std::int64_t size;
};

/// Calls body(first channel of a vector, channels left) for every vector of a group.
template <class D, class Body>
HWY_INLINE void for_each_vector(D d, const Group& group, Body&& body) {
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  for (std::int64_t i = 0; i < group.size; i += lanes) body(i, group.size - i);
}

template <class D, typename T = hn::TFromD<D>>
HWY_INLINE T mean_of(D d, hn::Vec<D> sums, const Group& group) {
  return hn::GetLane(hn::SumOfLanes(d, sums)) / static_cast<T>(group.size);
}

template <class D, typename T = hn::TFromD<D>>
HWY_INLINE void forward_group(D d, const GatedRmsNormInputs<T>& in, T* y, const Group& group) {
  auto squares = hn::Zero(d);
  for_each_vector(d, group, [&](std::int64_t i, std::int64_t left) HWY_ATTR {
    auto u = load_part(d, in.x + group.at + i, left);  // 0 beyond the last channel
    if (!in.norm_before_gate) {
      u = hn::Mul(u, silu(d, load_part(d, in.z + group.at + i, left)));
      store_part(d, u, y + group.at + i, left);
    }
    squares = hn::MulAdd(u, u, squares);
  });
  const auto scale = hn::Set(d, 1 / std::sqrt(mean_of(d, squares, group) + static_cast<T>(in.epsilon)));
  const T* const normalised = in.norm_before_gate ? in.x : y;
  for_each_vector(d, group, [&](std::int64_t i, std::int64_t left) HWY_ATTR {
    const auto u = load_part(d, normalised + group.at + i, left);
    auto v = hn::Mul(hn::Mul(u, scale), load_part(d, in.weight + group.column + i, left));
    if (in.norm_before_gate) v = hn::Mul(v, silu(d, load_part(d, in.z + group.at + i, left)));
    store_part(d, v, y + group.at + i, left);
  });
}

/// What is known of a vector of channels once sigmoid(z) is: `u` is normalised, `dy` is the gradient of u / rms *
/// weight.
template <class D>
struct Channels {
  hn::Vec<D> x, z, weight, gate, u, dy;
};
template <class D, typename T = hn::TFromD<D>>
HWY_INLINE Channels<D> channels(D d, const GatedRmsNormInputs<T>& in, const T* dy, const Group& group, std::int64_t i,
                                std::int64_t left, hn::Vec<D> z, hn::Vec<D> sigmoid_of_z) {
  Channels<D> c;
  c.x = load_part(d, in.x + group.at + i, left);
  c.z = z;
  c.weight = load_part(d, in.weight + group.column + i, left);
  c.gate = hn::Mul(z, sigmoid_of_z);
  c.dy = load_part(d, dy + group.at + i, left);
  c.u = in.norm_before_gate ? c.x : hn::Mul(c.x, c.gate);
  if (in.norm_before_gate) c.dy = hn::Mul(c.dy, c.gate);
  return c;
}

/// dweight: sums of the block of rows, [W].
template <class D, typename T = hn::TFromD<D>>
HWY_INLINE void backward_group(D d, const GatedRmsNormInputs<T>& in, const GatedRmsNormGradients<T>& out,
                               const Group& group, T* dweight) {
  auto squares = hn::Zero(d), sum_gu = hn::Zero(d);  // g: the gradient of what is normalised
  for_each_vector(d, group, [&](std::int64_t i, std::int64_t left) HWY_ATTR {
    const auto z = load_part(d, in.z + group.at + i, left);
    const auto s = sigmoid(d, z);
    const Channels<D> c = channels(d, in, out.dy, group, i, left, z, s);
    squares = hn::MulAdd(c.u, c.u, squares);
    sum_gu = hn::MulAdd(hn::Mul(c.dy, c.weight), c.u, sum_gu);
    store_part(d, s, out.dz + group.at + i, left);  // kept for below
  });
  const T rms = 1 / std::sqrt(mean_of(d, squares, group) + static_cast<T>(in.epsilon));
  const auto scale = hn::Set(d, rms), mean_gn = hn::Set(d, rms * mean_of(d, sum_gu, group));
  for_each_vector(d, group, [&](std::int64_t i, std::int64_t left) HWY_ATTR {
    const auto z = load_part(d, in.z + group.at + i, left);
    const auto s = load_part(d, out.dz + group.at + i, left);
    const Channels<D> c = channels(d, in, out.dy, group, i, left, z, s);
    const auto n = hn::Mul(c.u, scale);
    const auto du = hn::Mul(hn::NegMulAdd(n, mean_gn, hn::Mul(c.dy, c.weight)), scale);
    T* const sums = dweight + group.column + i;
    store_part(d, hn::MulAdd(c.dy, n, load_part(d, sums, left)), sums, left);
    const auto dgate = in.norm_before_gate ? hn::Mul(hn::Mul(load_part(d, out.dy + group.at + i, left), n), c.weight)
                                           : hn::Mul(du, c.x);
    store_part(d, in.norm_before_gate ? du : hn::Mul(du, c.gate), out.dx + group.at + i, left);
    store_part(d, hn::Mul(dgate, silu_slope_from(d, z, s)), out.dz + group.at + i, left);
  });
}

template <typename T, class Body>
void for_each_group(const GatedRmsNormInputs<T>& in, std::int64_t first, std::int64_t last, Body&& body) {
  const std::int64_t size = in.columns / in.groups;
  for (std::int64_t t = first; t < last; ++t) {
    for (std::int64_t column = 0; column < in.columns; column += size) {
      body(Group{t * in.columns + column, column, size});
    }
  }
}

template <typename T>
void forward_rows(const GatedRmsNormInputs<T>& in, T* y, std::int64_t first, std::int64_t last) {
  const hn::ScalableTag<T> d;
  for_each_group(in, first, last, [&](const Group& group) HWY_ATTR { forward_group(d, in, y, group); });
}
template <typename T>
void backward_rows(const GatedRmsNormInputs<T>& in, const GatedRmsNormGradients<T>& out, std::int64_t first,
                   std::int64_t last, T* dweight) {
  const hn::ScalableTag<T> d;
  std::fill_n(dweight, in.columns, T{0});
  for_each_group(in, first, last, [&](const Group& group) HWY_ATTR { backward_group(d, in, out, group, dweight); });
}

void forward_float(const GatedRmsNormInputs<float>& in, float* y, std::int64_t first, std::int64_t last) {
  forward_rows(in, y, first, last);
}
void forward_double(const GatedRmsNormInputs<double>& in, double* y, std::int64_t first, std::int64_t last) {
  forward_rows(in, y, first, last);
}
void backward_float(const GatedRmsNormInputs<float>& in, const GatedRmsNormGradients<float>& out, std::int64_t first,
                    std::int64_t last, float* dweight) {
  backward_rows(in, out, first, last, dweight);
}
void backward_double(const GatedRmsNormInputs<double>& in, const GatedRmsNormGradients<double>& out, std::int64_t first,
                     std::int64_t last, double* dweight) {
  backward_rows(in, out, first, last, dweight);
}

}  // namespace
}  // namespace dnamamba::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace dnamamba::kernels::cpu {
namespace {

DNAMAMBA_DISPATCH(forward);
DNAMAMBA_DISPATCH(backward);

constexpr std::int64_t kRows = 256;  // of a task, and of a partial sum

}  // namespace

template <typename T>
void gated_rms_norm(const GatedRmsNormInputs<T>& in, T* y, const ParallelFor& parallel) {
  check(in, y);
  const auto run = forward_for(T{});
  parallel(ceil_div(in.rows, kRows),
           [&](std::int64_t first, std::int64_t last) { run(in, y, first * kRows, std::min(last * kRows, in.rows)); });
}

template <typename T>
std::int64_t gated_rms_norm_backward_workspace(const GatedRmsNormInputs<T>& in) {
  check_rows(in);
  Workspace counted(nullptr);
  counted.take<T>(ceil_div(in.rows, kRows) * in.columns);
  return counted.bytes();
}

template <typename T>
void gated_rms_norm_backward(const GatedRmsNormInputs<T>& in, const GatedRmsNormGradients<T>& gradients,
                             void* workspace, const ParallelFor& parallel) {
  check(in, gradients);
  require(workspace != nullptr || in.rows == 0, "gated_rms_norm: the backward pass has no workspace");
  const std::int64_t blocks = ceil_div(in.rows, kRows);
  T* const partial = Workspace(workspace).take<T>(blocks * in.columns);  // [blocks, W] dweight
  const auto run = backward_for(T{});
  parallel(blocks, [&](std::int64_t first, std::int64_t last) {
    for (std::int64_t block = first; block < last; ++block) {
      run(in, gradients, block * kRows, std::min((block + 1) * kRows, in.rows), partial + block * in.columns);
    }
  });
  sum_parts<double>(partial, blocks, in.columns, gradients.dweight, parallel);
}

#define DNAMAMBA_INSTANTIATE(T)                                                                               \
  template void gated_rms_norm(const GatedRmsNormInputs<T>&, T*, const ParallelFor&);                         \
  template std::int64_t gated_rms_norm_backward_workspace(const GatedRmsNormInputs<T>&);                      \
  template void gated_rms_norm_backward(const GatedRmsNormInputs<T>&, const GatedRmsNormGradients<T>&, void*, \
                                        const ParallelFor&);
DNAMAMBA_INSTANTIATE(float)
DNAMAMBA_INSTANTIATE(double)
#undef DNAMAMBA_INSTANTIATE

}  // namespace dnamamba::kernels::cpu
#endif  // HWY_ONCE
