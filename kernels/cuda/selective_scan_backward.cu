// Backward: from the states that the forward pass's runs start with, one walk for states on the way and the gradients
// that every run makes of zeros; these are carried on; and then every run by itself.
#include <algorithm>

#include "kernels/arguments.h"
#include "kernels/cpu/partition.h"
#include "kernels/cuda/scan_backward.cuh"
#include "kernels/cuda/scan_backward_bf16.cuh"
#include "kernels/cuda/scan_carry.cuh"
#include "kernels/cuda/scan_walk.cuh"
#include "kernels/cuda/sum_rows.cuh"
#include "kernels/cuda/vectors.cuh"

namespace dnamamba::kernels::cuda {
namespace {

using cpu::Workspace;
static_assert(kTensorChannels == kBackwardChannels);

/// States that are worked on at a time: of bf16 activations always as many as a product of tensor cores has rows.
template <typename T>
int states_at_once(const SelectiveScanInputs<T>& in) {
  return std::is_same_v<T, BFloat16> ? 16 : group_size(in.states);
}

/// Runs as long as those of the forward pass, or longer. Even the shortest, 2^6, hold two of kSubRun<float>.
template <typename T>
SequenceRuns backward_runs(const SelectiveScanInputs<T>& in) {
  const std::int64_t work = in.ragged.tokens() * in.channels;
  const int longer = work >= std::int64_t{1} << 27 ? 9 : work >= std::int64_t{1} << 25 ? 8 : 6;
  SequenceRuns runs = forward_runs(in);
  runs.shift = std::max(runs.shift, longer);
  return runs;
}

template <typename T>
struct BackwardStore {
  float *step_sums, *state_gradients, *sub_states, *dA, *dD, *dbias, *token_sums, *partial;

  BackwardStore(const SelectiveScanInputs<T>& in, const SequenceRuns& runs, Workspace& memory) {
    const std::int64_t E = in.channels, NS = states_at_once(in), places = runs.places();
    const std::int64_t subs = places * (runs.size() / kSubRun<T>);
    step_sums = memory.take<float>(places * E);
    state_gradients = memory.take<float>(places * E * NS);
    sub_states = memory.take<float>(subs * E * NS);
    dA = memory.take<float>(places * E * in.states);
    dD = memory.take<float>(places * E);
    dbias = memory.take<float>(places * E);
    token_sums = memory.take<float>(ceil_div(E, kBackwardChannels) * runs.tokens * 2 * NS);
    partial = in.states > 16 ? memory.take<float>(3 * runs.tokens * E) : nullptr;
  }
  BackwardMemory<T> of_last_pass(const SelectiveScanGradients<T>& out) const {
    return {.sub_states = sub_states,
            .state_gradients = state_gradients,
            .out = out,
            .dA = dA,
            .dbias = dbias,
            .token_sums = token_sums,
            .partial = partial};
  }
};

/// dB and dC of a group of states.
template <int NS, typename T>
void launch_sums(const ScanGroup<T>& group, const SelectiveScanGradients<T>& out, const SequenceRuns& runs,
                 const float* token_sums, Stream stream) {
  if (runs.tokens == 0) return;
  constexpr int kThreads = 256;
  sum_channel_blocks<T, NS><<<static_cast<unsigned>(ceil_div(runs.tokens * 2 * NS, kThreads)), kThreads, 0, stream>>>(
      group, token_sums, static_cast<int>(ceil_div(group.in.channels, kBackwardChannels)), runs.tokens, out.dB, out.dC);
  check_launch("selective_scan_backward");
}

template <typename T>
RunStarts starts_of(const ScanGroup<T>& group, const float* run_starts) {
  const SequenceRuns runs = forward_runs(group.in);
  const int NS = group_size(group.in.states);
  return {run_starts + group.first_state / NS * (runs.places() * group.in.channels * NS), runs, NS};
}

/// States on the way, and the gradients that runs make of zeros.
template <int NS, typename T>
void launch_aggregate(const ScanGroup<T>& group, const SelectiveScanGradients<T>& out, const SequenceRuns& runs,
                      const BackwardStore<T>& store, Stream stream) {
  launch_walk<T, NS, 1, Walk::kAggregate>(WalkArguments<T>{.group = group,
                                                           .runs = runs,
                                                           .step_sums = store.step_sums,
                                                           .dy = out.dy,
                                                           .sub_states = store.sub_states,
                                                           .starts = starts_of(group, out.run_starts),
                                                           .state_gradients = store.state_gradients,
                                                           .dD = store.dD},
                                          stream);
}

/// The gradients that flow into the runs' ends.
template <typename T>
void carry_gradients(const ScanGroup<T>& group, const SelectiveScanGradients<T>& out, const SequenceRuns& runs, int NS,
                     const BackwardStore<T>& store, Stream stream) {
  launch_carry(CarryArguments<T>{.group = group,
                                 .runs = runs,
                                 .NS = NS,
                                 .step_sums = store.step_sums,
                                 .states = store.state_gradients,
                                 .first = out.dfinal_state,
                                 .last = out.dinitial_state,
                                 .backwards = true},
               stream);
}

template <typename Kernel, typename Arguments>
void launch_large(Kernel* kernel, std::int64_t blocks, int threads, std::size_t shared, const Arguments& arguments,
                  Stream stream) {
  if (blocks == 0) return;
  cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(shared));
  kernel<<<static_cast<unsigned>(blocks), threads, shared, stream>>>(arguments);
  check_launch("selective_scan_backward");
}

template <int NS>
void launch_last_pass(const ScanGroup<float>& group, const SequenceRuns& runs, const BackwardMemory<float>& memory,
                      Stream stream) {
  const SelectiveScanInputs<float>& in = group.in;
  const BackwardArguments<float> arguments{
      .group = group,
      .runs = runs,
      .channel_blocks = static_cast<int>(ceil_div(in.channels, kBackwardChannels)),
      .pairs = vectors_fit<float>(2, in.channels, {in.x, in.delta, in.z, memory.out.dy}),
      .memory = memory};
  const auto launch = [&](auto* kernel) {
    using Shared = BackwardShared<float, NS / 8>;
    launch_large(kernel, runs.places() * arguments.channel_blocks, Shared::kThreads, sizeof(Shared), arguments, stream);
  };
  if constexpr (NS == 16) {
    if (memory.partial != nullptr) launch(backward<float, 2, true>);
  }
  if (memory.partial == nullptr) launch(backward<float, NS / 8, false>);
}

template <int NS>
void launch_last_pass(const ScanGroup<BFloat16>& group, const SequenceRuns& runs,
                      const BackwardMemory<BFloat16>& memory, Stream stream) {
  static_assert(NS == kTensorStates);
  const SelectiveScanGradients<BFloat16>& out = memory.out;
  const TensorBackwardArguments arguments{.inputs = TensorInputs::of(group, runs, out.dy, {out.dx, out.ddelta, out.dz}),
                                          .memory = memory};
  launch_large(memory.partial != nullptr ? backward_bf16<true> : backward_bf16<false>,
               runs.places() * arguments.inputs.channel_blocks, kTensorThreads, sizeof(TensorBackwardShared), arguments,
               stream);
}

template <int NS, typename T>
void backward_group(const ScanGroup<T>& group, const SelectiveScanGradients<T>& out, const SequenceRuns& runs,
                    const BackwardStore<T>& store, Stream stream) {
  launch_aggregate<NS>(group, out, runs, store, stream);
  carry_gradients(group, out, runs, NS, store, stream);
  launch_last_pass<NS>(group, runs, store.of_last_pass(out), stream);
  launch_sums<NS>(group, out, runs, store.token_sums, stream);
}

}  // namespace

