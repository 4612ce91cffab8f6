// Lanes are channels of a head. A tile is a few states of two vectors of channels; it stays in registers over a chunk
// of tokens. Nothing that is computed for a token depends on where a chunk begins, so that cuts don't show.
#include "kernels/ssd.h"

#include <utility>

#include "kernels/arguments.h"
#include "kernels/cpu/buffer.h"
#include "kernels/cpu/denormals.h"
#include "kernels/cpu/partial_sums.h"
#include "kernels/cpu/ssd_plan.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/ssd.cpp"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
// After foreach_target:
#include "hwy/cache_control.h"
#include "hwy/highway.h"
#include "kernels/cpu/dispatch.h"
#include "kernels/cpu/vectors-inl.h"

HWY_BEFORE_NAMESPACE();
namespace dnamamba::kernels::cpu::HWY_NAMESPACE {
namespace {

#if HWY_TARGET == HWY_AVX3
constexpr int kStatesAtOnce = 8;  // with two vectors each half of its 32 registers
#else
constexpr int kStatesAtOnce = 4;
#endif
constexpr int kStatesAtOnceBackward = 4;

/// From tile to tile of B and C, a state's share: not a power of two, which would put all tiles at the same place of a
/// cache.
constexpr std::int64_t kTileStride = kSsdChunk + 2;

template <typename T>
constexpr std::int64_t kWidth = SsdPlan<T>::kStripChannels;

/// What a task holds of a chunk of a strip.
template <typename T>
struct StripChunk {
  static constexpr std::int64_t kLanes = kBlockBytes / static_cast<std::int64_t>(sizeof(T));  // or fewer
  static constexpr std::int64_t kSize = kSsdChunk * (3 + 4 * kWidth<T> + kLanes);

  T *dt, *decay, *slope;   // [kSsdChunk]; slope of dt in what it was before bias, softplus and limits
  T *x, *dtx, *dy, *sums;  // [kSsdChunk, kWidth]; sums: over the states so far, of C h forwards and of g B backwards
  T* change;               // [kSsdChunk, lanes] backwards: sum over the states of carry times h before the token

  explicit StripChunk(T* memory) {
    T** const scalars[] = {&dt, &decay, &slope};
    for (T** array : scalars) *array = std::exchange(memory, memory + kSsdChunk);
    T** const vectors[] = {&x, &dtx, &dy, &sums};
    for (T** array : vectors) *array = std::exchange(memory, memory + kSsdChunk * kWidth<T>);
    change = memory;
  }
};

/// Some states of some vectors of a strip over a chunk.
template <typename T>
struct Tile {
  std::int64_t length;  // tokens
  StripChunk<T> chunk;
  const T* B_C;          // [length, 2, states] B, then C
  std::int64_t channel;  // the first, of the strip's
  T* h;                  // [states, kWidth] in and out
};

enum class Keep { kStates, kOutput, kHistory };  // states alone; sums of C h too; history too

/// The recurrence. history: [length + 1, states, vectors, lanes] h before each token, and after the last.
template <Keep kKeep, int kGroup, int kVectors, class D, typename T = hn::TFromD<D>>
HWY_NOINLINE void advance(D d, const Tile<T>& tile, T* history) {
  using V = hn::Vec<D>;
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  const T* const all_dtx = tile.chunk.dtx + tile.channel;
  T* const all_sums = tile.chunk.sums + tile.channel;
  T* const states = tile.h + tile.channel;
  V h[kGroup][kVectors];
  for (int j = 0; j < kGroup; ++j) {
    for (int v = 0; v < kVectors; ++v) h[j][v] = hn::Load(d, states + j * kWidth<T> + v * lanes);
  }
  for (std::int64_t i = 0; i < tile.length; ++i) {
    const T* const B = tile.B_C + i * 2 * kGroup;
    const T* const C = B + kGroup;
    const V decay = hn::Set(d, tile.chunk.decay[i]);
    V dtx[kVectors], sums[kVectors];
    for (int v = 0; v < kVectors; ++v) {
      dtx[v] = hn::Load(d, all_dtx + i * kWidth<T> + v * lanes);
      if constexpr (kKeep == Keep::kOutput) sums[v] = hn::Load(d, all_sums + i * kWidth<T> + v * lanes);
    }
    HWY_UNROLL(8)
    for (int j = 0; j < kGroup; ++j) {
      const V B_j = hn::Set(d, B[j]);
      const V C_j = hn::Set(d, C[j]);
      HWY_UNROLL(2)
      for (int v = 0; v < kVectors; ++v) {
        if constexpr (kKeep == Keep::kHistory) {
          hn::Store(h[j][v], d, history + ((i * kGroup + j) * kVectors + v) * lanes);
        }
        h[j][v] = hn::MulAdd(decay, h[j][v], hn::Mul(dtx[v], B_j));
        if constexpr (kKeep == Keep::kOutput) sums[v] = hn::MulAdd(h[j][v], C_j, sums[v]);
      }
    }
    if constexpr (kKeep == Keep::kOutput) {
      for (int v = 0; v < kVectors; ++v) hn::Store(sums[v], d, all_sums + i * kWidth<T> + v * lanes);
    }
  }
  for (int j = 0; j < kGroup; ++j) {
    for (int v = 0; v < kVectors; ++v) {
      hn::Store(h[j][v], d, states + j * kWidth<T> + v * lanes);
      if constexpr (kKeep == Keep::kHistory) {
        hn::Store(h[j][v], d, history + ((tile.length * kGroup + j) * kVectors + v) * lanes);
      }
    }
  }
}

/// Calls body.operator()<number of vectors>(first channel) for two or one vectors that have channels, in order.
template <class D, class Body>
HWY_INLINE void for_each_pair(D d, std::int64_t count, Body&& body) {
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  for (std::int64_t channel = 0; channel < count; channel += 2 * lanes) {
    if (channel + lanes < count) {
      body.template operator()<2>(channel);
    } else {
      body.template operator()<1>(channel);
    }
  }
}

/// Parameters and memory of the strips that a task works on together.
template <class D, typename T = hn::TFromD<D>>
struct Slot {
  D d;
  const SsdInputs<T>& in;
  const SsdPlan<T>& plan;
  std::int64_t first = 0, strips = 0;
  Buffer<T> h;             // [strips, N, kWidth]
  Buffer<T> skip;          // [strips, kWidth] D
  Buffer<T> chunk_memory;  // [strips, StripChunk::kSize]
  Buffer<T> B_C;           // of a chunk, tile after tile as Tile has them

