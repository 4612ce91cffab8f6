// Lanes are channels. A chunk of tokens is worked on in three steps: step sizes of all its tokens, then the states four
// at a time over all its tokens (so that they stay in registers whatever N is), then skip and gate. Nothing that is
// computed for a token depends on where a chunk begins, so that cuts don't show.
#include "kernels/selective_scan.h"

#include "kernels/arguments.h"
#include "kernels/cpu/buffer.h"
#include "kernels/cpu/denormals.h"
#include "kernels/cpu/partial_sums.h"
#include "kernels/cpu/partition.h"
#include "kernels/cpu/scan_plan.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/selective_scan.cpp"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
// After foreach_target:
#include "hwy/cache_control.h"
#include "hwy/highway.h"
#include "kernels/cpu/dispatch.h"
#include "kernels/cpu/vectors-inl.h"

HWY_BEFORE_NAMESPACE();
namespace dnamamba::kernels::cpu::HWY_NAMESPACE {
namespace {

constexpr std::int64_t kStatesAtOnce = 4;

/// One vector of channels.
struct Strip {
  std::int64_t channel = 0;  ///< the first
  std::int64_t count = 0;    ///< how many of the lanes are channels
};

/// What a task holds of a chunk of a strip: [kScanChunk, lanes] each.
template <typename T>
struct StepBuffers {
  static constexpr std::int64_t kArrays = 8;
  T *x, *dt, *dtx, *y;               // y: the sum over states so far
  T *slope, *dy, *g_times_B, *dlog;  // backward: softplus', dy times the gate, sums over states of g B and of A2 a g h

  StepBuffers(T* memory, std::int64_t lanes) {
    T** const arrays[kArrays] = {&x, &dt, &dtx, &y, &slope, &dy, &g_times_B, &dlog};
    for (std::int64_t i = 0; i < kArrays; ++i) *arrays[i] = memory + i * kScanChunk * lanes;
  }
};

/// Matrices [channels, N] of the caller as [N, lanes] of a strip.
template <class D, typename T = hn::TFromD<D>>
void load_strip(D d, const T* matrix, std::int64_t states, const Strip& strip, T factor, T* to) {
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  std::fill_n(to, states * lanes, T{0});
  for (std::int64_t i = 0; matrix != nullptr && i < strip.count; ++i) {
    const T* const from = matrix + (strip.channel + i) * states;
    for (std::int64_t n = 0; n < states; ++n) to[n * lanes + i] = from[n] * factor;
  }
}
template <class D, typename T = hn::TFromD<D>>
void store_strip(D d, const T* from, std::int64_t states, const Strip& strip, T* matrix) {
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  for (std::int64_t i = 0; i < strip.count; ++i) {
    for (std::int64_t n = 0; n < states; ++n) matrix[(strip.channel + i) * states + n] = from[n * lanes + i];
  }
}

/// kGroup states of a strip over a chunk.
template <typename T>
struct StateGroup {
  const SelectiveScanInputs<T>& in;
  const ChunkRows& rows;
  StepBuffers<T> steps;
  std::int64_t n;  ///< the first state
  const T* A2;     ///< [group, lanes] A * log2(e)
  T* h;            ///< [group, lanes] in and out
};

/// h before each token of the chunk and after the last, and the factors a = exp(dt A), of kGroup states.
template <typename T>
struct History {
  static constexpr std::int64_t kStride = (kScanChunk + 1) * ScanPlan<T>::kBlockChannels;  // from state to state
  Buffer<T> memory = make_buffer<T>(2 * kStatesAtOnce * kStride);
  T* h = memory.get();
  T* a = memory.get() + kStatesAtOnce * kStride;
};

enum class Keep { kStates, kOutput, kHistory };  // states alone; y too; y and history too

/// The recurrence. kSmall: dt * A2 is above -1/2 everywhere in this chunk; the result is the same in every bit.
template <Keep kKeep, int kGroup, bool kSmall, class D, typename T = hn::TFromD<D>>
HWY_NOINLINE void advance(D d, const StateGroup<T>& group, const History<T>* history) {
  using V = hn::Vec<D>;
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  const StepBuffers<T> steps = group.steps;
  V h[kGroup], A2[kGroup];
  for (int j = 0; j < kGroup; ++j) {
    h[j] = hn::Load(d, group.h + j * lanes);
    A2[j] = hn::Load(d, group.A2 + j * lanes);
  }
  for (std::int64_t i = 0; i < group.rows.length; ++i) {
    const std::int64_t at = group.rows.row(i) * group.in.states + group.n;
    const T* const B = group.in.B + at;
    const T* const C = group.in.C + at;
    const V dt = hn::Load(d, steps.dt + i * lanes);
    const V dtx = hn::Load(d, steps.dtx + i * lanes);
    V y = kKeep == Keep::kStates ? hn::Zero(d) : hn::Load(d, steps.y + i * lanes);
    V a[kGroup];
    HWY_UNROLL(8)
    for (int j = 0; j < kGroup; ++j) a[j] = hn::Mul(dt, A2[j]);
    exp2_of_negative<kSmall, kGroup>(d, a);
    HWY_UNROLL(8)
    for (int j = 0; j < kGroup; ++j) {
      if constexpr (kKeep == Keep::kHistory) {
        hn::Store(h[j], d, history->h + j * History<T>::kStride + i * lanes);
        hn::Store(a[j], d, history->a + j * History<T>::kStride + i * lanes);
      }
      h[j] = hn::MulAdd(a[j], h[j], hn::Mul(dtx, hn::Set(d, B[j])));
      if constexpr (kKeep != Keep::kStates) y = hn::MulAdd(h[j], hn::Set(d, C[j]), y);
    }
    if constexpr (kKeep != Keep::kStates) hn::Store(y, d, steps.y + i * lanes);
  }
  for (int j = 0; j < kGroup; ++j) {
    hn::Store(h[j], d, group.h + j * lanes);
    if constexpr (kKeep == Keep::kHistory) {
      hn::Store(h[j], d, history->h + j * History<T>::kStride + group.rows.length * lanes);
    }
  }
}

template <Keep kKeep, int kGroup, class D, typename T = hn::TFromD<D>>
void advance_group(D d, const StateGroup<T>& group, T largest_dt, T largest_A2, const History<T>* history) {
  if (largest_dt * largest_A2 < T(0.5)) {
    advance<kKeep, kGroup, true>(d, group, history);
  } else {
    advance<kKeep, kGroup, false>(d, group, history);
  }
}

/// The strips of a slot: their parameters, states, and steps of the chunk at hand.
template <class D, typename T = hn::TFromD<D>>
struct SlotState {
  D d;
  std::int64_t states, lanes, first_channel = 0, strips = 0, channels = 0;
  Buffer<T> A2, largest_A2, h;       // [strip][N, lanes]; the largest |A2| of a group is at its first state
  Buffer<T> bias, skip, largest_dt;  // [strip][lanes]
  Buffer<T> step_memory;

