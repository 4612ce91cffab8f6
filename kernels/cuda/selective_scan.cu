// Parallel over the length: sequences are cut into runs. Forward: the states that every run makes of zeros, what every
// run starts with by carrying these on, and the outputs from there.
#include "kernels/selective_scan.h"

#include <algorithm>

#include "kernels/arguments.h"
#include "kernels/cpu/partition.h"
#include "kernels/cuda/scan_carry.cuh"
#include "kernels/cuda/scan_walk.cuh"
#include "kernels/cuda/vectors.cuh"

namespace dnamamba::kernels::cuda {
namespace {

using cpu::Workspace;

template <typename T>
struct ForwardStore {
  float *states, *step_sums, *partial;

  ForwardStore(const SelectiveScanInputs<T>& in, const SequenceRuns& runs, Workspace& memory)
      : states(memory.take<float>(runs.places() * in.channels * group_size(in.states))),
        step_sums(memory.take<float>(runs.places() * in.channels)),
        partial(in.states > 16 ? memory.take<float>(runs.tokens * in.channels) : nullptr) {}
};

/// What every run starts with, and the outputs where they are wanted.
template <typename T, int NS, int kChannels>
void forward_group(const ScanGroup<T>& group, const SelectiveScanOutputs<T>& out, const SequenceRuns& runs,
                   const ForwardStore<T>& store, Stream stream) {
  float* const kept = out.run_starts;
  float* const states =
      kept == nullptr ? store.states : kept + group.first_state / NS * (runs.places() * group.in.channels * NS);
  const WalkArguments<T> arguments{.group = group,
                                   .runs = runs,
                                   .states = states,
                                   .step_sums = store.step_sums,
                                   .y = out.y,
                                   .partial = store.partial};
  launch_walk<T, NS, kChannels, Walk::kStates>(arguments, stream);
  launch_carry(CarryArguments<T>{.group = group,
                                 .runs = runs,
                                 .NS = NS,
                                 .step_sums = store.step_sums,
                                 .states = states,
                                 .first = group.in.initial_state,
                                 .last = out.final_state},
               stream);
  if (out.y == nullptr) return;
  if (store.partial == nullptr) return launch_walk<T, NS, kChannels, Walk::kOutputs>(arguments, stream);
  if constexpr (NS == 16) launch_walk<T, NS, kChannels, Walk::kPartialOutputs>(arguments, stream);
}

template <typename T>
void forward(const SelectiveScanInputs<T>& in, const SelectiveScanOutputs<T>& out, void* workspace, Stream stream) {
  const SequenceRuns runs = forward_runs(in);
  Workspace memory(workspace);
  const ForwardStore<T> store(in, runs, memory);
  const bool pairs = vectors_fit<T>(2, in.channels, {in.x, in.delta, in.z, out.y});
  for_each_group(in, [&](const ScanGroup<T>& group) {
    if constexpr (std::is_same_v<T, BFloat16>) {  // what two channels share is most of the work
      if (pairs && group_size(in.states) == 8) return forward_group<T, 8, 2>(group, out, runs, store, stream);
      if (pairs) return forward_group<T, 16, 2>(group, out, runs, store, stream);
    }
    group_size(in.states) == 8 ? forward_group<T, 8, 1>(group, out, runs, store, stream)
                               : forward_group<T, 16, 1>(group, out, runs, store, stream);
  });
}

}  // namespace

template <typename T>
std::int64_t selective_scan_workspace(const SelectiveScanInputs<T>& in) {
  check(in);
  Workspace counted(nullptr);
  ForwardStore<T>(in, forward_runs(in), counted);
  return counted.bytes();
}

template <typename T>
void selective_scan(const SelectiveScanInputs<T>& in, const SelectiveScanOutputs<T>& out, void* workspace,
                    Stream stream) {
  check(in, out);
  forward(in, out, workspace, stream);
}

template <typename T>
void selective_scan_run_starts(const SelectiveScanInputs<T>& in, float* run_starts, void* workspace, Stream stream) {
  check(in);
  require(in.ragged.sequences == 0 || run_starts != nullptr, "selective_scan: there is no room for the runs' starts");
  forward<T>(in, {.run_starts = run_starts}, workspace, stream);
}

#define DNAMAMBA_INSTANTIATE(T)                                                                               \
  template std::int64_t selective_scan_workspace(const SelectiveScanInputs<T>&);                              \
  template void selective_scan(const SelectiveScanInputs<T>&, const SelectiveScanOutputs<T>&, void*, Stream); \
  template void selective_scan_run_starts(const SelectiveScanInputs<T>&, float*, void*, Stream);
DNAMAMBA_INSTANTIATE(float)
DNAMAMBA_INSTANTIATE(BFloat16)
#undef DNAMAMBA_INSTANTIATE

}  // namespace dnamamba::kernels::cuda