  Slot(D tag, const SsdInputs<T>& inputs, const SsdPlan<T>& given_plan, std::int64_t most_strips)
      : d(tag),
        in(inputs),
        plan(given_plan),
        h(make_buffer<T>(most_strips * plan.states * kWidth<T>)),
        skip(make_buffer<T>(most_strips * kWidth<T>)),
        chunk_memory(make_buffer<T>(most_strips * StripChunk<T>::kSize)),
        B_C(make_buffer<T>(2 * plan.states * kTileStride)) {}

  void enter(std::int64_t first_strip, std::int64_t last_strip) {
    first = first_strip;
    strips = last_strip - first_strip;
    for (std::int64_t i = 0; in.D != nullptr && i < strips; ++i) {
      const HeadStrip s = strip(i);
      T* const to = skip.get() + i * kWidth<T>;
      for (std::int64_t p = 0; p < kWidth<T>; ++p) {
        to[p] = p >= s.count ? T{0} : in.D[in.D_per_channel ? s.head * in.head_dim + s.channel + p : s.head];
      }
    }
  }
  [[nodiscard]] HeadStrip strip(std::int64_t i) const { return plan.strip(first + i); }
  [[nodiscard]] StripChunk<T> chunk(std::int64_t i) const {
    return StripChunk<T>(chunk_memory.get() + i * StripChunk<T>::kSize);
  }
  [[nodiscard]] std::int64_t state_size() const { return plan.states * kWidth<T>; }
  /// The first value of a strip in a row of [T, H, P].
  [[nodiscard]] std::int64_t row_at(std::int64_t row, const HeadStrip& s) const {
    return (row * in.heads + s.head) * in.head_dim + s.channel;
  }
  [[nodiscard]] Tile<T> tile(std::int64_t i, const ChunkRows& rows, std::int64_t n) const {
    return {rows.length, chunk(i), B_C.get() + 2 * n * kTileStride, 0, h.get() + i * state_size() + n * kWidth<T>};
  }
  /// Of this slot's group of heads in a row of [T, G, N].
  [[nodiscard]] std::int64_t group_at(std::int64_t row) const {
    return (row * in.groups + plan.group_of(strip(0))) * in.states;
  }
};

/// States [S, H, P, N] of the caller as [N, kWidth] of a strip, and back.
template <class D, typename T = hn::TFromD<D>>
void load_states(const Slot<D>& slot, const T* states, std::int64_t sequence, T* to) {
  std::fill_n(to, slot.strips * slot.state_size(), T{0});
  const std::int64_t N = slot.in.states;
  for (std::int64_t i = 0; states != nullptr && i < slot.strips; ++i) {
    const HeadStrip s = slot.strip(i);
    const T* const from = states + slot.row_at(sequence, s) * N;
    for (std::int64_t p = 0; p < s.count; ++p) {
      for (std::int64_t n = 0; n < N; ++n) to[i * slot.state_size() + n * kWidth<T> + p] = from[p * N + n];
    }
  }
}
template <class D, typename T = hn::TFromD<D>>
void store_states(const Slot<D>& slot, const T* from, std::int64_t sequence, T* states) {
  const std::int64_t N = slot.in.states;
  for (std::int64_t i = 0; states != nullptr && i < slot.strips; ++i) {
    const HeadStrip s = slot.strip(i);
    T* const to = states + slot.row_at(sequence, s) * N;
    for (std::int64_t p = 0; p < s.count; ++p) {
      for (std::int64_t n = 0; n < N; ++n) to[p * N + n] = from[i * slot.state_size() + n * kWidth<T> + p];
    }
  }
}

/// Asks for `count` values that the next chunk begins with at this place of its row: rows are pages apart, which no
/// processor foresees.
template <typename T>
HWY_INLINE void prefetch_next_chunk(const ChunkRows& rows, std::int64_t i, std::int64_t tokens, const T* matrix,
                                    std::int64_t row_length, std::int64_t at, std::int64_t count) {
  const std::int64_t row = rows.row(i + kSsdChunk);
  if (row < 0 || row >= tokens) return;
  const T* const from = matrix + row * row_length + at;
  for (std::int64_t k = 0; k < count; k += kBlockBytes / static_cast<std::int64_t>(sizeof(T))) hwy::Prefetch(from + k);
}

/// Calls body.operator()<states of a tile>(first state) for tiles of kAtOnce states, then of one.
template <int kAtOnce, class Body>
HWY_INLINE void for_each_tile(std::int64_t states, Body&& body) {
  std::int64_t n = 0;
  for (; n + kAtOnce <= states; n += kAtOnce) body.template operator()<kAtOnce>(n);
  for (; n < states; ++n) body.template operator()<1>(n);
}

/// B and C of a chunk, so that a tile finds what it reads in one piece: rows of [T, G, N] are so far apart that they
/// drive each other out of the innermost cache.
template <int kAtOnce, class D, typename T = hn::TFromD<D>>
HWY_NOINLINE void load_B_C(const Slot<D>& slot, const ChunkRows& rows) {
  for (std::int64_t i = 0; i < rows.length; ++i) {
    const T* const B = slot.in.B + slot.group_at(rows.row(i));
    const T* const C = slot.in.C + slot.group_at(rows.row(i));
    for (const T* matrix : {slot.in.B, slot.in.C}) {
      prefetch_next_chunk(rows, i, slot.plan.tokens, matrix, slot.in.groups * slot.in.states, slot.group_at(0),
                          slot.in.states);
    }
    for_each_tile<kAtOnce>(slot.in.states, [&]<int kGroup>(std::int64_t n) HWY_ATTR {
      T* const to = slot.B_C.get() + 2 * (n * kTileStride + i * kGroup);
      std::copy_n(B + n, kGroup, to);
      std::copy_n(C + n, kGroup, to + kGroup);
    });
  }
}

/// Rows of a strip as [length, kWidth] with zeros behind the last channel.
template <class D, typename T = hn::TFromD<D>>
void load_rows(const Slot<D>& slot, const HeadStrip& s, const ChunkRows& rows, const T* matrix, T* to) {
  const D d;
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  for (std::int64_t i = 0; i < rows.length; ++i) {
    const T* const from = matrix + slot.row_at(rows.row(i), s);
    prefetch_next_chunk(rows, i, slot.plan.tokens, matrix, slot.in.heads * slot.in.head_dim, slot.row_at(0, s),
                        s.count);
    for (std::int64_t p = 0; p < kWidth<T>; p += lanes) {
      hn::Store(p < s.count ? load_part(d, from + p, s.count - p) : hn::Zero(d), d, to + i * kWidth<T> + p);
    }
  }
}

/// dt, decay and slope of a chunk, one value a token.
template <class D, typename T = hn::TFromD<D>>
HWY_NOINLINE void load_step_sizes(const Slot<D>& slot, const HeadStrip& s, const ChunkRows& rows,
                                  const StripChunk<T>& to) {
  const D d;
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  const SsdInputs<T>& in = slot.in;
  for (std::int64_t i = 0; i < rows.length; ++i) to.dt[i] = in.dt[rows.row(i) * in.heads + s.head];
  std::fill(to.dt + rows.length, to.dt + kSsdChunk, T{0});
  const auto bias = hn::Set(d, in.dt_bias ? in.dt_bias[s.head] : T{0});
  const auto A2 = hn::Set(d, in.A[s.head] * T(1.4426950408889634074));  // A * log2(e)
  const auto least = hn::Set(d, static_cast<T>(in.dt_min)), most = hn::Set(d, static_cast<T>(in.dt_max));
  for (std::int64_t i = 0; i < rows.length; i += lanes) {
    auto slope = hn::Undefined(d);
    auto dt = softplus<true>(d, hn::Add(hn::Load(d, to.dt + i), bias), &slope);
    const auto below = hn::Lt(dt, least), above = hn::Gt(dt, most);  // a NaN is neither, and stays
    dt = hn::IfThenElse(below, least, hn::IfThenElse(above, most, dt));
    slope = hn::IfThenZeroElse(hn::Or(below, above), slope);
    hn::Store(dt, d, to.dt + i);
    hn::Store(slope, d, to.slope + i);
    hn::Store(exp2_of_negative<false>(d, hn::Mul(dt, A2)), d, to.decay + i);
  }
}

/// Everything of a chunk of strip i that the recurrence reads; zeros for the sums.
template <class D, typename T = hn::TFromD<D>>
HWY_NOINLINE void load_chunk(const Slot<D>& slot, std::int64_t i, const ChunkRows& rows) {
  const D d;
  const HeadStrip s = slot.strip(i);
  const StripChunk<T> chunk = slot.chunk(i);
  load_step_sizes(slot, s, rows, chunk);
  load_rows(slot, s, rows, slot.in.x, chunk.x);
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  for (std::int64_t t = 0; t < rows.length; ++t) {
    const auto dt = hn::Set(d, chunk.dt[t]);
    for (std::int64_t at = t * kWidth<T>; at < (t + 1) * kWidth<T>; at += lanes) {
      hn::Store(hn::Mul(dt, hn::Load(d, chunk.x + at)), d, chunk.dtx + at);
    }
  }
  std::fill_n(chunk.sums, rows.length * kWidth<T>, T{0});
}

/// All states of strip i over a chunk that is loaded.
template <Keep kKeep, class D, typename T = hn::TFromD<D>>
void advance_strip(const Slot<D>& slot, std::int64_t i, const ChunkRows& rows) {
  constexpr T* kNone = nullptr;
  for_each_tile<kStatesAtOnce>(slot.in.states, [&]<int kGroup>(std::int64_t n) HWY_ATTR {
    Tile<T> tile = slot.tile(i, rows, n);
    for_each_pair(slot.d, slot.strip(i).count, [&]<int kVectors>(std::int64_t channel) HWY_ATTR {
      tile.channel = channel;
      advance<kKeep, kGroup, kVectors>(slot.d, tile, kNone);
    });
  });
}

/// Skip, then y to the caller.
template <class D, typename T = hn::TFromD<D>>
HWY_NOINLINE void store_outputs(const Slot<D>& slot, std::int64_t i, const ChunkRows& rows, T* y) {
  const D d;
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  const HeadStrip s = slot.strip(i);
  const StripChunk<T> chunk = slot.chunk(i);
  const T* const skip = slot.skip.get() + i * kWidth<T>;
  for (std::int64_t t = 0; t < rows.length; ++t) {
    T* const to = y + slot.row_at(rows.row(t), s);
    prefetch_next_chunk<T>(rows, t, slot.plan.tokens, y, slot.in.heads * slot.in.head_dim, slot.row_at(0, s), s.count);
    for (std::int64_t p = 0; p < s.count; p += lanes) {
      auto out = hn::Load(d, chunk.sums + t * kWidth<T> + p);
      if (slot.in.D) out = hn::MulAdd(hn::Load(d, skip + p), hn::Load(d, chunk.x + t * kWidth<T> + p), out);
      store_part(d, out, to + p, s.count - p);
    }
  }
}

template <typename T>
SequenceRows rows_of(const SsdInputs<T>& in, std::int64_t sequence) {
  return {in.ragged.offsets[sequence], in.ragged.offsets[sequence + 1], in.reverse, kSsdChunk};
}

template <class D, typename T = hn::TFromD<D>>
void forward_of_sequence(Slot<D>& slot, const SsdOutputs<T>& out, std::int64_t sequence) {
  load_states(slot, slot.in.initial_state, sequence, slot.h.get());
  const SequenceRows sequence_rows = rows_of(slot.in, sequence);
  for (std::int64_t c = 0; c < sequence_rows.chunks(); ++c) {
    const ChunkRows rows = sequence_rows.chunk(c);
    load_B_C<kStatesAtOnce>(slot, rows);
    for (std::int64_t i = 0; i < slot.strips; ++i) {
      load_chunk(slot, i, rows);
      advance_strip<Keep::kOutput>(slot, i, rows);
      store_outputs(slot, i, rows, out.y);
    }
  }
  store_states(slot, slot.h.get(), sequence, out.final_state);
}

/// Tasks are (sequence, strip); those of one group of heads are worked on together.
template <typename T>
void forward_tasks(const SsdInputs<T>& in, const SsdOutputs<T>& out, const SsdPlan<T>& plan, std::int64_t first,
                   std::int64_t last) {
  const FlushDenormals flush;
  const hn::ScalableTag<T> d;
  Slot<decltype(d)> slot(d, in, plan, std::min(plan.largest_slot(), last - first));
  for (std::int64_t task = first; task < last; task += slot.strips) {
    const std::int64_t sequence = task / plan.strips(), strip = task % plan.strips();
    slot.enter(strip, plan.end_of_slot(strip, strip + last - task));
    forward_of_sequence(slot, out, sequence);
  }
}

// ---- Backward. With g[t] the gradient of h[t] and `carry` = a[t+1] g[t+1], from the last token to the first:
//   g = dy C + carry;  carry' = a g;  dB += g dt x;  dC += dy h[t];  change = sum over n and p of carry' h[t-1];
//   dx = dt sum(g B) + D dy;  ddt = A change + sum over p of x sum(g B);  dA += dt change

/// What a task of the backward pass holds besides.
template <class D, typename T = hn::TFromD<D>>
struct BackwardSlot {
  Slot<D> slot;
  SsdGradients<T> out;
  Buffer<T> carry;         // [strips, N, kWidth]
  Buffer<T> history;       // of a tile
  Buffer<T> dB, dC;        // [kSsdChunk, states of a tile, lanes] sums over the strips
  double* sums = nullptr;  // [strips, SsdBackwardStore::kSums]
  T *to_ddt = nullptr, *to_dB = nullptr, *to_dC = nullptr;