  SlotState(D tag, const ScanPlan<T>& plan)
      : d(tag),
        states(plan.states),
        lanes(static_cast<std::int64_t>(hn::Lanes(tag))),
        channels(plan.channels),
        A2(make_buffer<T>(plan.largest_slot() * states)),
        largest_A2(make_buffer<T>(plan.largest_slot() * states)),
        h(make_buffer<T>(plan.largest_slot() * states)),
        bias(make_buffer<T>(plan.largest_slot())),
        skip(make_buffer<T>(plan.largest_slot())),
        largest_dt(make_buffer<T>(plan.largest_slot())),
        step_memory(make_buffer<T>(plan.largest_slot() * kScanChunk * StepBuffers<T>::kArrays)) {}

  void enter(const SelectiveScanInputs<T>& in, const ScanPlan<T>& plan, std::int64_t slot) {
    first_channel = plan.first_channel(slot);
    strips = ceil_div(std::min(channels, plan.first_channel(slot + 1)) - first_channel, lanes);
    for (std::int64_t i = 0; i < strips; ++i) {
      load_strip(d, in.A, states, strip(i), T(1.4426950408889634074), A2.get() + at(i));
      load_strip(d, in.D, 1, strip(i), T{1}, skip.get() + i * lanes);
      load_strip(d, in.delta_bias, 1, strip(i), T{1}, bias.get() + i * lanes);
      // Lanes without a channel get a step of next to nothing, so that they don't count among the largest.
      std::fill(bias.get() + i * lanes + strip(i).count, bias.get() + (i + 1) * lanes, T{-80});
      for (std::int64_t n = 0; n < states; ++n) largest_A2[i * states + n] = largest_of_group(i, n);
    }
  }
  [[nodiscard]] Strip strip(std::int64_t i) const {
    const std::int64_t channel = first_channel + i * lanes;
    return {channel, std::min(lanes, channels - channel)};
  }
  [[nodiscard]] std::int64_t at(std::int64_t i) const { return i * lanes * states; }
  [[nodiscard]] StepBuffers<T> steps(std::int64_t i) const {
    return {step_memory.get() + i * lanes * kScanChunk * StepBuffers<T>::kArrays, lanes};
  }

  /// How many states are worked on together from state n on.
  [[nodiscard]] int group_size(std::int64_t n) const {
    return states - n >= kStatesAtOnce ? static_cast<int>(kStatesAtOnce) : 1;
  }

