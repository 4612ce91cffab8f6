// Row after row; the sums of a row are kept in several lanes. Sums over rows: of 256 rows in T, then of those in
// double.
#include "kernels/add_rms_norm.h"

#include <algorithm>
#include <cmath>

#include "kernels/arguments.h"
#include "kernels/cpu/partial_sums.h"
#include "kernels/cpu/partition.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/add_rms_norm.cpp"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
// After foreach_target:
#include "hwy/highway.h"
#include "kernels/cpu/dispatch.h"
#include "kernels/cpu/vectors-inl.h"

HWY_BEFORE_NAMESPACE();
namespace dnamamba::kernels::cpu::HWY_NAMESPACE {
namespace {

/// Calls body(first column, columns left) for every vector of a row.
template <class D, class Body>
HWY_INLINE void for_each_vector(D d, std::int64_t columns, Body&& body) {
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  for (std::int64_t column = 0; column < columns; column += lanes) body(column, columns - column);
}

template <class D, typename T = hn::TFromD<D>>
HWY_INLINE T mean_of(D d, hn::Vec<D> sums, std::int64_t columns) {
  return hn::GetLane(hn::SumOfLanes(d, sums)) / static_cast<T>(columns);
}

/// normalised = (r - mean) * scale; the mean is 0 for RMSNorm.
template <typename T>
struct RowStatistics {
  T mean = 0, scale = 0;
};

template <class D, typename T = hn::TFromD<D>>
HWY_INLINE RowStatistics<T> statistics(D d, const T* r, const AddRmsNormInputs<T>& in) {
  RowStatistics<T> row;
  auto sum = hn::Zero(d);
  if (in.layer_norm) {
    for_each_vector(d, in.columns,
                    [&](std::int64_t c, std::int64_t left) HWY_ATTR { sum = hn::Add(sum, load_part(d, r + c, left)); });
    row.mean = mean_of(d, sum, in.columns);
  }
  const auto mean = hn::Set(d, row.mean);
  auto squares = hn::Zero(d);
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  for_each_vector(d, in.columns, [&](std::int64_t c, std::int64_t left) HWY_ATTR {
    auto v = hn::Sub(load_part(d, r + c, left), mean);
    if (left < lanes) v = hn::IfThenElseZero(hn::FirstN(d, static_cast<std::size_t>(left)), v);
    squares = hn::MulAdd(v, v, squares);
  });
  row.scale = 1 / std::sqrt(mean_of(d, squares, in.columns) + static_cast<T>(in.epsilon));
  return row;
}

template <class D, typename T = hn::TFromD<D>>
HWY_INLINE void forward_row(D d, const AddRmsNormInputs<T>& in, const AddRmsNormOutputs<T>& out, std::int64_t t) {
  const std::int64_t at = t * in.columns;
  T* const y = out.y + at;
  const T* r = in.x + at;
  if (in.residual != nullptr || out.residual_out != nullptr) {
    T* const to = out.residual_out ? out.residual_out + at : y;
    for_each_vector(d, in.columns, [&](std::int64_t c, std::int64_t left) HWY_ATTR {
      auto v = load_part(d, in.x + at + c, left);
      if (in.residual) v = hn::Add(v, load_part(d, in.residual + at + c, left));
      store_part(d, v, to + c, left);
    });
    r = to;
  }
  const RowStatistics<T> row = statistics(d, r, in);
  const auto mean = hn::Set(d, row.mean);
  const auto scale = hn::Set(d, row.scale);
  for_each_vector(d, in.columns, [&](std::int64_t c, std::int64_t left) HWY_ATTR {
    const auto normalised = hn::Mul(hn::Sub(load_part(d, r + c, left), mean), scale);
    auto v = hn::Mul(normalised, load_part(d, in.weight + c, left));
    if (in.bias) v = hn::Add(v, load_part(d, in.bias + c, left));
    store_part(d, v, y + c, left);
  });
}

/// dweight and dbias: sums of the block of rows, [D] each.
template <class D, typename T = hn::TFromD<D>>
HWY_INLINE void backward_row(D d, const AddRmsNormInputs<T>& in, const AddRmsNormGradients<T>& out, std::int64_t t,
                             T* dweight, T* dbias) {
  const std::int64_t at = t * in.columns;
  const T* const r = out.r + at;
  const RowStatistics<T> row = statistics(d, r, in);
  const auto mean = hn::Set(d, row.mean);
  const auto scale = hn::Set(d, row.scale);
  auto sum_g = hn::Zero(d);  // g: the gradient of the normalised row
  auto sum_gn = hn::Zero(d);
  for_each_vector(d, in.columns, [&](std::int64_t c, std::int64_t left) HWY_ATTR {
    const auto dy = load_part(d, out.dy + at + c, left);
    const auto normalised = hn::Mul(hn::Sub(load_part(d, r + c, left), mean), scale);
    const auto g = hn::Mul(dy, load_part(d, in.weight + c, left));  // 0 beyond the last column
    sum_g = hn::Add(sum_g, g);
    sum_gn = hn::MulAdd(g, normalised, sum_gn);
    store_part(d, hn::MulAdd(dy, normalised, load_part(d, dweight + c, left)), dweight + c, left);
    store_part(d, hn::Add(dy, load_part(d, dbias + c, left)), dbias + c, left);
  });
  const auto mean_g = hn::Set(d, in.layer_norm ? mean_of(d, sum_g, in.columns) : T{0});
  const auto mean_gn = hn::Set(d, mean_of(d, sum_gn, in.columns));
  for_each_vector(d, in.columns, [&](std::int64_t c, std::int64_t left) HWY_ATTR {
    const auto normalised = hn::Mul(hn::Sub(load_part(d, r + c, left), mean), scale);
    const auto g = hn::Mul(load_part(d, out.dy + at + c, left), load_part(d, in.weight + c, left));
    auto dr = hn::Mul(hn::NegMulAdd(normalised, mean_gn, hn::Sub(g, mean_g)), scale);
    if (out.dresidual_out) dr = hn::Add(dr, load_part(d, out.dresidual_out + at + c, left));
    if (out.dx) store_part(d, dr, out.dx + at + c, left);
    if (out.dresidual) store_part(d, dr, out.dresidual + at + c, left);
  });
}

template <typename T>
void forward_rows(const AddRmsNormInputs<T>& in, const AddRmsNormOutputs<T>& out, std::int64_t first,
                  std::int64_t last) {
  const hn::ScalableTag<T> d;
  for (std::int64_t t = first; t < last; ++t) forward_row(d, in, out, t);
}
template <typename T>
void backward_rows(const AddRmsNormInputs<T>& in, const AddRmsNormGradients<T>& out, std::int64_t first,
                   std::int64_t last, T* dweight, T* dbias) {
  const hn::ScalableTag<T> d;
  std::fill_n(dweight, in.columns, T{0});
  std::fill_n(dbias, in.columns, T{0});
  for (std::int64_t t = first; t < last; ++t) backward_row(d, in, out, t, dweight, dbias);
}

void forward_float(const AddRmsNormInputs<float>& in, const AddRmsNormOutputs<float>& out, std::int64_t first,
                   std::int64_t last) {
  forward_rows(in, out, first, last);
}
void forward_double(const AddRmsNormInputs<double>& in, const AddRmsNormOutputs<double>& out, std::int64_t first,
                    std::int64_t last) {
  forward_rows(in, out, first, last);
}
void backward_float(const AddRmsNormInputs<float>& in, const AddRmsNormGradients<float>& out, std::int64_t first,
                    std::int64_t last, float* dweight, float* dbias) {
  backward_rows(in, out, first, last, dweight, dbias);
}
void backward_double(const AddRmsNormInputs<double>& in, const AddRmsNormGradients<double>& out, std::int64_t first,
                     std::int64_t last, double* dweight, double* dbias) {
  backward_rows(in, out, first, last, dweight, dbias);
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

/// Sums of dweight and dbias of each block of rows: [blocks, D] each.
template <typename T>
struct PartialSums {
  std::int64_t blocks;
  T *dweight, *dbias;

  PartialSums(const AddRmsNormInputs<T>& in, Workspace& workspace)
      : blocks(ceil_div(in.rows, kRows)),
        dweight(workspace.take<T>(blocks * in.columns)),
        dbias(workspace.take<T>(blocks * in.columns)) {}
};

}  // namespace

template <typename T>
void add_rms_norm(const AddRmsNormInputs<T>& in, const AddRmsNormOutputs<T>& out, const ParallelFor& parallel) {
  check(in, out);
  const auto run = forward_for(T{});
  parallel(ceil_div(in.rows, kRows), [&](std::int64_t first, std::int64_t last) {
    run(in, out, first * kRows, std::min(last * kRows, in.rows));
  });
}

template <typename T>
std::int64_t add_rms_norm_backward_workspace(const AddRmsNormInputs<T>& in) {
  require(in.rows >= 0 && in.columns >= 1, "add_rms_norm: rows or columns out of range");
  Workspace counted(nullptr);
  PartialSums<T>(in, counted);
  return counted.bytes();
}

template <typename T>
void add_rms_norm_backward(const AddRmsNormInputs<T>& in, const AddRmsNormGradients<T>& gradients, void* workspace,
                           const ParallelFor& parallel) {
  check(in, gradients);
  require(workspace != nullptr || in.rows == 0, "add_rms_norm: the backward pass has no workspace");
  Workspace memory(workspace);
  const PartialSums<T> partial(in, memory);
  const auto run = backward_for(T{});
  parallel(partial.blocks, [&](std::int64_t first, std::int64_t last) {
    for (std::int64_t block = first; block < last; ++block) {
      run(in, gradients, block * kRows, std::min((block + 1) * kRows, in.rows), partial.dweight + block * in.columns,
          partial.dbias + block * in.columns);
    }
  });
  sum_parts<double>(partial.dweight, partial.blocks, in.columns, gradients.dweight, parallel);
  sum_parts<double>(partial.dbias, partial.blocks, in.columns, gradients.dbias, parallel);
}

#define DNAMAMBA_INSTANTIATE(T)                                                                            \
  template void add_rms_norm(const AddRmsNormInputs<T>&, const AddRmsNormOutputs<T>&, const ParallelFor&); \
  template std::int64_t add_rms_norm_backward_workspace(const AddRmsNormInputs<T>&);                       \
  template void add_rms_norm_backward(const AddRmsNormInputs<T>&, const AddRmsNormGradients<T>&, void*,    \
                                      const ParallelFor&);
DNAMAMBA_INSTANTIATE(float)
DNAMAMBA_INSTANTIATE(double)
#undef DNAMAMBA_INSTANTIATE

}  // namespace dnamamba::kernels::cpu
#endif  // HWY_ONCE