  BackwardSlot(D d, const SsdInputs<T>& in, const SsdGradients<T>& gradients, const SsdPlan<T>& plan)
      : slot(d, in, plan, plan.largest_slot()),
        out(gradients),
        carry(make_buffer<T>(plan.largest_slot() * plan.states * kWidth<T>)),
        history(make_buffer<T>(kStatesAtOnceBackward * (kSsdChunk + 1) * kWidth<T>)),
        dB(make_buffer<T>(kStatesAtOnceBackward * kSsdChunk * StripChunk<T>::kLanes)),
        dC(make_buffer<T>(kStatesAtOnceBackward * kSsdChunk * StripChunk<T>::kLanes)) {}
};

/// The gradient recurrence of a tile over a chunk, from its last token to its first. `add` to dB and dC, or write them.
template <int kGroup, int kVectors, class D, typename T = hn::TFromD<D>>
HWY_NOINLINE void sweep_back(D d, const Tile<T>& tile, const T* history, T* carries, bool add, T* dB, T* dC) {
  using V = hn::Vec<D>;
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  const StripChunk<T> chunk = tile.chunk;
  V carry[kGroup][kVectors];
  for (int j = 0; j < kGroup; ++j) {
    for (int v = 0; v < kVectors; ++v) carry[j][v] = hn::Load(d, carries + j * kWidth<T> + tile.channel + v * lanes);
  }
  for (std::int64_t i = tile.length - 1; i >= 0; --i) {
    const std::int64_t at = i * kWidth<T> + tile.channel;
    const T* const B = tile.B_C + i * 2 * kGroup;
    const T* const C = B + kGroup;
    const V decay = hn::Set(d, chunk.decay[i]);
    V change = hn::Load(d, chunk.change + i * lanes);
    V dy[kVectors], dtx[kVectors], sums[kVectors];
    for (int v = 0; v < kVectors; ++v) {
      dy[v] = hn::Load(d, chunk.dy + at + v * lanes);
      dtx[v] = hn::Load(d, chunk.dtx + at + v * lanes);
      sums[v] = hn::Load(d, chunk.sums + at + v * lanes);
    }
    HWY_UNROLL(4)
    for (int j = 0; j < kGroup; ++j) {
      const V B_j = hn::Set(d, B[j]);
      const V C_j = hn::Set(d, C[j]);
      const std::int64_t sum_at = (i * kGroup + j) * lanes;
      V dB_j = add ? hn::Load(d, dB + sum_at) : hn::Zero(d);
      V dC_j = add ? hn::Load(d, dC + sum_at) : hn::Zero(d);
      HWY_UNROLL(2)
      for (int v = 0; v < kVectors; ++v) {
        const T* const h = history + (sum_at * kVectors + v * lanes);
        const V g = hn::MulAdd(dy[v], C_j, carry[j][v]);
        dC_j = hn::MulAdd(dy[v], hn::Load(d, h + kGroup * kVectors * lanes), dC_j);
        dB_j = hn::MulAdd(g, dtx[v], dB_j);
        sums[v] = hn::MulAdd(g, B_j, sums[v]);
        carry[j][v] = hn::Mul(decay, g);
        change = hn::MulAdd(carry[j][v], hn::Load(d, h), change);
      }
      hn::Store(dB_j, d, dB + sum_at);
      hn::Store(dC_j, d, dC + sum_at);
    }
    hn::Store(change, d, chunk.change + i * lanes);
    for (int v = 0; v < kVectors; ++v) hn::Store(sums[v], d, chunk.sums + at + v * lanes);
  }
  for (int j = 0; j < kGroup; ++j) {
    for (int v = 0; v < kVectors; ++v) hn::Store(carry[j][v], d, carries + j * kWidth<T> + tile.channel + v * lanes);
  }
}

/// kGroup states of all strips over a chunk that is loaded, and their dB and dC.
template <int kGroup, class D, typename T = hn::TFromD<D>>
void backward_of_states(BackwardSlot<D>& state, const ChunkRows& rows, std::int64_t n) {
  const Slot<D>& slot = state.slot;
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(slot.d));
  bool add = false;
  for (std::int64_t i = 0; i < slot.strips; ++i) {
    Tile<T> tile = slot.tile(i, rows, n);
    T* const carries = state.carry.get() + i * slot.state_size() + n * kWidth<T>;
    for_each_pair(slot.d, slot.strip(i).count, [&]<int kVectors>(std::int64_t channel) HWY_ATTR {
      tile.channel = channel;
      advance<Keep::kHistory, kGroup, kVectors>(slot.d, tile, state.history.get());
      sweep_back<kGroup, kVectors>(slot.d, tile, state.history.get(), carries, add, state.dB.get(), state.dC.get());
      add = true;
    });
  }
  for (std::int64_t t = 0; t < rows.length; ++t) {
    const std::int64_t from = t * kGroup * lanes, to = slot.group_at(rows.row(t)) + n;
    if (state.to_dB) sum_lanes(slot.d, state.dB.get() + from, lanes, kGroup, state.to_dB + to);
    if (state.to_dC) sum_lanes(slot.d, state.dC.get() + from, lanes, kGroup, state.to_dC + to);
  }
}

/// dx, dD, and over the lanes of `sums` x * sum(g B): [kSsdChunk, lanes].
template <class D, typename T = hn::TFromD<D>>
HWY_NOINLINE void store_channel_gradients(BackwardSlot<D>& state, std::int64_t i, const ChunkRows& rows) {
  const D d;
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  const Slot<D>& slot = state.slot;
  const HeadStrip s = slot.strip(i);
  const StripChunk<T> chunk = slot.chunk(i);
  const T* const skip = slot.skip.get() + i * kWidth<T>;
  HWY_ALIGN T dD[kWidth<T>] = {};
  for (std::int64_t t = 0; t < rows.length; ++t) {
    const std::int64_t to = slot.row_at(rows.row(t), s);
    const auto dt = hn::Set(d, chunk.dt[t]);
    auto x_g_B = hn::Zero(d);
    for (std::int64_t p = 0; p < s.count; p += lanes) {
      const std::int64_t at = t * kWidth<T> + p;
      const auto x = hn::Load(d, chunk.x + at), dy = hn::Load(d, chunk.dy + at), g_B = hn::Load(d, chunk.sums + at);
      x_g_B = hn::MulAdd(x, g_B, x_g_B);
      hn::Store(hn::MulAdd(dy, x, hn::Load(d, dD + p)), d, dD + p);
      if (state.out.dx == nullptr) continue;
      store_part(d, hn::MulAdd(dt, g_B, hn::Mul(hn::Load(d, skip + p), dy)), state.out.dx + to + p, s.count - p);
    }
    hn::Store(x_g_B, d, chunk.dtx + t * lanes);  // dtx is no longer needed, and its rows are no narrower
  }
  double* const sums = state.sums + i * SsdBackwardStore<T>::kSums + 2;
  for (std::int64_t p = 0; p < kWidth<T>; ++p) sums[p] += double{dD[p]};
}

/// ddt, dA and ddt_bias of strip i, after store_channel_gradients.
template <class D, typename T = hn::TFromD<D>>
HWY_NOINLINE void store_step_gradients(BackwardSlot<D>& state, std::int64_t i, const ChunkRows& rows) {
  const Slot<D>& slot = state.slot;
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(slot.d));
  const HeadStrip s = slot.strip(i);
  const StripChunk<T> chunk = slot.chunk(i);
  HWY_ALIGN T change[kSsdChunk], x_g_B[kSsdChunk];
  sum_lanes(slot.d, chunk.change, lanes, rows.length, change);
  sum_lanes(slot.d, chunk.dtx, lanes, rows.length, x_g_B);
  double* const sums = state.sums + i * SsdBackwardStore<T>::kSums;
  T* const to = state.to_ddt == nullptr || slot.plan.strips_per_head == 1
                    ? state.to_ddt
                    : state.to_ddt + s.channel / kWidth<T> * slot.plan.tokens * slot.in.heads;
  for (std::int64_t t = 0; t < rows.length; ++t) {
    const T ddt = (slot.in.A[s.head] * change[t] + x_g_B[t]) * chunk.slope[t];
    sums[0] += double{chunk.dt[t]} * double{change[t]};
    sums[1] += double{ddt};
    if (to) to[rows.row(t) * slot.in.heads + s.head] = ddt;
  }
}