 private:
  [[nodiscard]] T largest_of_group(std::int64_t i, std::int64_t n) const {
    T largest = 0;
    for (std::int64_t k = n * lanes; k < (n + group_size(n)) * lanes; ++k) {
      largest = std::max(largest, std::abs(A2[at(i) + k]));
    }
    return largest;
  }
};

/// Asks for what is read a few rows later: rows are pages apart, which no processor foresees.
template <typename T>
HWY_INLINE void prefetch_row(const ChunkRows& rows, std::int64_t i, std::int64_t channels, std::int64_t at,
                             std::initializer_list<const T*> matrices) {
  constexpr std::int64_t kAhead = 8;
  if (i + kAhead >= rows.length) return;
  for (const T* matrix : matrices) {
    if (matrix != nullptr) hwy::Prefetch(matrix + at + rows.step * kAhead * channels);
  }
}

/// Fills x, dt, dt * x (and softplus' when kSlope) of a chunk of all strips, and the largest dt of each. Row after row:
/// memory answers neighbours at once.
template <bool kSlope, class D, typename T = hn::TFromD<D>>
HWY_NOINLINE void load_steps(SlotState<D>& slot, const SelectiveScanInputs<T>& in, const ChunkRows& rows) {
  const D d;
  std::fill_n(slot.largest_dt.get(), slot.strips * slot.lanes, T{0});
  for (std::int64_t i = 0; i < rows.length; ++i) {
    for (std::int64_t k = 0; k < slot.strips; ++k) {
      const Strip strip = slot.strip(k);
      const StepBuffers<T> to = slot.steps(k);
      const std::int64_t at = rows.row(i) * in.channels + strip.channel;
      prefetch_row(rows, i, in.channels, at, {in.x, in.delta});
      const auto x = load_part(d, in.x + at, strip.count);
      const auto v = hn::Add(load_part(d, in.delta + at, strip.count), hn::Load(d, slot.bias.get() + k * slot.lanes));
      auto slope = hn::Undefined(d);
      const auto dt = softplus<kSlope>(d, v, &slope);
      hn::Store(x, d, to.x + i * slot.lanes);
      hn::Store(dt, d, to.dt + i * slot.lanes);
      hn::Store(hn::Mul(dt, x), d, to.dtx + i * slot.lanes);
      if constexpr (kSlope) hn::Store(slope, d, to.slope + i * slot.lanes);
      T* const largest = slot.largest_dt.get() + k * slot.lanes;
      hn::Store(hn::Max(hn::Load(d, largest), dt), d, largest);
    }
  }
}

/// The largest dt of strip i in this chunk.
template <class D>
hn::TFromD<D> largest_step(const SlotState<D>& slot, std::int64_t i) {
  const D d;
  return hn::GetLane(hn::MaxOfLanes(d, hn::Load(d, slot.largest_dt.get() + i * slot.lanes)));
}

/// All states of strip i over a chunk whose steps are loaded.
template <Keep kKeep, class D, typename T = hn::TFromD<D>>
void advance_strip(SlotState<D>& slot, std::int64_t i, const SelectiveScanInputs<T>& in, const ChunkRows& rows) {
  constexpr const History<T>* kNone = nullptr;
  const StepBuffers<T> steps = slot.steps(i);
  const T largest_dt = largest_step(slot, i);
  if (kKeep == Keep::kOutput) std::fill_n(steps.y, rows.length * slot.lanes, T{0});
  for (std::int64_t n = 0; n < slot.states; n += slot.group_size(n)) {
    const std::int64_t at = slot.at(i) + n * slot.lanes;
    const StateGroup<T> group{in, rows, steps, n, slot.A2.get() + at, slot.h.get() + at};
    const T largest_A2 = slot.largest_A2[i * slot.states + n];
    if (slot.group_size(n) == 1) {
      advance_group<kKeep, 1>(slot.d, group, largest_dt, largest_A2, kNone);
    } else {
      advance_group<kKeep, kStatesAtOnce>(slot.d, group, largest_dt, largest_A2, kNone);
    }
  }
}

/// Skip and gate, then y to the caller.
template <class D, typename T = hn::TFromD<D>>
HWY_NOINLINE void store_outputs(const SlotState<D>& slot, const SelectiveScanInputs<T>& in, const ChunkRows& rows,
                                T* y) {
  const D d;
  for (std::int64_t i = 0; i < rows.length; ++i) {
    for (std::int64_t k = 0; k < slot.strips; ++k) {
      const Strip strip = slot.strip(k);
      const StepBuffers<T> steps = slot.steps(k);
      const std::int64_t at = rows.row(i) * in.channels + strip.channel;
      prefetch_row(rows, i, in.channels, at, {in.z, static_cast<const T*>(y)});
      const auto skip = hn::Load(d, slot.skip.get() + k * slot.lanes);
      auto out = hn::Load(d, steps.y + i * slot.lanes);
      if (in.D) out = hn::MulAdd(skip, hn::Load(d, steps.x + i * slot.lanes), out);
      if (in.z) out = hn::Mul(out, silu(d, load_part(d, in.z + at, strip.count)));
      store_part(d, out, y + at, strip.count);
    }
  }
}

template <class D, typename T = hn::TFromD<D>>
void load_initial_states(SlotState<D>& slot, const SelectiveScanInputs<T>& in, std::int64_t sequence) {
  const T* const initial = in.initial_state ? in.initial_state + sequence * in.channels * in.states : nullptr;
  for (std::int64_t i = 0; i < slot.strips; ++i) {
    load_strip(slot.d, initial, in.states, slot.strip(i), T{1}, slot.h.get() + slot.at(i));
  }
}

template <typename T>
SequenceRows rows_of(const SelectiveScanInputs<T>& in, std::int64_t sequence) {
  return {in.ragged.offsets[sequence], in.ragged.offsets[sequence + 1], in.reverse, kScanChunk};
}

template <class D, typename T = hn::TFromD<D>>
void scan_sequence(SlotState<D>& slot, const SelectiveScanInputs<T>& in, const SelectiveScanOutputs<T>& out,
                   std::int64_t sequence) {
  const SequenceRows sequence_rows = rows_of(in, sequence);
  load_initial_states(slot, in, sequence);
  for (std::int64_t c = 0; c < sequence_rows.chunks(); ++c) {
    const ChunkRows rows = sequence_rows.chunk(c);
    load_steps<false>(slot, in, rows);
    for (std::int64_t i = 0; i < slot.strips; ++i) advance_strip<Keep::kOutput>(slot, i, in, rows);
    store_outputs(slot, in, rows, out.y);
  }
  if (out.final_state == nullptr) return;
  T* const final_state = out.final_state + sequence * in.channels * in.states;
  for (std::int64_t i = 0; i < slot.strips; ++i) {
    store_strip(slot.d, slot.h.get() + slot.at(i), in.states, slot.strip(i), final_state);
  }
}

/// Tasks are (sequence, slot).
template <typename T>
void forward_tasks(const SelectiveScanInputs<T>& in, const SelectiveScanOutputs<T>& out, const ScanPlan<T>& plan,
                   std::int64_t first, std::int64_t last) {
  const FlushDenormals flush;
  const hn::ScalableTag<T> d;
  SlotState<decltype(d)> slot(d, plan);
  for (std::int64_t task = first; task < last; ++task) {
    slot.enter(in, plan, task % plan.slots.parts);
    scan_sequence(slot, in, out, task / plan.slots.parts);
  }
}

// ---- Backward. With g[t] the gradient of h[t] and `carry` = a[t+1] g[t+1], from the last token to the first:
//   g = dy C + carry;  carry' = a g;  dB += g dt x;  dC += dy h[t];  dA += dt carry' h[t-1];
//   dx = dt sum(g B) + D dy;  ddt = sum(A carry' h[t-1]) + x sum(g B)

/// From one state's sums to the next one's in dB and dC of a task.
template <typename T>
constexpr std::int64_t kStateStride = kScanChunk* ScanPlan<T>::kBlockChannels;

/// What a task of the backward pass holds besides.
template <class D, typename T = hn::TFromD<D>>
struct BackwardState {
  SlotState<D> slot;
  History<T> history;
  Buffer<T> carry;      ///< [strip][N, lanes]
  Buffer<T> dD, dbias;  ///< [strip][lanes], sums over the chunk
  Buffer<T> dB, dC;     ///< [N, kScanChunk, lanes], sums over the strips of the slot
  double* dA;           ///< sums of the task: [N, padded channels]; dD and ddelta_bias are two rows more
  std::int64_t padded_channels;

