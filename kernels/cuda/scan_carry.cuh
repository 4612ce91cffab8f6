// From what every run makes of zeros to what every run starts with: h' = exp(A sum(dt)) h + end of run. A block has 32
// (channel, state) pairs of one sequence; its rows of threads have a part of the runs each.
#pragma once
#include "kernels/cuda/scan_steps.cuh"

namespace dnamamba::kernels::cuda {

inline constexpr int kCarryLanes = 32;
inline constexpr int kCarryMostParts = 32;

template <typename T>
struct CarryArguments {
  ScanGroup<T> group;
  SequenceRuns runs;
  int NS;
  std::int64_t lane_blocks;
  const float* step_sums;  ///< [places, E]
  float* states;           ///< [places, E, NS] in: ends of runs; out: starts of runs
  const float* first;      ///< [S, E, N] or null: zeros
  float* last;             ///< [S, E, N] or null
  bool backwards = false;  ///< from the last run to the first one, for gradients
};

template <typename T>
__global__ void __launch_bounds__(kCarryLanes* kCarryMostParts) carry(const CarryArguments<T> p) {
  constexpr int kAtOnce = 8;
  __shared__ float ends[kCarryMostParts][kCarryLanes], sums[kCarryMostParts][kCarryLanes];
  const std::int64_t E = p.group.in.channels, N = p.group.in.states, sequence = blockIdx.x / p.lane_blocks;
  const std::int64_t lane = blockIdx.x % p.lane_blocks * kCarryLanes + threadIdx.x;
  const int x = static_cast<int>(threadIdx.x), part = static_cast<int>(threadIdx.y),
            parts = static_cast<int>(blockDim.y);
  const bool active = lane < E * p.NS;
  const int e = active ? static_cast<int>(lane / p.NS) : 0, n = static_cast<int>(lane % p.NS);
  const float A2 = p.group.A2(e, n);
  const std::int64_t runs = p.runs.runs_in(sequence), place = p.runs.first_place(sequence);
  const std::int64_t each = (runs + parts - 1) / parts;
  const std::int64_t begin = min(part * each, runs), end = min(begin + each, runs);
  // Run i of those in the order in which the carry passes them.
  const auto state_of = [&](std::int64_t i) {
    return p.states + (place + (p.backwards ? runs - 1 - i : i)) * E * p.NS + lane;
  };
  const auto sum_of = [&](std::int64_t i) { return p.step_sums[(place + (p.backwards ? runs - 1 - i : i)) * E + e]; };

  float h = 0, sum = 0;
  if (active) {
#pragma unroll 8
    for (std::int64_t i = begin; i < end; ++i) {
      const float dt = sum_of(i);
      h = fmaf(exp2_fast(A2 * dt), h, *state_of(i));
      sum += dt;
    }
  }
  ends[part][x] = h;
  sums[part][x] = sum;
  __syncthreads();
  const bool there = p.group.first_state + n < N;
  const std::int64_t outside = (sequence * E + e) * N + p.group.first_state + n;
  h = active && there && p.first != nullptr ? p.first[outside] : 0.0F;
  for (int k = 0; k < part; ++k) h = fmaf(exp2_fast(A2 * sums[k][x]), h, ends[k][x]);
  if (!active) return;
  for (std::int64_t i = begin; i < end; i += kAtOnce) {
    float at_end[kAtOnce], dt[kAtOnce];
#pragma unroll
    for (int k = 0; k < kAtOnce; ++k) {
      if (i + k < end) at_end[k] = *state_of(i + k), dt[k] = sum_of(i + k);
    }
#pragma unroll
    for (int k = 0; k < kAtOnce; ++k) {
      if (i + k >= end) break;
      *state_of(i + k) = h;
      h = fmaf(exp2_fast(A2 * dt[k]), h, at_end[k]);
    }
  }
  if (part == parts - 1 && there && p.last != nullptr) p.last[outside] = h;
}

template <typename T>
void launch_carry(CarryArguments<T> p, Stream stream) {
  const Ragged& ragged = p.group.in.ragged;
  std::int64_t most = 0;
  for (std::int64_t s = 0; s < ragged.sequences; ++s) {
    most = std::max(most, ceil_div(ragged.offsets[s + 1] - ragged.offsets[s], p.runs.size()));
  }
  p.lane_blocks = ceil_div(p.group.in.channels * p.NS, kCarryLanes);
  const std::int64_t blocks = ragged.sequences * p.lane_blocks;
  if (blocks == 0) return;
  // So many parts that each has some runs, and that all blocks are on a large GPU at once.
  constexpr std::int64_t kThreadsAtOnce = 132 * 1024;
  int parts = 1;
  while (parts < kCarryMostParts && parts * 8 < most && blocks * kCarryLanes * parts * 2 <= kThreadsAtOnce) parts *= 2;
  carry<T><<<static_cast<unsigned>(blocks), dim3(kCarryLanes, parts), 0, stream>>>(p);
  check_launch("selective_scan");
}

}  // namespace dnamamba::kernels::cuda