template <typename T>
std::int64_t selective_scan_backward_workspace(const SelectiveScanInputs<T>& in) {
  check(in);
  Workspace counted(nullptr);
  BackwardStore<T>(in, backward_runs(in), counted);
  return counted.bytes();
}

template <typename T>
void selective_scan_backward(const SelectiveScanInputs<T>& in, const SelectiveScanGradients<T>& out, void* workspace,
                             Stream stream) {
  check(in, out);
  require(workspace != nullptr, "selective_scan: the backward pass has no workspace");
  require(in.ragged.tokens() == 0 || (out.dx != nullptr && out.ddelta != nullptr),
          "selective_scan: dx or ddelta is missing");
  const SequenceRuns runs = backward_runs(in);
  require(runs.places() == 0 || out.run_starts != nullptr, "selective_scan: the runs' starts are missing");
  Workspace memory(workspace);
  const BackwardStore<T> store(in, runs, memory);
  for_each_group(in, [&](const ScanGroup<T>& group) {
    if constexpr (!std::is_same_v<T, BFloat16>) {
      if (states_at_once(in) == 8) return backward_group<8>(group, out, runs, store, stream);
    }
    backward_group<16>(group, out, runs, store, stream);
  });
  sum_rows<float>({{store.dA, in.channels * in.states, out.dA},
                   {store.dD, in.channels, out.dD},
                   {store.dbias, in.channels, out.ddelta_bias}},
                  runs.places(), stream);
  check_launch("selective_scan_backward");
}

#define DNAMAMBA_INSTANTIATE(T)                                                           \
  template std::int64_t selective_scan_backward_workspace(const SelectiveScanInputs<T>&); \
  template void selective_scan_backward(const SelectiveScanInputs<T>&, const SelectiveScanGradients<T>&, void*, Stream);
DNAMAMBA_INSTANTIATE(float)
DNAMAMBA_INSTANTIATE(BFloat16)
#undef DNAMAMBA_INSTANTIATE

}  // namespace dnamamba::kernels::cuda
