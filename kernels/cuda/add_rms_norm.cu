#include "kernels/add_rms_norm.h"

#include "kernels/arguments.h"
#include "kernels/cuda/device.cuh"
#include "kernels/cuda/sum_rows.cuh"
#include "kernels/cuda/vectors.cuh"

// A row is in the registers of a warp, or of a block where it is long; the longest are read several times instead.
// Backward, a block takes many rows, and its sums for dweight and dbias stay in registers until the last one.
namespace dnamamba::kernels::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / 32;

/// Which columns a thread has: kVectors times kVector neighbours; kGroup threads have a row.
template <int kVector_, int kVectors_, int kGroup_>
struct Layout {
  static constexpr int kVector = kVector_, kVectors = kVectors_, kGroup = kGroup_;
  static constexpr int kColumns = kVector * kVectors * kGroup;  // at most
  static constexpr int kRows = kThreads / kGroup;               // of a block at a time

  __device__ static int column(int n) { return (n * kGroup + static_cast<int>(threadIdx.x) % kGroup) * kVector; }
  __device__ static int row_of_block() { return static_cast<int>(threadIdx.x) / kGroup; }
};

/// Sums over the kGroup threads of a row, the same bits in all of them. A group of more than a warp is the block.
template <int kGroup, int kCount>
__device__ __forceinline__ void sum_over_group(float (&sums)[kCount]) {
#pragma unroll
  for (int distance = 16; distance > 0; distance /= 2) {
#pragma unroll
    for (int i = 0; i < kCount; ++i) sums[i] += __shfl_xor_sync(0xffffffffU, sums[i], distance);
  }
  if constexpr (kGroup > 32) {
    __shared__ float of_warps[kWarps][kCount];
    __syncthreads();  // until the sums before these have been read
    if (threadIdx.x % 32 == 0) {
#pragma unroll
      for (int i = 0; i < kCount; ++i) of_warps[threadIdx.x / 32][i] = sums[i];
    }
    __syncthreads();
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      sums[i] = of_warps[0][i];
#pragma unroll
      for (int warp = 1; warp < kWarps; ++warp) sums[i] += of_warps[warp][i];
    }
  }
}

template <int kGroup>
__device__ __forceinline__ float sum_over_group(float sum) {
  float sums[1] = {sum};
  sum_over_group<kGroup>(sums);
  return sums[0];
}

template <typename L, typename T>
struct PackedRow {
  Packed<T, L::kVector> vectors[L::kVectors];

  /// Zeros beyond the last column, and where `from` is null.
  __device__ __forceinline__ PackedRow(const T* from, std::int64_t columns) {
#pragma unroll
    for (int n = 0; n < L::kVectors; ++n) {
      vectors[n] = {};
      if (from != nullptr && L::column(n) < columns) vectors[n] = read_packed<L::kVector>(from + L::column(n));
    }
  }
};

/// One vector of parameters, or this value.
template <int kVector>
__device__ __forceinline__ void load_parameters(const float* from, int column, float otherwise,
                                                float (&values)[kVector]) {
#pragma unroll
  for (int i = 0; i < kVector; ++i) values[i] = otherwise;
  if (from != nullptr) unpack(load_packed<kVector>(from + column), values);
}

/// r becomes r - mean(r).
template <typename L>
__device__ __forceinline__ void subtract_mean(float (&r)[L::kVectors][L::kVector], std::int64_t columns) {
  float sum = 0;
#pragma unroll
  for (int n = 0; n < L::kVectors; ++n) {
#pragma unroll
    for (int i = 0; i < L::kVector; ++i) sum += r[n][i];
  }
  const float mean = sum_over_group<L::kGroup>(sum) / static_cast<float>(columns);
#pragma unroll
  for (int n = 0; n < L::kVectors; ++n) {
#pragma unroll
    for (int i = 0; i < L::kVector; ++i) r[n][i] = L::column(n) < columns ? r[n][i] - mean : 0.0F;
  }
}

__device__ __forceinline__ float scale_of(float sum_of_squares, std::int64_t columns, double epsilon) {
  return rsqrtf(sum_of_squares / static_cast<float>(columns) + static_cast<float>(epsilon));
}

