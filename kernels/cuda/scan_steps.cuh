// What the passes of the selective scan share: the arguments of a group of states, and the step size.
#pragma once
#include "kernels/cuda/device.cuh"
#include "kernels/cuda/sequence_runs.cuh"
#include "kernels/cuda/vectors.cuh"
#include "kernels/selective_scan.h"

namespace dnamamba::kernels::cuda {

/// Tokens between the states that the backward pass keeps.
template <typename T>
inline constexpr int kSubRun = 32;
template <>
inline constexpr int kSubRun<BFloat16> = 8;

/// Up to 16 states of all channels, of the operator's N: more of them are worked on one group after the other.
template <typename T>
struct ScanGroup {
  SelectiveScanInputs<T> in;
  int first_state;   ///< of the group
  bool last;         ///< of the groups
  std::int64_t row;  ///< from a token's values of B and C to the next one's

  __device__ float A2(int e, int n) const {  // A * log2(e); 0 behind the last state
    const int state = first_state + n;
    return state < in.states ? in.A[e * in.states + state] * kLog2E : 0.0F;
  }
};

/// True if B and C can be read `count` states at a time, all or none of which exist.
template <typename T>
bool states_fit(const SelectiveScanInputs<T>& in, int count) {
  return in.states % count == 0 && vectors_fit(count, in.state_step(), {in.B, in.C});
}

/// How many states are worked on at a time of these many: 8 or 16.
constexpr int group_size(std::int64_t states) {
  return states <= 8 ? 8 : 16;
}
/// Calls body(group) for all groups of the operator's states, in order.
template <typename T, typename Body>
void for_each_group(const SelectiveScanInputs<T>& in, const Body& body) {
  const int states = static_cast<int>(in.states), size = group_size(states);
  for (int first = 0; first < states; first += size)
    body(ScanGroup<T>{in, first, first + size >= states, in.state_step()});
}

/// The forward pass's runs.
template <typename T>
SequenceRuns forward_runs(const SelectiveScanInputs<T>& in) {
  const std::int64_t tokens = in.ragged.tokens();
  return runs_of(in.ragged, scan_run_starts(tokens, in.ragged.sequences, in.channels, in.states).shift, in.reverse);
}

/// The states that runs start with, of one group, as the forward pass left them.
struct RunStarts {
  const float* states;  ///< [places, E, NS]
  SequenceRuns runs;    ///< of the forward pass
  int NS;

  /// Of channel e of E, at the start of a run that is as long as these or longer.
  __device__ const float* at(const Run& run, std::int64_t E, int e) const {
    return states + ((runs.first_place(run.sequence) + (run.first >> runs.shift)) * E + e) * NS;
  }
};

/// What the last pass backward reads of the passes before it, and what it leaves, of NS states at a time.
template <typename T>
struct BackwardMemory {
  const float* sub_states;       ///< [places * length / kSubRun, E, NS] before every kSubRun tokens: see
                                 ///< store_sub_states
  const float* state_gradients;  ///< [places, E, NS] what flows into the runs' ends
  SelectiveScanGradients<T> out;
  float* dA;          ///< [places, E, N]
  float* dbias;       ///< [places, E]
  float* token_sums;  ///< [channel_blocks, T, 2, NS] of dB and dC
  float* partial;  ///< [3, T, E] sums over the groups of states so far: g B, A2 flow h, C h; null: there is one group
};

/// The tokens of a run: the row of the first in the order of reading, and how many; 0 where there is no run.
struct Stretch {
  std::int64_t first;
  int length;
};
__device__ __forceinline__ Stretch stretch_at(const SequenceRuns& runs, std::int64_t place) {
  const Run run = runs.at(place);
  return {run.row + run.step * run.first, static_cast<int>(max(run.last - run.first, std::int64_t{0}))};
}

/// log(1 + e) / e for e in [0, 1]. Minimax polynomials: 8e-6 in the worst case, where activations have 8 bits, and
/// 1e-7.
template <typename T>
__device__ __forceinline__ float log1p_over(float e);
template <>
__device__ __forceinline__ float log1p_over<BFloat16>(float e) {
  float p = fmaf(-0.0238691363F, e, 0.101222269F);
  p = fmaf(p, e, -0.21004869F);
  p = fmaf(p, e, 0.325206697F);
  p = fmaf(p, e, -0.499361366F);
  return fmaf(p, e, 0.999991596F);
}
template <>
__device__ __forceinline__ float log1p_over<float>(float e) {
  float p = fmaf(0.00523269083F, e, -0.0295052286F);
  p = fmaf(p, e, 0.0782259479F);
  p = fmaf(p, e, -0.136632457F);
  p = fmaf(p, e, 0.191060081F);
  p = fmaf(p, e, -0.24842982F);
  p = fmaf(p, e, 0.333190978F);
  p = fmaf(p, e, -0.499994934F);
  return fmaf(p, e, 0.99999994F);
}

/// softplus(v). By log1p: what is small keeps its digits.
template <typename T>
__device__ __forceinline__ float step_size(float v) {
  const float e = exp2_fast(-kLog2E * fabsf(v));
  return fmaf(e, log1p_over<T>(e), fmaxf(v, 0.0F));  // NaN stays: by e
}

/// softplus(v) and its derivative, the sigmoid.
struct Step {
  float size, slope;
};
template <typename T>
__device__ __forceinline__ Step step_and_slope(float v) {
  const float e = exp2_fast(-kLog2E * fabsf(v)), of_negative = reciprocal(1.0F + e);
  return {fmaf(e, log1p_over<T>(e), fmaxf(v, 0.0F)), v < 0.0F ? e * of_negative : of_negative};
}

/// softplus'(v) by dt = softplus(v): 1 - exp(-dt), without the difference where dt is small.
__device__ __forceinline__ float step_slope(float dt) {
  float p = fmaf(dt, -1.0F / 720.0F, 1.0F / 120.0F);
  p = fmaf(p, dt, -1.0F / 24.0F);
  p = fmaf(p, dt, 1.0F / 6.0F);
  p = fmaf(p, dt, -0.5F);
  p = fmaf(p, dt, 1.0F);
  return dt < 0.25F ? p * dt : 1.0F - exp2_fast(-kLog2E * dt);
}

}  // namespace dnamamba::kernels::cuda