template <class D, typename T = hn::TFromD<D>>
void backward_of_chunk(BackwardSlot<D>& state, const ChunkRows& rows) {
  const Slot<D>& slot = state.slot;
  for (std::int64_t i = 0; i < slot.strips; ++i) {
    load_chunk(slot, i, rows);
    load_rows(slot, slot.strip(i), rows, state.out.dy, slot.chunk(i).dy);
    std::fill_n(slot.chunk(i).change, kSsdChunk * StripChunk<T>::kLanes, T{0});
  }
  load_B_C<kStatesAtOnceBackward>(slot, rows);
  for_each_tile<kStatesAtOnceBackward>(
      slot.in.states, [&]<int kGroup>(std::int64_t n) HWY_ATTR { backward_of_states<kGroup>(state, rows, n); });
  for (std::int64_t i = 0; i < slot.strips; ++i) {
    store_channel_gradients(state, i, rows);
    store_step_gradients(state, i, rows);
  }
}

/// `starts`: of this slot, the states at the start of every chunk but the first, `stride` from chunk to chunk.
template <class D, typename T = hn::TFromD<D>>
void backward_of_sequence(BackwardSlot<D>& state, std::int64_t sequence, T* starts, std::int64_t stride) {
  const Slot<D>& slot = state.slot;
  const SequenceRows sequence_rows = rows_of(slot.in, sequence);
  load_states(slot, slot.in.initial_state, sequence, slot.h.get());
  for (std::int64_t c = 0; c + 1 < sequence_rows.chunks(); ++c) {
    const ChunkRows rows = sequence_rows.chunk(c);
    load_B_C<kStatesAtOnce>(slot, rows);
    for (std::int64_t i = 0; i < slot.strips; ++i) {
      load_chunk(slot, i, rows);
      advance_strip<Keep::kStates>(slot, i, rows);
    }
    std::copy_n(slot.h.get(), slot.strips * slot.state_size(), starts + c * stride);
  }
  load_states(slot, state.out.dfinal_state, sequence, state.carry.get());
  for (std::int64_t c = sequence_rows.chunks() - 1; c >= 0; --c) {
    if (c == 0) {
      load_states(slot, slot.in.initial_state, sequence, slot.h.get());
    } else {
      std::copy_n(starts + (c - 1) * stride, slot.strips * slot.state_size(), slot.h.get());
    }
    backward_of_chunk(state, sequence_rows.chunk(c));
  }
  store_states(slot, state.carry.get(), sequence, state.out.dinitial_state);
}