/// Writes r = x + residual, as R has it, and leaves it in `r`.
template <typename L, typename T, typename R>
__device__ __forceinline__ void add_residual(const AddRmsNormInputs<T, R>& in, R* residual_out, std::int64_t at,
                                             float (&r)[L::kVectors][L::kVector]) {
  const PackedRow<L, T> x(in.x + at, in.columns);
  const PackedRow<L, R> residual(in.residual == nullptr ? nullptr : in.residual + at, in.columns);
#pragma unroll
  for (int n = 0; n < L::kVectors; ++n) {
    float added[L::kVector];
    unpack(x.vectors[n], r[n]);
    unpack(residual.vectors[n], added);
#pragma unroll
    for (int i = 0; i < L::kVector; ++i) r[n][i] += added[i];
    const Packed<R, L::kVector> sum = pack(r[n], static_cast<const R*>(nullptr));
    unpack(sum, r[n]);
    if (residual_out != nullptr && L::column(n) < in.columns) store_packed(sum, residual_out + at + L::column(n));
  }
}

template <typename L, typename T, typename R>
__global__ void __launch_bounds__(kThreads)
    forward(const __grid_constant__ AddRmsNormInputs<T, R> in, const __grid_constant__ AddRmsNormOutputs<T, R> out) {
  const std::int64_t step = static_cast<std::int64_t>(gridDim.x) * L::kRows;
  for (std::int64_t t = static_cast<std::int64_t>(blockIdx.x) * L::kRows + L::row_of_block(); t < in.rows; t += step) {
    const std::int64_t at = t * in.columns;
    float r[L::kVectors][L::kVector];
    add_residual<L>(in, out.residual_out, at, r);
    if (in.layer_norm) subtract_mean<L>(r, in.columns);
    float squares = 0;
#pragma unroll
    for (int n = 0; n < L::kVectors; ++n) {
#pragma unroll
      for (int i = 0; i < L::kVector; ++i) squares = fmaf(r[n][i], r[n][i], squares);
    }
    const float scale = scale_of(sum_over_group<L::kGroup>(squares), in.columns, in.epsilon);
#pragma unroll
    for (int n = 0; n < L::kVectors; ++n) {
      const int column = L::column(n);
      if (column >= in.columns) continue;
      float weight[L::kVector], bias[L::kVector];
      load_parameters(in.weight, column, 1, weight);
      load_parameters(in.bias, column, 0, bias);
#pragma unroll
      for (int i = 0; i < L::kVector; ++i) r[n][i] = fmaf(r[n][i] * scale, weight[i], bias[i]);
      store_values(r[n], out.y + at + column);
    }
  }
}

/// What a thread adds up over its rows.
template <typename L>
struct ColumnSums {
  float dweight[L::kVectors][L::kVector] = {}, dbias[L::kVectors][L::kVector] = {};

  /// Adds those of a block's rows, one after another, and writes them: [D] each.
  __device__ __forceinline__ void store(std::int64_t columns, float* to_dweight, float* to_dbias) {
    __shared__ float of_block[2][L::kColumns];
    for (int turn = 0; turn < L::kRows; ++turn) {
      if (L::row_of_block() == turn) add_to(of_block[0], of_block[1], turn == 0);
      __syncthreads();
    }
    for (int c = static_cast<int>(threadIdx.x); c < columns; c += kThreads) {
      to_dweight[c] = of_block[0][c];
      to_dbias[c] = of_block[1][c];
    }
  }
  __device__ __forceinline__ void add_to(float* to_dweight, float* to_dbias, bool first) {
#pragma unroll
    for (int n = 0; n < L::kVectors; ++n) {
#pragma unroll
      for (int i = 0; i < L::kVector; ++i) {
        const int c = L::column(n) + i;
        to_dweight[c] = (first ? 0.0F : to_dweight[c]) + dweight[n][i];
        to_dbias[c] = (first ? 0.0F : to_dbias[c]) + dbias[n][i];
      }
    }
  }
};

/// dr = (g - mean(g) - n * mean(g * n)) * scale + what flows in, with g = dy * weight and n = normalised r: these.
struct RowGradient {
  float scale, mean_g, mean_gn;
};

