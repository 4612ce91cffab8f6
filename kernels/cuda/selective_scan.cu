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

/// Long runs where there are many tokens: less to carry. Short ones where there are few: more to do side by side.
template <typename T>
int run_shift(const SelectiveScanInputs<T>& in) {
  const std::int64_t work = in.ragged.tokens() * in.channels;
  return work >= std::int64_t{1} << 26 ? 8 : work >= std::int64_t{1} << 24 ? 7 : 6;
}

template <typename T>
struct ForwardStore {
  float *states, *step_sums, *partial;

  ForwardStore(const SelectiveScanInputs<T>& in, const SequenceRuns& runs, Workspace& memory)
      : states(memory.take<float>(runs.places() * in.channels * group_size(in.states))),
        step_sums(memory.take<float>(runs.places() * in.channels)),
        partial(in.states > 16 ? memory.take<float>(runs.tokens * in.channels) : nullptr) {}
};

template <typename T, int NS, int kChannels>
void forward_group(const ScanGroup<T>& group, const SelectiveScanOutputs<T>& out, const SequenceRuns& runs,
                   const ForwardStore<T>& store, Stream stream) {
  const WalkArguments<T> arguments{.group = group,
                                   .runs = runs,
                                   .states = store.states,
                                   .step_sums = store.step_sums,
                                   .y = out.y,
                                   .partial = store.partial};
  launch_walk<T, NS, kChannels, Walk::kStates>(arguments, stream);
  launch_carries(
      CarryArguments<T>{
          .group = group,
          .runs = runs,
          .NS = NS,
          .step_sums = store.step_sums,
          .carries = {{.states = store.states, .first = group.in.initial_state, .last = out.final_state}}},
      1, stream);
  if (store.partial == nullptr) return launch_walk<T, NS, kChannels, Walk::kOutputs>(arguments, stream);
  if constexpr (NS == 16) launch_walk<T, NS, kChannels, Walk::kPartialOutputs>(arguments, stream);
}

}  // namespace

template <typename T>
std::int64_t selective_scan_workspace(const SelectiveScanInputs<T>& in) {
  check(in);
  Workspace counted(nullptr);
  ForwardStore<T>(in, runs_of(in.ragged, run_shift(in), in.reverse), counted);
  return counted.bytes();
}

template <typename T>
void selective_scan(const SelectiveScanInputs<T>& in, const SelectiveScanOutputs<T>& out, void* workspace,
                    Stream stream) {
  check(in, out);
  const SequenceRuns runs = runs_of(in.ragged, run_shift(in), in.reverse);
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

#define DNAMAMBA_INSTANTIATE(T)                                                  \
  template std::int64_t selective_scan_workspace(const SelectiveScanInputs<T>&); \
  template void selective_scan(const SelectiveScanInputs<T>&, const SelectiveScanOutputs<T>&, void*, Stream);
DNAMAMBA_INSTANTIATE(float)
DNAMAMBA_INSTANTIATE(BFloat16)
#undef DNAMAMBA_INSTANTIATE

}  // namespace dnamamba::kernels::cuda