/// Tasks are (group of sequences, group of heads, slot).
template <typename T>
void backward_tasks(const SsdInputs<T>& in, const SsdGradients<T>& out, const SsdPlan<T>& plan,
                    const SsdBackwardStore<T>& store, std::int64_t first, std::int64_t last) {
  const FlushDenormals flush;
  const hn::ScalableTag<T> d;
  BackwardSlot<decltype(d)> state(d, in, out, plan);
  const std::int64_t of_slot = plan.tokens * plan.groups * plan.states;
  for (std::int64_t task = first; task < last; ++task) {
    const std::int64_t slot = task % plan.slots.parts, group = task / plan.slots.parts % plan.groups;
    const std::int64_t sequences = task / plan.slots.parts / plan.groups;
    state.slot.enter(plan.first_strip(group, slot), plan.first_strip(group, slot + 1));
    state.sums = store.sums + (sequences * plan.strips() + state.slot.first) * store.kSums;
    std::fill_n(state.sums, state.slot.strips * store.kSums, 0.0);
    state.to_ddt = store.ddt != nullptr && out.ddt != nullptr ? store.ddt : out.ddt;
    state.to_dB = store.dB != nullptr && out.dB != nullptr ? store.dB + slot * of_slot : out.dB;
    state.to_dC = store.dC != nullptr && out.dC != nullptr ? store.dC + slot * of_slot : out.dC;
    const std::int64_t stride = plan.strips() * state.slot.state_size();
    for (std::int64_t s = plan.sequence_groups.first(in.ragged, sequences);
         s < plan.sequence_groups.first(in.ragged, sequences + 1); ++s) {
      T* const starts = store.chunk_starts + first_chunk_start(in.ragged.offsets[s], kSsdChunk) * stride +
                        state.slot.first * state.slot.state_size();
      backward_of_sequence(state, s, starts, stride);
    }
  }
}