/// `r` is without its mean, `dy` as it lies in memory.
template <typename L, typename T, typename R>
__device__ __forceinline__ RowGradient row_gradient(const AddRmsNormInputs<T, R>& in, const PackedRow<L, T>& dy,
                                                    const float (&r)[L::kVectors][L::kVector]) {
  float sums[3] = {};  // of r^2, g * r, g
#pragma unroll
  for (int n = 0; n < L::kVectors; ++n) {
    if (L::column(n) >= in.columns) continue;
    float weight[L::kVector], g[L::kVector];
    load_parameters(in.weight, L::column(n), 1, weight);
    unpack(dy.vectors[n], g);
#pragma unroll
    for (int i = 0; i < L::kVector; ++i) {
      g[i] = __fmul_rn(g[i], weight[i]);
      sums[0] = fmaf(r[n][i], r[n][i], sums[0]);
      sums[1] = fmaf(g[i], r[n][i], sums[1]);
      sums[2] += g[i];
    }
  }
  sum_over_group<L::kGroup>(sums);
  const auto columns = static_cast<float>(in.columns);
  const float scale = scale_of(sums[0], in.columns, in.epsilon);
  return {scale, in.layer_norm ? sums[2] / columns : 0.0F, scale * sums[1] / columns};
}

template <typename L, typename T, typename R>
__device__ __forceinline__ void backward_row(const AddRmsNormInputs<T, R>& in, const AddRmsNormGradients<T, R>& out,
                                             std::int64_t at, ColumnSums<L>& sums) {
  const PackedRow<L, R> packed(out.r + at, in.columns);
  const PackedRow<L, T> dys(out.dy + at, in.columns);
  const PackedRow<L, R> passed(out.dresidual_out == nullptr ? nullptr : out.dresidual_out + at, in.columns);
  float r[L::kVectors][L::kVector];
#pragma unroll
  for (int n = 0; n < L::kVectors; ++n) unpack(packed.vectors[n], r[n]);
  if (in.layer_norm) subtract_mean<L>(r, in.columns);
  const RowGradient row = row_gradient<L>(in, dys, r);
#pragma unroll
  for (int n = 0; n < L::kVectors; ++n) {
    const int column = L::column(n);
    if (column >= in.columns) continue;
    float weight[L::kVector], dy[L::kVector], dr[L::kVector];
    load_parameters(in.weight, column, 1, weight);
    unpack(dys.vectors[n], dy);
    unpack(passed.vectors[n], dr);
#pragma unroll
    for (int i = 0; i < L::kVector; ++i) {
      const float normalised = r[n][i] * row.scale;
      const float g = __fmul_rn(dy[i], weight[i]);  // rounded as in its mean: of one column nothing is left
      dr[i] = fmaf(g - row.mean_g - normalised * row.mean_gn, row.scale, dr[i]);
      sums.dweight[n][i] = fmaf(dy[i], normalised, sums.dweight[n][i]);
      sums.dbias[n][i] += dy[i];
    }
    if (out.dx != nullptr) store_values(dr, out.dx + at + column);
    if (out.dresidual != nullptr) store_values(dr, out.dresidual + at + column);
  }
}

/// dweight, dbias: [blocks, D] each.
template <typename L, typename T, typename R>
__global__ void __launch_bounds__(kThreads)
    backward(const __grid_constant__ AddRmsNormInputs<T, R> in, const __grid_constant__ AddRmsNormGradients<T, R> out,
             float* dweight, float* dbias) {
  ColumnSums<L> sums;
  const std::int64_t step = static_cast<std::int64_t>(gridDim.x) * L::kRows;
#pragma unroll 1
  for (std::int64_t t = static_cast<std::int64_t>(blockIdx.x) * L::kRows + L::row_of_block(); t < in.rows; t += step) {
    backward_row<L>(in, out, t * in.columns, sums);
  }
  const std::int64_t to = blockIdx.x * in.columns;
  sums.store(in.columns, dweight + to, dbias + to);
}

// Rows of any length: a block has a row, and reads it again for every sum.

template <typename T>
__device__ __forceinline__ float read(const T* from) {
  float value[1];
  unpack(read_packed<1>(from), value);
  return value[0];
}

/// The sum of body(column) over a row's columns.
template <typename Body>
__device__ __forceinline__ float sum_of_row(std::int64_t columns, Body&& body) {
  float sum = 0;
  for (std::int64_t c = threadIdx.x; c < columns; c += kThreads) sum += body(c);
  return sum_over_group<kThreads>(sum);
}