  BackwardState(D d, const ScanPlan<T>& plan)
      : slot(d, plan),
        carry(make_buffer<T>(plan.largest_slot() * plan.states)),
        dD(make_buffer<T>(plan.largest_slot())),
        dbias(make_buffer<T>(plan.largest_slot())),
        dB(make_buffer<T>(plan.states * kStateStride<T>)),
        dC(make_buffer<T>(plan.states * kStateStride<T>)),
        dA(nullptr),
        padded_channels(plan.padded_channels()) {}
};

/// dy times the gate; zeros for the sums over states.
template <class D, typename T = hn::TFromD<D>>
HWY_NOINLINE void load_gradients(const SlotState<D>& slot, const SelectiveScanInputs<T>& in, const T* dy,
                                 const ChunkRows& rows) {
  const D d;
  for (std::int64_t i = 0; i < rows.length; ++i) {
    for (std::int64_t k = 0; k < slot.strips; ++k) {
      const Strip strip = slot.strip(k);
      const StepBuffers<T> to = slot.steps(k);
      const std::int64_t at = rows.row(i) * in.channels + strip.channel;
      prefetch_row(rows, i, in.channels, at, {dy, in.z});
      auto gradient = load_part(d, dy + at, strip.count);
      if (in.z) gradient = hn::Mul(gradient, silu(d, load_part(d, in.z + at, strip.count)));
      hn::Store(gradient, d, to.dy + i * slot.lanes);
      for (T* sum : {to.y, to.g_times_B, to.dlog}) hn::Store(hn::Zero(d), d, sum + i * slot.lanes);
    }
  }
}

/// The gradient recurrence of kGroup states over a chunk, from its last token to its first.
template <int kGroup, class D, typename T = hn::TFromD<D>>
HWY_NOINLINE void sweep_back(BackwardState<D>& state, const StateGroup<T>& group, T* carries, double* dA_sums) {
  using V = hn::Vec<D>;
  const D d = state.slot.d;
  const std::int64_t lanes = state.slot.lanes;
  const StepBuffers<T> steps = group.steps;
  V carry[kGroup], A2[kGroup], dA[kGroup];
  for (int j = 0; j < kGroup; ++j) {
    carry[j] = hn::Load(d, carries + j * lanes);
    A2[j] = hn::Load(d, group.A2 + j * lanes);
    dA[j] = hn::Zero(d);
  }
  for (std::int64_t i = group.rows.length - 1; i >= 0; --i) {
    const std::int64_t at = group.rows.row(i) * group.in.states + group.n;
    const T* const B = group.in.B + at;
    const T* const C = group.in.C + at;
    const V dy = hn::Load(d, steps.dy + i * lanes);
    const V dt = hn::Load(d, steps.dt + i * lanes);
    const V dtx = hn::Load(d, steps.dtx + i * lanes);
    V g_times_B = hn::Load(d, steps.g_times_B + i * lanes);
    V dlog = hn::Load(d, steps.dlog + i * lanes);
    HWY_UNROLL(4)
    for (int j = 0; j < kGroup; ++j) {
      const T* const h = state.history.h + j * History<T>::kStride + i * lanes;
      const V a = hn::Load(d, state.history.a + j * History<T>::kStride + i * lanes);
      T* const dB = state.dB.get() + (group.n + j) * kStateStride<T> + i * lanes;
      T* const dC = state.dC.get() + (group.n + j) * kStateStride<T> + i * lanes;
      const V g = hn::MulAdd(dy, hn::Set(d, C[j]), carry[j]);
      hn::Store(hn::MulAdd(dy, hn::Load(d, h + lanes), hn::Load(d, dC)), d, dC);
      hn::Store(hn::MulAdd(g, dtx, hn::Load(d, dB)), d, dB);
      g_times_B = hn::MulAdd(g, hn::Set(d, B[j]), g_times_B);
      carry[j] = hn::Mul(a, g);
      const V change = hn::Mul(carry[j], hn::Load(d, h));
      dA[j] = hn::MulAdd(dt, change, dA[j]);
      dlog = hn::MulAdd(A2[j], change, dlog);
    }
    hn::Store(g_times_B, d, steps.g_times_B + i * lanes);
    hn::Store(dlog, d, steps.dlog + i * lanes);
  }
  for (int j = 0; j < kGroup; ++j) {
    hn::Store(carry[j], d, carries + j * lanes);
    add_to_double(d, dA[j], dA_sums + j * state.padded_channels);
  }
}

template <int kGroup, class D, typename T = hn::TFromD<D>>
void backward_of_group(BackwardState<D>& state, std::int64_t i, const StateGroup<T>& group, T largest_dt) {
  SlotState<D>& slot = state.slot;
  const T largest_A2 = slot.largest_A2[i * slot.states + group.n];
  advance_group<Keep::kHistory, kGroup>(slot.d, group, largest_dt, largest_A2, &state.history);
  sweep_back<kGroup>(state, group, state.carry.get() + slot.at(i) + group.n * slot.lanes,
                     state.dA + group.n * state.padded_channels + slot.strip(i).channel);
}

/// From the sums over states to the gradients of one token and strip.
template <class D, typename T = hn::TFromD<D>>
HWY_INLINE void store_token(BackwardState<D>& state, const SelectiveScanInputs<T>& in,
                            const SelectiveScanGradients<T>& out, std::int64_t i, std::int64_t at, std::int64_t k) {
  const D d;
  const SlotState<D>& slot = state.slot;
  const Strip strip = slot.strip(k);
  const StepBuffers<T> steps = slot.steps(k);
  const auto skip = hn::Load(d, slot.skip.get() + k * slot.lanes);
  const auto x = hn::Load(d, steps.x + i * slot.lanes);
  const auto dy = hn::Load(d, steps.dy + i * slot.lanes);
  const auto g_times_B = hn::Load(d, steps.g_times_B + i * slot.lanes);
  const auto ln2 = hn::Set(d, T(0.69314718055994530942));
  const auto ddt = hn::MulAdd(x, g_times_B, hn::Mul(ln2, hn::Load(d, steps.dlog + i * slot.lanes)));
  const auto ddelta = hn::Mul(ddt, hn::Load(d, steps.slope + i * slot.lanes));
  const auto dx = hn::MulAdd(hn::Load(d, steps.dt + i * slot.lanes), g_times_B, hn::Mul(skip, dy));
  if (out.dx) store_part(d, dx, out.dx + at, strip.count);
  if (out.ddelta) store_part(d, ddelta, out.ddelta + at, strip.count);
  if (out.dz) {
    const auto z = load_part(d, in.z + at, strip.count);
    const auto ungated = hn::MulAdd(skip, x, hn::Load(d, steps.y + i * slot.lanes));
    const auto slope = silu_slope_from(d, z, sigmoid(d, z));
    const auto dz = hn::Mul(hn::Mul(load_part(d, out.dy + at, strip.count), ungated), slope);
    store_part(d, dz, out.dz + at, strip.count);
  }
  T* const dD = state.dD.get() + k * slot.lanes;
  T* const dbias = state.dbias.get() + k * slot.lanes;
  hn::Store(hn::MulAdd(dy, x, hn::Load(d, dD)), d, dD);
  hn::Store(hn::Add(ddelta, hn::Load(d, dbias)), d, dbias);
}

template <class D, typename T = hn::TFromD<D>>
HWY_NOINLINE void store_gradients(BackwardState<D>& state, const SelectiveScanInputs<T>& in,
                                  const SelectiveScanGradients<T>& out, const ChunkRows& rows) {
  const D d;
  const SlotState<D>& slot = state.slot;
  std::fill_n(state.dD.get(), slot.strips * slot.lanes, T{0});
  std::fill_n(state.dbias.get(), slot.strips * slot.lanes, T{0});
  for (std::int64_t i = 0; i < rows.length; ++i) {
    for (std::int64_t k = 0; k < slot.strips; ++k) {
      const std::int64_t at = rows.row(i) * in.channels + slot.strip(k).channel;
      prefetch_row<T>(rows, i, in.channels, at, {out.dx, out.ddelta, out.dz});
      store_token(state, in, out, i, at, k);
    }
  }
  for (std::int64_t k = 0; k < slot.strips; ++k) {
    double* const sums = state.dA + in.states * state.padded_channels + slot.strip(k).channel;
    add_to_double(d, hn::Load(d, state.dD.get() + k * slot.lanes), sums);
    add_to_double(d, hn::Load(d, state.dbias.get() + k * slot.lanes), sums + state.padded_channels);
  }
}

template <class D, typename T = hn::TFromD<D>>
void backward_of_strip(BackwardState<D>& state, std::int64_t i, const SelectiveScanInputs<T>& in,
                       const ChunkRows& rows) {
  SlotState<D>& slot = state.slot;
  const T largest_dt = largest_step(slot, i);
  const StepBuffers<T> steps = slot.steps(i);
  for (std::int64_t n = 0; n < slot.states; n += slot.group_size(n)) {
    const std::int64_t at = slot.at(i) + n * slot.lanes;
    const StateGroup<T> group{in, rows, steps, n, slot.A2.get() + at, slot.h.get() + at};
    if (slot.group_size(n) == 1) {
      backward_of_group<1>(state, i, group, largest_dt);
    } else {
      backward_of_group<kStatesAtOnce>(state, i, group, largest_dt);
    }
  }
}

/// Sums dB and dC of a chunk over the lanes; to: [T, N].
template <class D, typename T = hn::TFromD<D>>
void store_token_gradients(const BackwardState<D>& state, const ChunkRows& rows, T* dB, T* dC) {
  const SlotState<D>& slot = state.slot;
  for (std::int64_t i = 0; i < rows.length; ++i) {
    const std::int64_t from = i * slot.lanes;
    const std::int64_t to = rows.row(i) * slot.states;
    if (dB) sum_lanes(slot.d, state.dB.get() + from, kStateStride<T>, slot.states, dB + to);
    if (dC) sum_lanes(slot.d, state.dC.get() + from, kStateStride<T>, slot.states, dC + to);
  }
}

/// Runs the recurrence once to know the states at the start of every chunk but the first.
template <class D, typename T = hn::TFromD<D>>
void keep_chunk_starts(BackwardState<D>& state, const SelectiveScanInputs<T>& in, const SequenceRows& sequence_rows,
                       T* starts) {
  SlotState<D>& slot = state.slot;
  for (std::int64_t c = 0; c + 1 < sequence_rows.chunks(); ++c) {
    const ChunkRows rows = sequence_rows.chunk(c);
    load_steps<false>(slot, in, rows);
    for (std::int64_t i = 0; i < slot.strips; ++i) advance_strip<Keep::kStates>(slot, i, in, rows);
    std::copy_n(slot.h.get(), slot.strips * slot.lanes * slot.states, starts + c * state.padded_channels * slot.states);
  }
}

template <class D, typename T = hn::TFromD<D>>
void backward_of_sequence(BackwardState<D>& state, const SelectiveScanInputs<T>& in,
                          const SelectiveScanGradients<T>& out, std::int64_t sequence, T* starts, T* dB, T* dC) {
  SlotState<D>& slot = state.slot;
  const SequenceRows sequence_rows = rows_of(in, sequence);
  const std::int64_t state_at = sequence * in.channels * in.states;
  load_initial_states(slot, in, sequence);
  keep_chunk_starts(state, in, sequence_rows, starts);
  for (std::int64_t i = 0; i < slot.strips; ++i) {
    load_strip(slot.d, out.dfinal_state ? out.dfinal_state + state_at : nullptr, in.states, slot.strip(i), T{1},
               state.carry.get() + slot.at(i));
  }
  for (std::int64_t c = sequence_rows.chunks() - 1; c >= 0; --c) {
    const ChunkRows rows = sequence_rows.chunk(c);
    if (c == 0) {
      load_initial_states(slot, in, sequence);
    } else {
      std::copy_n(starts + (c - 1) * state.padded_channels * in.states, slot.strips * slot.lanes * in.states,
                  slot.h.get());
    }
    std::fill_n(state.dB.get(), in.states * kStateStride<T>, T{0});
    std::fill_n(state.dC.get(), in.states * kStateStride<T>, T{0});
    load_steps<true>(slot, in, rows);
    load_gradients(slot, in, out.dy, rows);
    for (std::int64_t i = 0; i < slot.strips; ++i) backward_of_strip(state, i, in, rows);
    store_gradients(state, in, out, rows);
    store_token_gradients(state, rows, dB, dC);
  }
  for (std::int64_t i = 0; out.dinitial_state != nullptr && i < slot.strips; ++i) {
    store_strip(slot.d, state.carry.get() + slot.at(i), in.states, slot.strip(i), out.dinitial_state + state_at);
  }
}

/// Tasks are (group of sequences, slot).
template <typename T>
void backward_tasks(const SelectiveScanInputs<T>& in, const SelectiveScanGradients<T>& out, const ScanPlan<T>& plan,
                    const ScanBackwardStore<T>& store, std::int64_t first, std::int64_t last) {
  const FlushDenormals flush;
  const hn::ScalableTag<T> d;
  BackwardState<decltype(d)> state(d, plan);
  for (std::int64_t task = first; task < last; ++task) {
    const std::int64_t slot = task % plan.slots.parts;
    const std::int64_t group = task / plan.slots.parts;
    state.slot.enter(in, plan, slot);
    state.dA = store.sums + group * (plan.states + 2) * plan.padded_channels();
    for (std::int64_t n = 0; n < plan.states + 2; ++n) {
      std::fill(state.dA + n * plan.padded_channels() + plan.first_channel(slot),
                state.dA + n * plan.padded_channels() + plan.first_channel(slot + 1), 0.0);
    }
    T* const dB = store.dB != nullptr && out.dB != nullptr ? store.dB + slot * plan.tokens * plan.states : out.dB;
    T* const dC = store.dC != nullptr && out.dC != nullptr ? store.dC + slot * plan.tokens * plan.states : out.dC;
    for (std::int64_t s = plan.groups.first(in.ragged, group); s < plan.groups.first(in.ragged, group + 1); ++s) {
      T* const starts = store.chunk_starts +
                        first_chunk_start(in.ragged.offsets[s], kScanChunk) * plan.padded_channels() * plan.states +
                        plan.first_channel(slot) * plan.states;
      backward_of_sequence(state, in, out, s, starts, dB, dC);
    }
  }
}

void forward_float(const SelectiveScanInputs<float>& in, const SelectiveScanOutputs<float>& out,
                   const ScanPlan<float>& plan, std::int64_t first, std::int64_t last) {
  forward_tasks(in, out, plan, first, last);
}
void forward_double(const SelectiveScanInputs<double>& in, const SelectiveScanOutputs<double>& out,
                    const ScanPlan<double>& plan, std::int64_t first, std::int64_t last) {
  forward_tasks(in, out, plan, first, last);
}
void backward_float(const SelectiveScanInputs<float>& in, const SelectiveScanGradients<float>& out,
                    const ScanPlan<float>& plan, const ScanBackwardStore<float>& store, std::int64_t first,
                    std::int64_t last) {
  backward_tasks(in, out, plan, store, first, last);
}
void backward_double(const SelectiveScanInputs<double>& in, const SelectiveScanGradients<double>& out,
                     const ScanPlan<double>& plan, const ScanBackwardStore<double>& store, std::int64_t first,
                     std::int64_t last) {
  backward_tasks(in, out, plan, store, first, last);
}

}  // namespace
}  // namespace dnamamba::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace dnamamba::kernels::cpu {
namespace {

DNAMAMBA_DISPATCH(forward);
DNAMAMBA_DISPATCH(backward);

// Four blocks of a row are read together (a block is one line of memory, and lines of one row come faster than lines of
// many); few slots backwards mean few partial sums of dB and dC.
template <typename T>
ScanPlan<T> forward_plan(const SelectiveScanInputs<T>& in) {
  return ScanPlan<T>(in, /*blocks_per_slot=*/4, /*most_slots=*/in.channels);
}
template <typename T>
ScanPlan<T> backward_plan(const SelectiveScanInputs<T>& in) {
  return ScanPlan<T>(in, /*blocks_per_slot=*/4, /*most_slots=*/16);
}

/// dA, dD and the gradient of the bias, summed over the groups in order.
template <typename T>
void sum_groups(const ScanPlan<T>& plan, const double* sums, std::int64_t e, const SelectiveScanGradients<T>& out) {
  const auto total = [&](std::int64_t row) {
    double sum = 0;
    for (std::int64_t group = 0; group < plan.groups.count; ++group) {
      sum += sums[(group * (plan.states + 2) + row) * plan.padded_channels() + e];
    }
    return static_cast<T>(sum);
  };
  for (std::int64_t n = 0; out.dA != nullptr && n < plan.states; ++n) out.dA[e * plan.states + n] = total(n);
  if (out.dD) out.dD[e] = total(plan.states);
  if (out.ddelta_bias) out.ddelta_bias[e] = total(plan.states + 1);
}

}  // namespace

