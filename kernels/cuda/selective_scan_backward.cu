// Backward: one walk for the states and the gradients that every run makes of zeros, both carried on, and then every
// run by itself. Nothing of the forward pass is kept.
#include <algorithm>

#include "kernels/arguments.h"
#include "kernels/cpu/partition.h"
#include "kernels/cuda/scan_backward.cuh"
#include "kernels/cuda/scan_carry.cuh"
#include "kernels/cuda/scan_walk.cuh"
#include "kernels/cuda/sum_rows.cuh"
#include "kernels/cuda/vectors.cuh"

namespace dnamamba::kernels::cuda {
namespace {

using cpu::Workspace;

template <typename T>
int run_shift(const SelectiveScanInputs<T>& in) {
  const std::int64_t work = in.ragged.tokens() * in.channels;
  return work >= std::int64_t{1} << 27 ? 9 : work >= std::int64_t{1} << 25 ? 8 : 6;  // 2^6 holds two of kSubRun
}

template <typename T>
struct BackwardStore {
  float *states, *step_sums, *state_gradients, *sub_states, *sub_step_sums, *dA, *dD, *dbias, *token_sums, *partial;

  BackwardStore(const SelectiveScanInputs<T>& in, const SequenceRuns& runs, Workspace& memory) {
    const std::int64_t E = in.channels, NS = group_size(in.states), places = runs.places();
    const std::int64_t subs = places * (runs.size() / kSubRun);
    states = memory.take<float>(places * E * NS);
    step_sums = memory.take<float>(places * E);
    state_gradients = memory.take<float>(places * E * NS);
    sub_states = memory.take<float>(subs * E * NS);
    sub_step_sums = memory.take<float>(subs * E);
    dA = memory.take<float>(places * E * in.states);
    dD = memory.take<float>(places * E);
    dbias = memory.take<float>(places * E);
    token_sums = memory.take<float>(ceil_div(E, kBackwardChannels) * runs.tokens * 2 * NS);
    partial = in.states > 16 ? memory.take<float>(3 * runs.tokens * E) : nullptr;
  }
};

template <typename T, int kHalves, bool kPartial>
void launch_backward(const BackwardArguments<T>& arguments, Stream stream) {
  using Shared = BackwardShared<T, kHalves>;
  const std::int64_t blocks = arguments.runs.places() * arguments.channel_blocks;
  if (blocks == 0) return;
  cudaFuncSetAttribute(backward<T, kHalves, kPartial>, cudaFuncAttributeMaxDynamicSharedMemorySize, sizeof(Shared));
  backward<T, kHalves, kPartial>
      <<<static_cast<unsigned>(blocks), Shared::kThreads, sizeof(Shared), stream>>>(arguments);
  check_launch("selective_scan_backward");
  const std::int64_t tokens = arguments.runs.tokens;
  if (tokens == 0) return;
  constexpr int kThreads = 256;
  sum_channel_blocks<T, Shared::NS>
      <<<static_cast<unsigned>(ceil_div(tokens * 2 * Shared::NS, kThreads)), kThreads, 0, stream>>>(
          arguments.group, arguments.token_sums, arguments.channel_blocks, tokens, arguments.out.dB, arguments.out.dC);
  check_launch("selective_scan_backward");
}

template <typename T, int kHalves>
void backward_group(const ScanGroup<T>& group, const SelectiveScanGradients<T>& out, const SequenceRuns& runs,
                    const BackwardStore<T>& store, Stream stream) {
  constexpr int NS = 8 * kHalves;
  launch_walk<T, NS, 1, Walk::kAggregate>(WalkArguments<T>{.group = group,
                                                           .runs = runs,
                                                           .states = store.states,
                                                           .step_sums = store.step_sums,
                                                           .dy = out.dy,
                                                           .sub_states = store.sub_states,
                                                           .sub_step_sums = store.sub_step_sums,
                                                           .state_gradients = store.state_gradients},
                                          stream);
  const CarryArguments<T> carried{
      .group = group, .runs = runs, .NS = NS, .states = store.states, .step_sums = store.step_sums};
  CarryArguments<T> forwards = carried, backwards = carried;
  forwards.first = group.in.initial_state;
  launch_carry<false>(forwards, stream);
  backwards.states = store.state_gradients;
  backwards.first = out.dfinal_state;
  backwards.last = out.dinitial_state;
  launch_carry<true>(backwards, stream);
  const BackwardArguments<T> arguments{
      .group = group,
      .runs = runs,
      .channel_blocks = static_cast<int>(ceil_div(group.in.channels, kBackwardChannels)),
      .pairs = vectors_fit<T>(2, group.in.channels, {group.in.x, group.in.delta, group.in.z, out.dy}),
      .states = store.states,
      .sub_states = store.sub_states,
      .sub_step_sums = store.sub_step_sums,
      .state_gradients = store.state_gradients,
      .out = out,
      .dA = store.dA,
      .dD = store.dD,
      .dbias = store.dbias,
      .token_sums = store.token_sums,
      .partial = store.partial};
  if (store.partial == nullptr) return launch_backward<T, kHalves, false>(arguments, stream);
  if constexpr (kHalves == 2) launch_backward<T, kHalves, true>(arguments, stream);
}

}  // namespace

template <typename T>
std::int64_t selective_scan_backward_workspace(const SelectiveScanInputs<T>& in) {
  check(in);
  Workspace counted(nullptr);
  BackwardStore<T>(in, runs_of(in.ragged, run_shift(in), in.reverse), counted);
  return counted.bytes();
}

template <typename T>
void selective_scan_backward(const SelectiveScanInputs<T>& in, const SelectiveScanGradients<T>& out, void* workspace,
                             Stream stream) {
  check(in, out);
  require(workspace != nullptr, "selective_scan: the backward pass has no workspace");
  require(in.ragged.tokens() == 0 || (out.dx != nullptr && out.ddelta != nullptr),
          "selective_scan: dx or ddelta is missing");
  const SequenceRuns runs = runs_of(in.ragged, run_shift(in), in.reverse);
  Workspace memory(workspace);
  const BackwardStore<T> store(in, runs, memory);
  for_each_group(in, [&](const ScanGroup<T>& group) {
    group_size(in.states) == 8 ? backward_group<T, 1>(group, out, runs, store, stream)
                               : backward_group<T, 2>(group, out, runs, store, stream);
  });
  sum_rows(store.dA, runs.places(), in.channels * in.states, out.dA, stream);
  sum_rows(store.dD, runs.places(), in.channels, out.dD, stream);
  sum_rows(store.dbias, runs.places(), in.channels, out.ddelta_bias, stream);
  check_launch("selective_scan_backward");
}

#define DNAMAMBA_INSTANTIATE(T)                                                           \
  template std::int64_t selective_scan_backward_workspace(const SelectiveScanInputs<T>&); \
  template void selective_scan_backward(const SelectiveScanInputs<T>&, const SelectiveScanGradients<T>&, void*, Stream);
DNAMAMBA_INSTANTIATE(float)
DNAMAMBA_INSTANTIATE(BFloat16)
#undef DNAMAMBA_INSTANTIATE

}  // namespace dnamamba::kernels::cuda