template <typename T, typename R>
__global__ void __launch_bounds__(kThreads) forward_of_any_length(const __grid_constant__ AddRmsNormInputs<T, R> in,
                                                                  const __grid_constant__ AddRmsNormOutputs<T, R> out) {
  const auto columns = static_cast<float>(in.columns);
  for (std::int64_t t = blockIdx.x; t < in.rows; t += gridDim.x) {
    const std::int64_t at = t * in.columns;
    const auto r = [&](std::int64_t c) {
      float sum[1] = {read(in.x + at + c) + (in.residual == nullptr ? 0.0F : read(in.residual + at + c))};
      unpack(pack(sum, static_cast<const R*>(nullptr)), sum);
      return sum[0];
    };
    const float mean = in.layer_norm ? sum_of_row(in.columns, r) / columns : 0.0F;
    const float squares = sum_of_row(in.columns, [&](std::int64_t c) { return (r(c) - mean) * (r(c) - mean); });
    const float scale = scale_of(squares, in.columns, in.epsilon);
    for (std::int64_t c = threadIdx.x; c < in.columns; c += kThreads) {
      const float value = r(c);
      if (out.residual_out != nullptr) store(value, out.residual_out + at + c);
      store(fmaf((value - mean) * scale, in.weight[c], in.bias == nullptr ? 0.0F : in.bias[c]), out.y + at + c);
    }
  }
}

/// As `backward`. The sums are in memory, where each has one thread that adds to it.
template <typename T, typename R>
__global__ void __launch_bounds__(kThreads)
    backward_of_any_length(const __grid_constant__ AddRmsNormInputs<T, R> in,
                           const __grid_constant__ AddRmsNormGradients<T, R> out, float* dweight, float* dbias) {
  const auto columns = static_cast<float>(in.columns);
  float *const dweight_sums = dweight + blockIdx.x * in.columns, *const dbias_sums = dbias + blockIdx.x * in.columns;
  for (std::int64_t c = threadIdx.x; c < in.columns; c += kThreads) dweight_sums[c] = dbias_sums[c] = 0;
  for (std::int64_t t = blockIdx.x; t < in.rows; t += gridDim.x) {
    const std::int64_t at = t * in.columns;
    const auto r = [&](std::int64_t c) { return load(out.r + at + c); };
    const auto g = [&](std::int64_t c) { return __fmul_rn(load(out.dy + at + c), in.weight[c]); };
    const float mean = in.layer_norm ? sum_of_row(in.columns, r) / columns : 0.0F;
    const float squares = sum_of_row(in.columns, [&](std::int64_t c) { return (r(c) - mean) * (r(c) - mean); });
    const float scale = scale_of(squares, in.columns, in.epsilon);
    const float mean_g = in.layer_norm ? sum_of_row(in.columns, g) / columns : 0.0F;
    const float mean_gn =
        sum_of_row(in.columns, [&](std::int64_t c) { return g(c) * (r(c) - mean); }) * scale / columns;
    for (std::int64_t c = threadIdx.x; c < in.columns; c += kThreads) {
      const float dy = load(out.dy + at + c), normalised = (r(c) - mean) * scale;
      const float passed = out.dresidual_out == nullptr ? 0.0F : load(out.dresidual_out + at + c);
      const float dr = fmaf(g(c) - mean_g - normalised * mean_gn, scale, passed);
      dweight_sums[c] += dy * normalised;
      dbias_sums[c] += dy;
      if (out.dx != nullptr) store(dr, out.dx + at + c);
      if (out.dresidual != nullptr) store(dr, out.dresidual + at + c);
    }
  }
}

// Launches.

/// Calls body.template operator()<Layout>() for the one that has registers for rows of this length; false: none has.
/// `fits(count)`: all rows can be read as vectors of `count`.
template <typename Fits, typename Body>
bool for_layout(std::int64_t columns, Fits&& fits, Body&& body) {
  const auto run = [&]<typename L>(L) {
    if (columns > L::kColumns || !fits(L::kVector)) return false;
    body.template operator()<L>();
    return true;
  };
  return run(Layout<4, 2, 32>()) || run(Layout<4, 4, 32>()) || run(Layout<4, 8, 32>()) || run(Layout<2, 2, 32>()) ||
         run(Layout<1, 8, 32>()) || run(Layout<4, 4, kThreads>()) || run(Layout<1, 8, kThreads>());
}