template <typename T>
void selective_scan(const SelectiveScanInputs<T>& in, const SelectiveScanOutputs<T>& out, const ParallelFor& parallel) {
  check(in, out);
  const ScanPlan<T> plan = forward_plan(in);
  const auto run = forward_for(T{});
  parallel(plan.sequences * plan.slots.parts,
           [&](std::int64_t first, std::int64_t last) { run(in, out, plan, first, last); });
}

template <typename T>
std::int64_t selective_scan_backward_workspace(const SelectiveScanInputs<T>& in) {
  check(in);
  Workspace counted(nullptr);
  ScanBackwardStore<T>(backward_plan(in), counted);
  return counted.bytes();
}

template <typename T>
void selective_scan_backward(const SelectiveScanInputs<T>& in, const SelectiveScanGradients<T>& gradients,
                             void* workspace, const ParallelFor& parallel) {
  check(in, gradients);
  require(workspace != nullptr, "selective_scan: the backward pass has no workspace");
  const ScanPlan<T> plan = backward_plan(in);
  Workspace memory(workspace);
  const ScanBackwardStore<T> store(plan, memory);
  const auto run = backward_for(T{});
  parallel(plan.groups.count * plan.slots.parts,
           [&](std::int64_t first, std::int64_t last) { run(in, gradients, plan, store, first, last); });
  if (store.dB) sum_parts<T>(store.dB, plan.slots.parts, plan.tokens * plan.states, gradients.dB, parallel);
  if (store.dC) sum_parts<T>(store.dC, plan.slots.parts, plan.tokens * plan.states, gradients.dC, parallel);
  parallel(plan.channels, [&](std::int64_t first, std::int64_t last) {
    for (std::int64_t e = first; e < last; ++e) sum_groups(plan, store.sums, e, gradients);
  });
}

#define DNAMAMBA_INSTANTIATE(T)                                                                                    \
  template void selective_scan(const SelectiveScanInputs<T>&, const SelectiveScanOutputs<T>&, const ParallelFor&); \
  template std::int64_t selective_scan_backward_workspace(const SelectiveScanInputs<T>&);                          \
  template void selective_scan_backward(const SelectiveScanInputs<T>&, const SelectiveScanGradients<T>&, void*,    \
                                        const ParallelFor&);
DNAMAMBA_INSTANTIATE(float)
DNAMAMBA_INSTANTIATE(double)
#undef DNAMAMBA_INSTANTIATE

}  // namespace dnamamba::kernels::cpu
#endif  // HWY_ONCE