void forward_float(const SsdInputs<float>& in, const SsdOutputs<float>& out, const SsdPlan<float>& plan,
                   std::int64_t first, std::int64_t last) {
  forward_tasks(in, out, plan, first, last);
}
void forward_double(const SsdInputs<double>& in, const SsdOutputs<double>& out, const SsdPlan<double>& plan,
                    std::int64_t first, std::int64_t last) {
  forward_tasks(in, out, plan, first, last);
}
void backward_float(const SsdInputs<float>& in, const SsdGradients<float>& out, const SsdPlan<float>& plan,
                    const SsdBackwardStore<float>& store, std::int64_t first, std::int64_t last) {
  backward_tasks(in, out, plan, store, first, last);
}
void backward_double(const SsdInputs<double>& in, const SsdGradients<double>& out, const SsdPlan<double>& plan,
                     const SsdBackwardStore<double>& store, std::int64_t first, std::int64_t last) {
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

/// dA, ddt_bias and dD of a head, summed over the groups of sequences and the strips in order.
template <typename T>
void sum_head(const SsdPlan<T>& plan, const SsdBackwardStore<T>& store, std::int64_t head, const SsdInputs<T>& in,
              const SsdGradients<T>& out) {
  const auto total = [&](std::int64_t strip, std::int64_t i) {
    double sum = 0;
    for (std::int64_t group = 0; group < plan.sequence_groups.count; ++group) {
      sum += store.sums[((group * plan.heads + head) * plan.strips_per_head + strip) * store.kSums + i];
    }
    return sum;
  };
  double dA = 0, dbias = 0, dD = 0;
  for (std::int64_t strip = 0; strip < plan.strips_per_head; ++strip) {
    dA += total(strip, 0);
    dbias += total(strip, 1);
    const HeadStrip s = plan.strip(head * plan.strips_per_head + strip);
    for (std::int64_t p = 0; out.dD != nullptr && p < s.count; ++p) {
      const double channel = total(strip, 2 + p);
      dD += channel;
      if (in.D_per_channel) out.dD[head * plan.head_dim + s.channel + p] = static_cast<T>(channel);
    }
  }
  if (out.dA) out.dA[head] = static_cast<T>(dA);
  if (out.ddt_bias) out.ddt_bias[head] = static_cast<T>(dbias);
  if (out.dD != nullptr && !in.D_per_channel) out.dD[head] = static_cast<T>(dD);
}

}  // namespace

