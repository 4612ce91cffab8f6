// One token of one sequence: the pieces of a generation step, in the memory layout that a step wants. What they compute
// is defined by the operators over many tokens: causal_conv1d.h, selective_scan.h, ssd.h, add_rms_norm.h,
// gated_rms_norm.h.
//
// Channels lie in panels of 16, one cache line of floats: an array "[C]" is C floats, C a multiple of 16, 64-byte
// aligned;
// "[C/16][N][16]" is panel after panel, and 16 channels side by side in each. Callers fill up the last panel with
// channels of zero weights, which stay 0. fp32 only. A result depends neither on who computes the panels beside it nor
// on the instruction set's vector length.
#pragma once
#include <cstdint>
#include <limits>

namespace dnamamba::kernels {

inline constexpr std::int64_t kStepPanel = 16;

/// `count` in whole panels.
inline constexpr std::int64_t step_padded(std::int64_t count) {
  return (count + kStepPanel - 1) / kStepPanel * kStepPanel;
}

/// How the weights of a product are held. kBfloat16 rounds each to nearest, 8 bits of mantissa; sums stay in fp32.
enum class StepWeights { kFloat32, kBfloat16 };

/// A matrix [rows, columns] as [rows/16][columns][16] floats, or, in bf16, [rows/16][columns/2][16] words of 32 bits
/// with the even column in the lower half (an odd last column stands beside zeros).
struct StepMatrix {
  std::int64_t rows = 0;     ///< a multiple of 16
  std::int64_t columns = 0;  ///< any
  StepWeights type = StepWeights::kFloat32;
  const void* values = nullptr;  ///< step_matrix_bytes() of them, 64-byte aligned
};

/// A depthwise convolution of width K with SiLU behind it.
struct StepConvolution {
  std::int64_t channels = 0;
  std::int64_t width = 0;
  const float* weight = nullptr;  ///< [C/16][K][16]
  const float* bias = nullptr;    ///< [C]
};

/// The scan of Mamba-1 with skip and gate.
struct StepSelectiveScan {
  std::int64_t channels = 0;
  std::int64_t states = 0;
  const float* A2 = nullptr;          ///< [C/16][N][16] A times log2(e)
  const float* D = nullptr;           ///< [C]
  const float* delta_bias = nullptr;  ///< [C]
};

/// The scan of Mamba-2 with skip, of heads of one group.
struct StepSsd {
  std::int64_t channels = 0;  ///< heads * head_dim, in whole panels
  std::int64_t heads = 0;     ///< in whole panels
  std::int64_t states = 0;
  const std::int32_t* head = nullptr;  ///< [C] whose channel it is: an index into dt
  const float* A2 = nullptr;           ///< [heads] A times log2(e)
  const float* dt_bias = nullptr;      ///< [heads]
  const float* D = nullptr;            ///< [C]
  double dt_min = 0;
  double dt_max = std::numeric_limits<double>::infinity();
};

enum class StepGate {
  kAlone,      ///< x * silu(z)
  kThenNorm,   ///< the same, and its squares: the caller divides by the root of their mean
  kAfterNorm,  ///< the same, and the squares of x
};

struct StepNorm {
  std::int64_t columns = 0;  ///< any; arrays have whole panels
  const float* weight = nullptr;
  const float* bias = nullptr;  ///< or null
  double epsilon = 1e-5;
  bool layer_norm = false;
};

namespace cpu {

std::int64_t step_matrix_bytes(std::int64_t rows, std::int64_t columns, StepWeights type);

/// Packs `from` [rows, columns], plain rows, into `to`. @throws std::invalid_argument unless rows are whole panels.
StepMatrix step_pack(const float* from, std::int64_t rows, std::int64_t columns, StepWeights type, void* to);

/// y[16 first, 16 last) = matrix · x + bias (or null) of panels [first, last). Each row is one sum in one order.
void step_product(const StepMatrix& matrix, std::int64_t first, std::int64_t last, const float* x, const float* bias,
                  float* y);

/// y = silu(convolution of state and x); x becomes the last of the state, [C/16][K-1][16]. y may be x.
void step_convolution(const StepConvolution& convolution, const float* x, float* state, float* y);

/// y [C] from x, delta, z [C] and B, C [N]; state [C/16][N][16] moves on by one token. y may be x, delta or z.
void step_selective_scan(const StepSelectiveScan& scan, const float* x, const float* delta, const float* z,
                         const float* B, const float* C, float* state, float* y);

/// y [C] from x [C], dt [heads] and B, C [N]; state [C/16][N][16] moves on by one token; dt is overwritten. y may be x.
void step_ssd(const StepSsd& ssd, const float* x, float* dt, const float* B, const float* C, float* state, float* y);

/// y = x gated by z, times `weight` (or null), all [count], whole panels; returns the squares asked for (or 0).
float step_gate(StepGate gate, std::int64_t count, const float* x, const float* z, const float* weight, float* y);

/// to[i] = bias[i] + sum over s of factors[s] * parts[s * stride + i], in the order of s, for i in [0, count), whole
/// panels. bias and factors may be null: 0 and 1. kAdd: to[i] is added last.
void step_sum_parts(std::int64_t count, std::int64_t parts, const float* from, std::int64_t stride,
                    const float* factors, const float* bias, bool add, float* to);

/// y = norm(r); both in whole panels, 0 beyond the last column, as weight and bias are.
void step_norm(const StepNorm& norm, const float* r, float* y);

}  // namespace cpu
}  // namespace dnamamba::kernels
