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

/// What a task holds of each token of a strip: kY is the sum over states so far; then, backwards, softplus', dy times
/// the gate, dy times the gate's slope, and the sums over states of g B and of A2 a g h.
enum class Step { kX, kDt, kDtx, kY, kSlope, kDy, kDgate, kGTimesB, kDlog, kCount };

/// [kScanChunk, Step, lanes] of a strip. What is used together lies together, not pages apart.
template <class D>
struct StepBuffer {
  static constexpr auto kLanes = static_cast<std::int64_t>(hn::MaxLanes(D{}));
  static constexpr std::int64_t kTokenSize = static_cast<std::int64_t>(Step::kCount) * kLanes;
  hn::TFromD<D>* memory;

  [[nodiscard]] HWY_INLINE hn::Vec<D> load(std::int64_t token, Step step) const {
    return hn::Load(D{}, at(token, step));
  }
  HWY_INLINE void store(hn::Vec<D> v, std::int64_t token, Step step) const { hn::Store(v, D{}, at(token, step)); }

 private:
  [[nodiscard]] hn::TFromD<D>* at(std::int64_t token, Step step) const {
    return memory + token * kTokenSize + static_cast<std::int64_t>(step) * kLanes;
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

/// kGroup states of a strip over a chunk. Passed by value: the compiler reads what is behind a reference again after
/// every store.
template <class D, typename T = hn::TFromD<D>>
struct StateGroup {
  ChunkRows rows;
  StepBuffer<D> steps;
  std::int64_t states;  ///< of B and C: from row to row
  const T *B, *C;       ///< from the first state of the group on
  const T* A2;          ///< [group, lanes] A * log2(e)
  T* h;                 ///< [group, lanes] in and out
};

/// f(0) … f(kCount - 1). Around the loop over tokens, a plain loop is unrolled too late: arrays of vectors would be
/// stored for it at every token.
template <int kCount, class F>
HWY_INLINE void unrolled(const F& f) {
  [&]<int... kIndex>(std::integer_sequence<int, kIndex...>) HWY_ATTR {
    (f(kIndex), ...);
  }
  (std::make_integer_sequence<int, kCount>{});
}

/// States alone; y too; y and history too, which is [kScanChunk, 2, group, lanes]: of each token the states before it,
/// and the factors a = exp(dt A) that lead to those after it.
enum class Keep { kStates, kOutput, kHistory };

/// The recurrence. kExponents: of dt * A2 everywhere in this chunk.
template <Keep kKeep, int kGroup, Exponents kExponents, class D, typename T = hn::TFromD<D>>
HWY_NOINLINE void advance(D d, const StateGroup<D> group, T* history) {
  using V = hn::Vec<D>;
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  const StepBuffer<D> steps = group.steps;
  V h[kGroup], A2[kGroup];
  unrolled<kGroup>([&](int j) HWY_ATTR {
    h[j] = hn::Load(d, group.h + j * lanes);
    A2[j] = hn::Load(d, group.A2 + j * lanes);
  });
  for (std::int64_t i = 0; i < group.rows.length; ++i) {
    const T* const B = group.B + group.rows.row(i) * group.states;
    const T* const C = group.C + group.rows.row(i) * group.states;
    const V dt = steps.load(i, Step::kDt);
    const V dtx = steps.load(i, Step::kDtx);
    V y = kKeep == Keep::kStates ? hn::Zero(d) : steps.load(i, Step::kY);
    V a[kGroup];
    HWY_UNROLL(8)
    for (int j = 0; j < kGroup; ++j) a[j] = A2[j];
    exp2_of_product<kExponents, kGroup>(d, dt, a);
    HWY_UNROLL(8)
    for (int j = 0; j < kGroup; ++j) {
      if constexpr (kKeep == Keep::kHistory) {
        hn::Store(h[j], d, history + (2 * i * kGroup + j) * lanes);
        hn::Store(a[j], d, history + (2 * i * kGroup + kGroup + j) * lanes);
      }
      h[j] = hn::MulAdd(a[j], h[j], hn::Mul(dtx, hn::Set(d, B[j])));
      if constexpr (kKeep != Keep::kStates) y = hn::MulAdd(h[j], hn::Set(d, C[j]), y);
    }
    if constexpr (kKeep != Keep::kStates) steps.store(y, i, Step::kY);
  }
  unrolled<kGroup>([&](int j) HWY_ATTR { hn::Store(h[j], d, group.h + j * lanes); });
}

template <Keep kKeep, int kGroup, class D, typename T = hn::TFromD<D>>
void advance_group(D d, const StateGroup<D>& group, T largest_dt, T largest_A2, T* history) {
  switch (exponents_above(-largest_dt * largest_A2)) {
    case Exponents::kSmall:
      return advance<kKeep, kGroup, Exponents::kSmall>(d, group, history);
    case Exponents::kNormal:
      return advance<kKeep, kGroup, Exponents::kNormal>(d, group, history);
    case Exponents::kAny:
      return advance<kKeep, kGroup, Exponents::kAny>(d, group, history);
  }
}

/// The strips of a slot: their parameters, states, and steps of the chunk at hand.
template <class D, typename T = hn::TFromD<D>>
struct SlotState {
  static constexpr std::int64_t lanes = StepBuffer<D>::kLanes;
  D d;
  std::int64_t states, first_channel = 0, strips = 0, channels = 0;
  Buffer<T> A2, largest_A2, h;       // [strip][N, lanes]; the largest |A2| of a group is at its first state
  Buffer<T> bias, skip, largest_dt;  // [strip][lanes]
  Buffer<T> step_memory;

  SlotState(D tag, const ScanPlan<T>& plan)
      : d(tag),
        states(plan.states),
        channels(plan.channels),
        A2(make_buffer<T>(plan.largest_slot() * states)),
        largest_A2(make_buffer<T>(plan.largest_slot() * states)),
        h(make_buffer<T>(plan.largest_slot() * states)),
        bias(make_buffer<T>(plan.largest_slot())),
        skip(make_buffer<T>(plan.largest_slot())),
        largest_dt(make_buffer<T>(plan.largest_slot())),
        step_memory(make_buffer<T>(plan.largest_slot() / lanes * kScanChunk * StepBuffer<D>::kTokenSize)) {}

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
  [[nodiscard]] StepBuffer<D> steps(std::int64_t i) const {
    return {step_memory.get() + i * kScanChunk * StepBuffer<D>::kTokenSize};
  }
  [[nodiscard]] StateGroup<D> group(std::int64_t i, std::int64_t n, const SelectiveScanInputs<T>& in,
                                    const ChunkRows& rows) const {
    const std::int64_t first = at(i) + n * lanes;
    return {rows, steps(i), states, in.B + n, in.C + n, A2.get() + first, h.get() + first};
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

/// A chunk that knows the one whose turn comes next, if any does.
struct RowsAndNext : ChunkRows {
  ChunkRows next;
};

/// Asks for what is read a few rows later: rows are pages apart, which no processor foresees.
template <typename T>
HWY_INLINE void prefetch_row(const RowsAndNext& rows, std::int64_t i, std::int64_t channels, std::int64_t channel,
                             std::initializer_list<const T*> matrices) {
  constexpr std::int64_t kAhead = 8;
  const std::int64_t in_next = i + kAhead - rows.length;
  if (in_next >= rows.next.length) return;
  const std::int64_t row = in_next < 0 ? rows.row(i + kAhead) : rows.next.row(in_next);
  for (const T* matrix : matrices) {
    if (matrix != nullptr) hwy::Prefetch(matrix + row * channels + channel);
  }
}

/// Fills x, dt, dt * x (and softplus' when kSlope) of a chunk of all strips, and the largest dt of each. Row after row:
/// memory answers neighbours at once.
template <bool kSlope, class D, typename T = hn::TFromD<D>>
HWY_NOINLINE void load_steps(SlotState<D>& slot, const SelectiveScanInputs<T>& in, const RowsAndNext rows) {
  const D d;
  std::fill_n(slot.largest_dt.get(), slot.strips * slot.lanes, T{0});
  for (std::int64_t i = 0; i < rows.length; ++i) {
    for (std::int64_t k = 0; k < slot.strips; ++k) {
      const Strip strip = slot.strip(k);
      const StepBuffer<D> to = slot.steps(k);
      const std::int64_t at = rows.row(i) * in.channels + strip.channel;
      prefetch_row(rows, i, in.channels, strip.channel, {in.x, in.delta});
      const auto x = load_part(d, in.x + at, strip.count);
      const auto v = hn::Add(load_part(d, in.delta + at, strip.count), hn::Load(d, slot.bias.get() + k * slot.lanes));
      auto slope = hn::Undefined(d);
      const auto dt = softplus<kSlope>(d, v, &slope);
      to.store(x, i, Step::kX);
      to.store(dt, i, Step::kDt);
      to.store(hn::Mul(dt, x), i, Step::kDtx);
      to.store(hn::Zero(d), i, Step::kY);
      if constexpr (kSlope) to.store(slope, i, Step::kSlope);
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
  constexpr T* kNone = nullptr;
  const T largest_dt = largest_step(slot, i);
  for (std::int64_t n = 0; n < slot.states; n += slot.group_size(n)) {
    const StateGroup<D> group = slot.group(i, n, in, rows);
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
HWY_NOINLINE void store_outputs(const SlotState<D>& slot, const SelectiveScanInputs<T>& in, const RowsAndNext rows,
                                T* y) {
  const D d;
  for (std::int64_t i = 0; i < rows.length; ++i) {
    for (std::int64_t k = 0; k < slot.strips; ++k) {
      const Strip strip = slot.strip(k);
      const StepBuffer<D> steps = slot.steps(k);
      const std::int64_t at = rows.row(i) * in.channels + strip.channel;
      prefetch_row(rows, i, in.channels, strip.channel, {in.z, static_cast<const T*>(y)});
      const auto skip = hn::Load(d, slot.skip.get() + k * slot.lanes);
      auto out = steps.load(i, Step::kY);
      if (in.D) out = hn::MulAdd(skip, steps.load(i, Step::kX), out);
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
    const RowsAndNext rows{sequence_rows.chunk(c), sequence_rows.chunk(c + 1)};
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
  using D = hn::ScalableTag<T>;
  SlotState<D> slot(D(), plan);
  for (std::int64_t task = first; task < last; ++task) {
    slot.enter(in, plan, task % plan.slots.parts);
    scan_sequence(slot, in, out, task / plan.slots.parts);
  }
}

// ---- Backward. With g[t] the gradient of h[t] and `carry` = a[t+1] g[t+1], from the last token to the first:
//   g = dy C + carry;  carry' = a g;  dB += g dt x;  dC += dy h[t];  dA += dt carry' h[t-1];
//   dx = dt sum(g B) + D dy;  ddt = sum(A carry' h[t-1]) + x sum(g B)

/// Of history and token_sums.
template <typename T>
constexpr std::int64_t kGroupBuffer = ScanPlan<T>::kBlockChannels* kScanChunk * 2 * kStatesAtOnce;

/// What the sweep reads and adds to, from the first state of a group on.
template <typename T>
struct SweepBuffers {
  const T* history;
  T* token_sums;  ///< [kScanChunk, 2, group, lanes]: dB and dC
  T* carry;       ///< [group, lanes]
  double* dA;     ///< [group, padded channels]
  std::int64_t padded_channels;
};

/// What a task of the backward pass holds besides.
template <class D, typename T = hn::TFromD<D>>
struct BackwardState {
  SlotState<D> slot;
  Buffer<T> history;     ///< of the group and strip at hand
  Buffer<T> token_sums;  ///< of the group at hand, over the strips of the slot
  Buffer<T> carry;       ///< [strip][N, lanes]
  Buffer<T> dD, dbias;   ///< [strip][lanes], sums over the chunk
  double* dA;            ///< sums of the task: [N, padded channels]; dD and ddelta_bias are two rows more
  std::int64_t padded_channels;

  BackwardState(D d, const ScanPlan<T>& plan)
      : slot(d, plan),
        history(make_buffer<T>(kGroupBuffer<T>)),
        token_sums(make_buffer<T>(kGroupBuffer<T>)),
        carry(make_buffer<T>(plan.largest_slot() * plan.states)),
        dD(make_buffer<T>(plan.largest_slot())),
        dbias(make_buffer<T>(plan.largest_slot())),
        dA(nullptr),
        padded_channels(plan.padded_channels()) {}

  [[nodiscard]] SweepBuffers<T> sweep_buffers(std::int64_t i, std::int64_t n) const {
    return {history.get(), token_sums.get(), carry.get() + slot.at(i) + n * slot.lanes,
            dA + n * padded_channels + slot.strip(i).channel, padded_channels};
  }
};

/// dy times the gate; zeros for the sums over states.
template <class D, typename T = hn::TFromD<D>>
HWY_NOINLINE void load_gradients(const SlotState<D>& slot, const SelectiveScanInputs<T>& in, const T* dy,
                                 const RowsAndNext rows) {
  const D d;
  for (std::int64_t i = 0; i < rows.length; ++i) {
    for (std::int64_t k = 0; k < slot.strips; ++k) {
      const Strip strip = slot.strip(k);
      const StepBuffer<D> to = slot.steps(k);
      const std::int64_t at = rows.row(i) * in.channels + strip.channel;
      prefetch_row(rows, i, in.channels, strip.channel, {dy, in.z});
      auto gradient = load_part(d, dy + at, strip.count);
      if (in.z) {
        const auto z = load_part(d, in.z + at, strip.count);
        const auto s = sigmoid(d, z);
        to.store(hn::Mul(gradient, silu_slope_from(d, z, s)), i, Step::kDgate);
        gradient = hn::Mul(gradient, hn::Mul(z, s));
      }
      to.store(gradient, i, Step::kDy);
      for (const Step sum : {Step::kGTimesB, Step::kDlog}) to.store(hn::Zero(d), i, sum);
    }
  }
}

/// The gradient recurrence of kGroup states over a chunk, from its last token to its first.
template <int kGroup, class D, typename T = hn::TFromD<D>>
HWY_NOINLINE void sweep_back(D d, const StateGroup<D> group, const SweepBuffers<T> to) {
  using V = hn::Vec<D>;
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  const StepBuffer<D> steps = group.steps;
  V h[kGroup], carry[kGroup], A2[kGroup], dA[kGroup];
  unrolled<kGroup>([&](int j) HWY_ATTR {
    h[j] = hn::Load(d, group.h + j * lanes);
    carry[j] = hn::Load(d, to.carry + j * lanes);
    A2[j] = hn::Load(d, group.A2 + j * lanes);
    dA[j] = hn::Zero(d);
  });
  for (std::int64_t i = group.rows.length - 1; i >= 0; --i) {
    const T* const B = group.B + group.rows.row(i) * group.states;
    const T* const C = group.C + group.rows.row(i) * group.states;
    const V dy = steps.load(i, Step::kDy);
    const V dt = steps.load(i, Step::kDt);
    const V dtx = steps.load(i, Step::kDtx);
    V g_times_B = steps.load(i, Step::kGTimesB);
    V dlog = steps.load(i, Step::kDlog);
    const T* const history = to.history + 2 * i * kGroup * lanes;
    T* const dB = to.token_sums + 2 * i * kGroup * lanes;
    T* const dC = dB + kGroup * lanes;
    HWY_UNROLL(4)
    for (int j = 0; j < kGroup; ++j) {
      const V g = hn::MulAdd(dy, hn::Set(d, C[j]), carry[j]);
      hn::Store(hn::MulAdd(dy, h[j], hn::Load(d, dC + j * lanes)), d, dC + j * lanes);
      hn::Store(hn::MulAdd(g, dtx, hn::Load(d, dB + j * lanes)), d, dB + j * lanes);
      g_times_B = hn::MulAdd(g, hn::Set(d, B[j]), g_times_B);
      h[j] = hn::Load(d, history + j * lanes);
      carry[j] = hn::Mul(hn::Load(d, history + (kGroup + j) * lanes), g);
      const V change = hn::Mul(carry[j], h[j]);
      dA[j] = hn::MulAdd(dt, change, dA[j]);
      dlog = hn::MulAdd(A2[j], change, dlog);
    }
    steps.store(g_times_B, i, Step::kGTimesB);
    steps.store(dlog, i, Step::kDlog);
  }
  unrolled<kGroup>([&](int j) HWY_ATTR {
    hn::Store(carry[j], d, to.carry + j * lanes);
    add_to_double(d, dA[j], to.dA + j * to.padded_channels);
  });
}

/// From the sums over states to the gradients of one token and strip.
template <class D, typename T = hn::TFromD<D>>
HWY_INLINE void store_token(BackwardState<D>& state, const SelectiveScanGradients<T>& out, std::int64_t i,
                            std::int64_t at, std::int64_t k) {
  const D d;
  const SlotState<D>& slot = state.slot;
  const Strip strip = slot.strip(k);
  const StepBuffer<D> steps = slot.steps(k);
  const auto skip = hn::Load(d, slot.skip.get() + k * slot.lanes);
  const auto x = steps.load(i, Step::kX);
  const auto dy = steps.load(i, Step::kDy);
  const auto g_times_B = steps.load(i, Step::kGTimesB);
  const auto ln2 = hn::Set(d, T(0.69314718055994530942));
  const auto ddt = hn::MulAdd(x, g_times_B, hn::Mul(ln2, steps.load(i, Step::kDlog)));
  const auto ddelta = hn::Mul(ddt, steps.load(i, Step::kSlope));
  const auto dx = hn::MulAdd(steps.load(i, Step::kDt), g_times_B, hn::Mul(skip, dy));
  if (out.dx) store_part(d, dx, out.dx + at, strip.count);
  if (out.ddelta) store_part(d, ddelta, out.ddelta + at, strip.count);
  if (out.dz) {
    const auto ungated = hn::MulAdd(skip, x, steps.load(i, Step::kY));
    const auto dz = hn::Mul(steps.load(i, Step::kDgate), ungated);
    store_part(d, dz, out.dz + at, strip.count);
  }
  T* const dD = state.dD.get() + k * slot.lanes;
  T* const dbias = state.dbias.get() + k * slot.lanes;
  hn::Store(hn::MulAdd(dy, x, hn::Load(d, dD)), d, dD);
  hn::Store(hn::Add(ddelta, hn::Load(d, dbias)), d, dbias);
}

template <class D, typename T = hn::TFromD<D>>
HWY_NOINLINE void store_gradients(BackwardState<D>& state, const SelectiveScanInputs<T>& in,
                                  const SelectiveScanGradients<T>& out, const RowsAndNext rows) {
  const D d;
  const SlotState<D>& slot = state.slot;
  std::fill_n(state.dD.get(), slot.strips * slot.lanes, T{0});
  std::fill_n(state.dbias.get(), slot.strips * slot.lanes, T{0});
  for (std::int64_t i = 0; i < rows.length; ++i) {
    for (std::int64_t k = 0; k < slot.strips; ++k) {
      const std::int64_t at = rows.row(i) * in.channels + slot.strip(k).channel;
      prefetch_row<T>(rows, i, in.channels, slot.strip(k).channel, {out.dx, out.ddelta, out.dz});
      store_token(state, out, i, at, k);
    }
  }
  for (std::int64_t k = 0; k < slot.strips; ++k) {
    double* const sums = state.dA + in.states * state.padded_channels + slot.strip(k).channel;
    add_to_double(d, hn::Load(d, state.dD.get() + k * slot.lanes), sums);
    add_to_double(d, hn::Load(d, state.dbias.get() + k * slot.lanes), sums + state.padded_channels);
  }
}

/// kGroup states from n on of all strips over a chunk, and their dB and dC; to: [T, N].
template <int kGroup, class D, typename T = hn::TFromD<D>>
void backward_of_group(BackwardState<D>& state, std::int64_t n, const SelectiveScanInputs<T>& in, const ChunkRows& rows,
                       T* dB, T* dC) {
  SlotState<D>& slot = state.slot;
  std::fill_n(state.token_sums.get(), rows.length * 2 * kGroup * slot.lanes, T{0});
  for (std::int64_t i = 0; i < slot.strips; ++i) {
    const StateGroup<D> group = slot.group(i, n, in, rows);
    const T largest_A2 = slot.largest_A2[i * slot.states + n];
    advance_group<Keep::kHistory, kGroup>(slot.d, group, largest_step(slot, i), largest_A2, state.history.get());
    sweep_back<kGroup>(slot.d, group, state.sweep_buffers(i, n));
  }
  for (std::int64_t i = 0; i < rows.length; ++i) {
    const T* const from = state.token_sums.get() + 2 * i * kGroup * slot.lanes;
    const std::int64_t to = rows.row(i) * slot.states + n;
    if (dB) sum_lanes(slot.d, from, slot.lanes, kGroup, dB + to);
    if (dC) sum_lanes(slot.d, from + kGroup * slot.lanes, slot.lanes, kGroup, dC + to);
  }
}

/// Runs the recurrence once to know the states at the start of every chunk but the first.
template <class D, typename T = hn::TFromD<D>>
void keep_chunk_starts(BackwardState<D>& state, const SelectiveScanInputs<T>& in, const SequenceRows& sequence_rows,
                       T* starts) {
  SlotState<D>& slot = state.slot;
  for (std::int64_t c = 0; c + 1 < sequence_rows.chunks(); ++c) {
    const RowsAndNext rows{sequence_rows.chunk(c), sequence_rows.chunk(c + 1)};
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
    const RowsAndNext rows{sequence_rows.chunk(c), sequence_rows.chunk(c - 1)};
    if (c == 0) {
      load_initial_states(slot, in, sequence);
    } else {
      std::copy_n(starts + (c - 1) * state.padded_channels * in.states, slot.strips * slot.lanes * in.states,
                  slot.h.get());
    }
    load_steps<true>(slot, in, rows);
    load_gradients(slot, in, out.dy, rows);
    for (std::int64_t n = 0; n < slot.states; n += slot.group_size(n)) {
      if (slot.group_size(n) == 1) {
        backward_of_group<1>(state, n, in, rows, dB, dC);
      } else {
        backward_of_group<kStatesAtOnce>(state, n, in, rows, dB, dC);
      }
    }
    store_gradients(state, in, out, rows);
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
  using D = hn::ScalableTag<T>;
  BackwardState<D> state(D(), plan);
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

// Several blocks of a row are read together (a block is one line of memory, and lines of one row come faster than lines
// of many): eight backwards, where seven matrices of such rows are walked, and few slots mean few partial sums of dB
// and dC.
template <typename T>
ScanPlan<T> forward_plan(const SelectiveScanInputs<T>& in) {
  return ScanPlan<T>(in, /*blocks_per_slot=*/4, /*most_slots=*/in.channels);
}
template <typename T>
ScanPlan<T> backward_plan(const SelectiveScanInputs<T>& in) {
  const std::int64_t blocks = in.channels >= 512 ? 8 : 4;  // wide ones are faster, where enough of them are left
  return ScanPlan<T>(in, /*blocks_per_slot=*/blocks, /*most_slots=*/16);
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