template <typename T>
void ssd(const SsdInputs<T>& in, const SsdOutputs<T>& out, const ParallelFor& parallel) {
  check(in, out);
  const SsdPlan<T> plan(in);
  const auto run = forward_for(T{});
  parallel(in.ragged.sequences * plan.strips(),
           [&](std::int64_t first, std::int64_t last) { run(in, out, plan, first, last); });
}

template <typename T>
std::int64_t ssd_backward_workspace(const SsdInputs<T>& in) {
  check(in);
  Workspace counted(nullptr);
  SsdBackwardStore<T>(SsdPlan<T>(in), counted);
  return counted.bytes();
}

template <typename T>
void ssd_backward(const SsdInputs<T>& in, const SsdGradients<T>& gradients, void* workspace,
                  const ParallelFor& parallel) {
  check(in, gradients);
  require(workspace != nullptr, "ssd: the backward pass has no workspace");
  const SsdPlan<T> plan(in);
  Workspace memory(workspace);
  const SsdBackwardStore<T> store(plan, memory);
  const auto run = backward_for(T{});
  parallel(plan.sequence_groups.count * plan.groups * plan.slots.parts,
           [&](std::int64_t first, std::int64_t last) { run(in, gradients, plan, store, first, last); });
  const std::int64_t per_token = plan.groups * plan.states;
  if (store.dB) sum_parts<T>(store.dB, plan.slots.parts, plan.tokens * per_token, gradients.dB, parallel);
  if (store.dC) sum_parts<T>(store.dC, plan.slots.parts, plan.tokens * per_token, gradients.dC, parallel);
  if (store.ddt) sum_parts<T>(store.ddt, plan.strips_per_head, plan.tokens * plan.heads, gradients.ddt, parallel);
  parallel(plan.heads, [&](std::int64_t first, std::int64_t last) {
    for (std::int64_t head = first; head < last; ++head) sum_head(plan, store, head, in, gradients);
  });
}

#define DNAMAMBA_INSTANTIATE(T)                                                     \
  template void ssd(const SsdInputs<T>&, const SsdOutputs<T>&, const ParallelFor&); \
  template std::int64_t ssd_backward_workspace(const SsdInputs<T>&);                \
  template void ssd_backward(const SsdInputs<T>&, const SsdGradients<T>&, void*, const ParallelFor&);
DNAMAMBA_INSTANTIATE(float)
DNAMAMBA_INSTANTIATE(double)
#undef DNAMAMBA_INSTANTIATE

}  // namespace dnamamba::kernels::cpu
#endif  // HWY_ONCE