/// Blocks of the backward pass: each for many rows, but enough to fill the device several times (12 is divisible by the
/// numbers of blocks that a multiprocessor may have at once), and sums of at most 128 MB.
std::int64_t backward_blocks(std::int64_t rows, std::int64_t columns) {
  const std::int64_t most = std::min<std::int64_t>(132 * 12, (std::int64_t{1} << 24) / columns);
  return std::max<std::int64_t>(1, std::min(ceil_div(rows, 8 * kWarps), most));
}

}  // namespace

template <typename T, typename R>
void add_rms_norm(const AddRmsNormInputs<T, R>& in, const AddRmsNormOutputs<T, R>& out, Stream stream) {
  check(in, out);
  if (in.rows == 0) return;
  const auto blocks = [&](std::int64_t rows) {
    return static_cast<unsigned>(std::min<std::int64_t>(ceil_div(in.rows, rows), 132 * 32));
  };
  const auto fits = [&](int count) {
    return vectors_fit<T>(count, in.columns, {in.x, out.y}) &&
           vectors_fit<R>(count, in.columns, {in.residual, out.residual_out}) &&
           vectors_fit<float>(count, in.columns, {in.weight, in.bias});
  };
  if (!for_layout(in.columns, fits,
                  [&]<typename L>() { forward<L, T, R><<<blocks(L::kRows), kThreads, 0, stream>>>(in, out); })) {
    forward_of_any_length<T, R><<<blocks(1), kThreads, 0, stream>>>(in, out);
  }
  check_launch("add_rms_norm");
}

template <typename T, typename R>
std::int64_t add_rms_norm_backward_workspace(const AddRmsNormInputs<T, R>& in) {
  require(in.rows >= 0 && in.columns >= 1, "add_rms_norm: rows or columns out of range");
  return 2 * backward_blocks(in.rows, in.columns) * in.columns * static_cast<std::int64_t>(sizeof(float));
}

template <typename T, typename R>
void add_rms_norm_backward(const AddRmsNormInputs<T, R>& in, const AddRmsNormGradients<T, R>& gradients,
                           void* workspace, Stream stream) {
  check(in, gradients);
  require(workspace != nullptr, "add_rms_norm: the backward pass has no workspace");
  const std::int64_t parts = backward_blocks(in.rows, in.columns);
  const auto blocks = static_cast<unsigned>(parts);
  float* const dweight = static_cast<float*>(workspace);
  float* const dbias = dweight + parts * in.columns;
  const auto fits = [&](int count) {
    return vectors_fit<T>(count, in.columns, {gradients.dy, gradients.dx}) &&
           vectors_fit<R>(count, in.columns, {gradients.r, gradients.dresidual_out, gradients.dresidual}) &&
           vectors_fit<float>(count, in.columns, {in.weight});
  };
  if (!for_layout(in.columns, fits, [&]<typename L>() {
        backward<L, T, R><<<blocks, kThreads, 0, stream>>>(in, gradients, dweight, dbias);
      })) {
    backward_of_any_length<T, R><<<blocks, kThreads, 0, stream>>>(in, gradients, dweight, dbias);
  }
  check_launch("add_rms_norm_backward");
  sum_rows<float>({{dweight, in.columns, gradients.dweight}, {dbias, in.columns, gradients.dbias}}, parts, stream);
  check_launch("add_rms_norm_backward");
}

#define DNAMAMBA_INSTANTIATE(T, R)                                                                   \
  template void add_rms_norm(const AddRmsNormInputs<T, R>&, const AddRmsNormOutputs<T, R>&, Stream); \
  template std::int64_t add_rms_norm_backward_workspace(const AddRmsNormInputs<T, R>&);              \
  template void add_rms_norm_backward(const AddRmsNormInputs<T, R>&, const AddRmsNormGradients<T, R>&, void*, Stream);
DNAMAMBA_INSTANTIATE(float, float)
DNAMAMBA_INSTANTIATE(BFloat16, float)
DNAMAMBA_INSTANTIATE(BFloat16, BFloat16)
#undef DNAMAMBA_INSTANTIATE

}  // namespace dnamamba::kernels::cuda
