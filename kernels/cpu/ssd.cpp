// The chunked matrix form ("state space duality", Dao & Gu 2024, section 6). In a chunk of tokens with `a` the decays
// of its steps, h the state before it and W[i, j] = a[j+1] ... a[i] (C[i] . B[j]) for j <= i:
//   y[i]   = a[0] ... a[i] C[i] h + sum over j of W[i, j] dt[j] x[j]
//   new h  = a[0] ... a[last] h + sum over j of a[j+1] ... a[last] B[j] dt[j] x[j]
// All sums are products of small matrices; C . B serves all heads of a group. Products of decays come from multiplying,
// as in the recurrence, never from an exponential of a difference of sums, which loses digits after a large step.
#include "kernels/ssd.h"

#include <algorithm>
#include <initializer_list>
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
#include "kernels/cpu/matrix-inl.h"
#include "kernels/cpu/vectors-inl.h"

HWY_BEFORE_NAMESPACE();
namespace dnamamba::kernels::cpu::HWY_NAMESPACE {
namespace {

constexpr std::int64_t kQ = kSsdChunk;  // the longest chunk, which buffers have room for
static_assert(kQ % kSsdForwardChunk == 0 && kSsdForwardChunk % kRowBlock == 0);

/// B and C of a chunk, and what its strips add to their gradients.
template <typename T>
struct GroupChunk {
  std::int64_t row_size;     // of B, C, dB, dC: not a power of two, which would put all rows at one place of a cache
  T *B, *C;                  // [kQ, row_size]; zeros behind the last state, and behind the last token up to kRowBlock
  T *B_T, *C_T;              // [state_rows, kQ]
  T* CB;                     // [kQ, kQ] C[i] . B[j], for j <= i
  T *dB_T, *dC_T, *dB, *dC;  // backward
  T* dCB;                    // backward

  GroupChunk(const SsdPlan<T>& plan, bool backward, Workspace& memory)
      : row_size(round_up(plan.states, SsdPlan<T>::kBlockLanes) + SsdPlan<T>::kBlockLanes) {
    for (T** rows : {&B, &C}) *rows = memory.take<T>(kQ * row_size);
    for (T** columns : {&B_T, &C_T}) *columns = memory.take<T>(plan.state_rows * kQ);
    CB = memory.take<T>(kQ * kQ);
    for (T** rows : {&dB, &dC}) *rows = memory.take<T>(backward ? kQ * row_size : 0);
    for (T** columns : {&dB_T, &dC_T}) *columns = memory.take<T>(backward ? plan.state_rows * kQ : 0);
    dCB = memory.take<T>(backward ? kQ * kQ : 0);
  }
};

/// What a strip works with in a chunk.
template <typename T>
struct StripChunk {
  T *dt, *decay, *slope;  // [kQ]; slope of dt in what it was before bias, softplus and limits
  T *until, *after;       // [kQ] products of the decays up to a token's own, and of those after it
  T *x, *dtx, *scaled;    // [kQ, width]
  T* W;                   // [kQ, kQ] for j <= i
  T* sums;                // backward: [kQ, width] of g B over the states
  T *dy, *dtx_T, *dy_T;   // backward: [kQ, width], [width, kQ] twice
  T *decays, *dW;         // backward: [kQ, kQ] a[j+1] ... a[i], and the gradient of W, for j <= i
  T *to_start, *to_end;   // backward: [kQ] what a token adds to the gradient of `until` and `after`, times them
  T *within, *x_g_B;      // backward: [kQ, kBlockLanes] lanes of sums

  StripChunk(const SsdPlan<T>& plan, bool backward, Workspace& memory) {
    for (T** scalars : {&dt, &decay, &slope, &until, &after}) *scalars = memory.take<T>(kQ);
    for (T** rows : {&x, &dtx, &scaled}) *rows = memory.take<T>(kQ * plan.width);
    W = memory.take<T>(kQ * kQ);
    for (T** rows : {&sums, &dy, &dtx_T, &dy_T}) *rows = memory.take<T>(backward ? kQ * plan.width : 0);
    for (T** squares : {&decays, &dW}) *squares = memory.take<T>(backward ? kQ * kQ : 0);
    for (T** scalars : {&to_start, &to_end}) *scalars = memory.take<T>(backward ? kQ : 0);
    for (T** lanes : {&within, &x_g_B}) *lanes = memory.take<T>(backward ? kQ * SsdPlan<T>::kBlockLanes : 0);
  }
};

template <typename T>
std::int64_t task_size(const SsdPlan<T>& plan, bool backward) {
  Workspace counted(nullptr);
  GroupChunk<T>(plan, backward, counted);
  StripChunk<T>(plan, backward, counted);
  return counted.bytes() / static_cast<std::int64_t>(sizeof(T));
}

/// A matrix with a row a token; the rows may lie apart.
template <typename T>
struct TokenRows {
  const T* first;
  std::int64_t step;  // from row to row
};

/// What a task has: parameters, and memory for a chunk.
template <class D, typename T = hn::TFromD<D>>
struct Task {
  D d;
  const SsdInputs<T>& in;
  const SsdPlan<T>& plan;
  Buffer<T> memory;
  Workspace pieces;
  GroupChunk<T> group;
  StripChunk<T> strip;
  Ahead& ahead;

  Task(D tag, const SsdInputs<T>& inputs, const SsdPlan<T>& given_plan, bool backward, Ahead& shared_ahead)
      : d(tag),
        in(inputs),
        plan(given_plan),
        memory(make_buffer<T>(task_size(plan, backward))),
        pieces(memory.get()),
        group(plan, backward, pieces),
        strip(plan, backward, pieces),
        ahead(shared_ahead) {}

  /// The first value of a strip in a row of [T, H, P].
  [[nodiscard]] std::int64_t row_at(std::int64_t row, const HeadStrip& s) const {
    return (row * in.heads + s.head) * in.head_dim + s.channel;
  }
  [[nodiscard]] std::int64_t group_at(std::int64_t row, std::int64_t g) const {
    return (row * in.groups + g) * in.states;
  }
  [[nodiscard]] TokenRows<T> x() const { return {in.x, in.x_step()}; }
  [[nodiscard]] TokenRows<T> B() const { return {in.B, in.B_step()}; }
  [[nodiscard]] TokenRows<T> C() const { return {in.C, in.C_step()}; }
  /// Rows of [T, H, P] and [T, G, N] end to end.
  [[nodiscard]] TokenRows<T> like_x(const T* matrix) const { return {matrix, in.heads * in.head_dim}; }
  [[nodiscard]] TokenRows<T> like_B(const T* matrix) const { return {matrix, in.groups * in.states}; }
  [[nodiscard]] SequenceRows rows_of(std::int64_t sequence, std::int64_t chunk_length = kQ) const {
    return {in.ragged.offsets[sequence], in.ragged.offsets[sequence + 1], in.reverse, chunk_length};
  }
};

/// Chunk c, or no rows where there is none.
inline ChunkRows chunk_if_any(const SequenceRows& sequence, std::int64_t c) {
  return c < 0 || c >= sequence.chunks() ? ChunkRows{} : sequence.chunk(c);
}

/// Asks for these rows of matrices, `count` values of each from `column` on.
template <class D, typename T = hn::TFromD<D>>
void expect(const Task<D>& task, std::initializer_list<TokenRows<T>> matrices, std::int64_t column, std::int64_t count,
            const ChunkRows& rows) {
  const auto size = static_cast<std::int64_t>(sizeof(T));
  for (const TokenRows<T>& matrix : matrices) {
    if (matrix.first == nullptr || rows.length == 0) continue;
    task.ahead.add(matrix.first + rows.first * matrix.step + column, rows.step * matrix.step * size, rows.length,
                   count * size);
  }
}
/// Asks for rows of [T, G, N].
template <class D, typename T = hn::TFromD<D>>
void expect_group(const Task<D>& task, std::initializer_list<TokenRows<T>> matrices, std::int64_t g,
                  const ChunkRows& rows) {
  expect(task, matrices, g * task.in.states, task.in.states, rows);
}
/// Asks for the rows of [T, H, P] of the strip after strip i of first ... last - 1, in these rows or the next ones.
template <class D, typename T = hn::TFromD<D>>
void expect_strip_after(const Task<D>& task, std::initializer_list<TokenRows<T>> matrices, std::int64_t i,
                        std::int64_t first, std::int64_t last, const ChunkRows& rows, const ChunkRows& next) {
  const HeadStrip s = task.plan.strip(i + 1 < last ? i + 1 : first);
  expect(task, matrices, task.row_at(0, s), s.count, i + 1 < last ? rows : next);
}

/// States [S, H, P, N] of the caller as [state_rows, width] of a strip, and back. What is kept between passes has
/// anything behind the last channel's vector.
template <class D, typename T = hn::TFromD<D>>
void load_states(const Task<D>& task, const T* states, std::int64_t sequence, const HeadStrip& s, T* to) {
  std::fill_n(to, task.plan.state_size(), T{0});
  if (states == nullptr) return;
  const std::int64_t N = task.in.states;
  const T* const from = states + task.row_at(sequence, s) * N;
  for (std::int64_t p = 0; p < s.count; ++p) {
    for (std::int64_t n = 0; n < N; ++n) to[n * task.plan.width + p] = from[p * N + n];
  }
}
template <class D, typename T = hn::TFromD<D>>
void store_states(const Task<D>& task, const T* from, std::int64_t sequence, const HeadStrip& s, T* states) {
  if (states == nullptr) return;
  const std::int64_t N = task.in.states;
  T* const to = states + task.row_at(sequence, s) * N;
  for (std::int64_t p = 0; p < s.count; ++p) {
    for (std::int64_t n = 0; n < N; ++n) to[p * N + n] = from[n * task.plan.width + p];
  }
}

/// The rows of B or C of a group, as GroupChunk has them.
template <class D, typename T = hn::TFromD<D>>
HWY_NOINLINE void load_group_rows(const Task<D>& task, const ChunkRows& rows, std::int64_t g,
                                  const TokenRows<T>& matrix, T* to) {
  const std::int64_t N = task.in.states, size = task.group.row_size;
  for (std::int64_t i = 0; i < rows.length; ++i) {
    std::copy_n(matrix.first + rows.row(i) * matrix.step + g * N, N, to + i * size);
  }
  std::fill(to + rows.length * size, to + round_up(rows.length, kRowBlock) * size, T{0});
}

/// out[i, j] = sum over k of a[i, k] b[k, j] for j <= i, and whatever for some other j.
template <class D, typename T = hn::TFromD<D>>
void multiply_lower(D d, const Product<T>& p, std::int64_t size, std::int64_t depth, Ahead& ahead) {
  const std::int64_t step = std::max<std::int64_t>(2 * static_cast<std::int64_t>(hn::Lanes(d)), kRowBlock);
  for (std::int64_t j = 0; j < size; j += step) {
    Product<T> block = p;
    block.a += j * p.a_row;
    block.b += j;
    block.out += j * p.out_row + j;
    multiply<Depth::kAll>(d, block, size - j, depth, std::min(step, size - j), ahead);
  }
}

template <class D>
void load_group(const Task<D>& task, const ChunkRows& rows, std::int64_t g) {
  const auto& chunk = task.group;
  load_group_rows(task, rows, g, task.B(), chunk.B);
  load_group_rows(task, rows, g, task.C(), chunk.C);
  transpose(chunk.B, chunk.row_size, rows.length, task.in.states, chunk.B_T, kQ);
  multiply_lower(task.d, {chunk.C, chunk.row_size, 1, chunk.B_T, kQ, chunk.CB, kQ}, rows.length, task.in.states,
                 task.ahead);
}

/// Rows of a strip as [length, width] with zeros behind the last channel.
template <class D, typename T = hn::TFromD<D>>
HWY_NOINLINE void load_rows(const Task<D>& task, const HeadStrip& s, const ChunkRows& rows, const TokenRows<T>& matrix,
                            T* to) {
  const D d;
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  for (std::int64_t i = 0; i < rows.length; ++i) {
    const T* const from = matrix.first + rows.row(i) * matrix.step + task.row_at(0, s);
    for (std::int64_t p = 0; p < task.plan.width; p += lanes) {
      hn::Store(p < s.count ? load_part(d, from + p, s.count - p) : hn::Zero(d), d, to + i * task.plan.width + p);
    }
  }
}

/// dt, slope and decay of a chunk, one value a token.
template <class D, typename T = hn::TFromD<D>>
HWY_NOINLINE void load_step_sizes(const Task<D>& task, const HeadStrip& s, const ChunkRows& rows) {
  const D d;
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  const SsdInputs<T>& in = task.in;
  const StripChunk<T>& to = task.strip;
  for (std::int64_t i = 0; i < rows.length; ++i) to.dt[i] = in.dt[rows.row(i) * in.heads + s.head];
  std::fill(to.dt + rows.length, to.dt + kQ, T{0});
  const auto bias = hn::Set(d, in.dt_bias ? in.dt_bias[s.head] : T{0});
  const auto A2 = hn::Set(d, in.A[s.head] * T(1.4426950408889634074));  // A * log2(e)
  const auto least = hn::Set(d, static_cast<T>(in.dt_min)), most = hn::Set(d, static_cast<T>(in.dt_max));
  for (std::int64_t i = 0; i < rows.length; i += lanes) {
    auto slope = hn::Undefined(d);
    const auto dt = limited_softplus<true>(d, hn::Add(hn::Load(d, to.dt + i), bias), least, most, &slope);
    hn::Store(dt, d, to.dt + i);
    hn::Store(slope, d, to.slope + i);
    hn::Store(exp2_of_product(d, dt, A2), d, to.decay + i);
  }
}

/// to[i, p] = scale[i] from[i, p].
template <class D, typename T = hn::TFromD<D>>
HWY_NOINLINE void scale_rows(D d, const T* scale, const T* from, std::int64_t rows, std::int64_t width, T* to) {
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  for (std::int64_t i = 0; i < rows; ++i) {
    const auto by = hn::Set(d, scale[i]);
    for (std::int64_t at = i * width; at < (i + 1) * width; at += lanes) {
      hn::Store(hn::Mul(by, hn::Load(d, from + at)), d, to + at);
    }
  }
}

/// Step sizes, and their decays multiplied up: in double, since what is off a little in every chunk would add up over a
/// long sequence.
template <class D, typename T = hn::TFromD<D>>
void load_decays(const Task<D>& task, const HeadStrip& s, const ChunkRows& rows) {
  load_step_sizes(task, s, rows);
  const StripChunk<T>& chunk = task.strip;
  double until = 1, after = 1;
  for (std::int64_t i = 0; i < rows.length; ++i) {
    const std::int64_t last = rows.length - 1 - i;
    until *= double{chunk.decay[i]};
    chunk.until[i] = static_cast<T>(until);
    chunk.after[last] = static_cast<T>(after);
    after *= double{chunk.decay[last]};
  }
}
template <class D>
void load_inputs(const Task<D>& task, const HeadStrip& s, const ChunkRows& rows) {
  load_rows(task, s, rows, task.x(), task.strip.x);
  scale_rows(task.d, task.strip.dt, task.strip.x, rows.length, task.plan.width, task.strip.dtx);
}

/// W, and `decays` if asked for. In what is above the diagonal there may be anything.
template <bool kKeepDecays, class D, typename T = hn::TFromD<D>>
HWY_NOINLINE void load_weights(const Task<D>& task, std::int64_t length) {
  const D d;
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  const StripChunk<T>& chunk = task.strip;
  for (std::int64_t j = 0; j < length; j += lanes) {
    const auto column = hn::Iota(d, static_cast<T>(j));
    auto decays = hn::Zero(d);
    for (std::int64_t i = j; i < length; ++i) {
      decays = hn::Mul(hn::Set(d, chunk.decay[i]), decays);
      if (i < j + lanes) {
        decays = hn::IfThenElse(hn::Eq(column, hn::Set(d, static_cast<T>(i))), hn::Set(d, T{1}), decays);
      }
      if constexpr (kKeepDecays) hn::Store(decays, d, chunk.decays + i * kQ + j);
      hn::Store(hn::Mul(decays, hn::Load(d, task.group.CB + i * kQ + j)), d, chunk.W + i * kQ + j);
    }
  }
}

/// state = decay of the chunk * state + sum over the tokens of matrix[i, n] scale[i] rows[i, p]: the states over a
/// chunk with B, `after` and dtx, their gradient with C, `until` and dy. To `copy` too, if not null.
template <class D, typename T = hn::TFromD<D>>
void advance(const Task<D>& task, const HeadStrip& s, std::int64_t length, const T* matrix, const T* scale,
             const T* rows, T* state, T* copy) {
  const std::int64_t width = task.plan.width;
  scale_rows(task.d, scale, rows, length, width, task.strip.scaled);
  multiply<Depth::kAll>(
      task.d,
      {matrix, 1, task.group.row_size, task.strip.scaled, width, state, width, task.strip.until + length - 1, 0, copy},
      task.plan.state_rows, length, s.count, task.ahead);
}

/// D of a strip's channels, zeros behind them and where there is none.
template <typename T>
void load_skip(const SsdInputs<T>& in, const HeadStrip& s, T* skip) {
  std::fill_n(skip, SsdPlan<T>::kStripChannels, T{0});
  for (std::int64_t p = 0; in.D != nullptr && p < s.count; ++p) {
    skip[p] = in.D[in.D_per_channel ? s.head * in.head_dim + s.channel + p : s.head];
  }
}

/// y = until C h + W dtx + D x of kVectors vectors of channels from `column` on, from registers to the caller.
template <int kVectors, class D, typename T = hn::TFromD<D>>
HWY_NOINLINE void store_outputs(const Task<D>& task, const HeadStrip& s, const ChunkRows& rows, const T* h,
                                std::int64_t column, T* y) {
  const D d;
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  constexpr int kRows = kTileRows<Depth::kUpToRow, kVectors>;
  const StripChunk<T>& chunk = task.strip;
  const std::int64_t width = task.plan.width;
  const Product<T> of_states{task.group.C, task.group.row_size, 1, h, width, nullptr, 0};
  const Product<T> of_tokens{chunk.W, kQ, 1, chunk.dtx, width, nullptr, 0};
  HWY_ALIGN T skip[SsdPlan<T>::kStripChannels];
  load_skip(task.in, s, skip);
  for (std::int64_t row = 0; row < rows.length; row += kRows) {
    task.ahead.some();
    auto sums = tile_of<Depth::kAll, kRows, kVectors>(d, of_states, row, task.in.states, column);
    HWY_UNROLL(4)
    for (int r = 0; r < kRows; ++r) {
      const auto until = hn::Set(d, chunk.until[row + r]);
      HWY_UNROLL(4)
      for (int v = 0; v < kVectors; ++v) sums.at[r][v] = hn::Mul(until, sums.at[r][v]);
    }
    add_tile<Depth::kUpToRow>(d, of_tokens, row, rows.length, column, sums);
    HWY_UNROLL(4)
    for (int r = 0; r < kRows; ++r) {
      if (row + r >= rows.length) break;
      T* const to = y + task.row_at(rows.row(row + r), s);
      HWY_UNROLL(4)
      for (int v = 0; v < kVectors; ++v) {
        const std::int64_t p = column + v * lanes;
        const auto x = hn::Load(d, chunk.x + (row + r) * width + p);
        store_part(d, hn::MulAdd(hn::Load(d, skip + p), x, sums.at[r][v]), to + p, s.count - p);
      }
    }
  }
}

template <class D, typename T = hn::TFromD<D>>
void forward_of_chunk(const Task<D>& task, const HeadStrip& s, const ChunkRows& rows, T* h, T* y) {
  const StripChunk<T>& chunk = task.strip;
  load_decays(task, s, rows);
  load_inputs(task, s, rows);
  load_weights<false>(task, rows.length);
  for_each_column_block(task.d, s.count, [&]<int kVectors>(std::int64_t column) HWY_ATTR {
    store_outputs<kVectors>(task, s, rows, h, column, y);
  });
  advance(task, s, rows.length, task.group.B, chunk.after, chunk.dtx, h, static_cast<T*>(nullptr));
}

/// A slot of strips; h: [strips, state_size].
template <class D, typename T = hn::TFromD<D>>
void forward_of_slot(const Task<D>& task, const SsdOutputs<T>& out, std::int64_t sequence, std::int64_t first,
                     std::int64_t last, T* h) {
  const std::int64_t size = task.plan.state_size(), g = task.plan.group_of(task.plan.strip(first));
  for (std::int64_t i = first; i < last; ++i) {
    load_states(task, task.in.initial_state, sequence, task.plan.strip(i), h + (i - first) * size);
  }
  const SequenceRows sequence_rows = task.rows_of(sequence, kSsdForwardChunk);
  for (std::int64_t c = 0; c < sequence_rows.chunks(); ++c) {
    const ChunkRows rows = sequence_rows.chunk(c), next = chunk_if_any(sequence_rows, c + 1);
    load_group(task, rows, g);
    expect_group(task, {task.B(), task.C()}, g, next);
    for (std::int64_t i = first; i < last; ++i) {
      expect_strip_after(task, {task.x(), task.like_x(out.y)}, i, first, last, rows, next);
      forward_of_chunk(task, task.plan.strip(i), rows, h + (i - first) * size, out.y);
    }
  }
  for (std::int64_t i = first; i < last; ++i) {
    store_states(task, h + (i - first) * size, sequence, task.plan.strip(i), out.final_state);
  }
}

/// Calls body(sequence, first strip, last strip) for the slots of tasks [first, last), which are (sequence, strip).
template <typename T, class Body>
void for_each_slot(const SsdPlan<T>& plan, std::int64_t first, std::int64_t last, Body&& body) {
  for (std::int64_t task = first; task < last;) {
    const std::int64_t strip = task % plan.strips(), end = plan.end_of_slot(strip, strip + last - task);
    body(task / plan.strips(), strip, end);
    task += end - strip;
  }
}

/// Tasks are (sequence, strip); those of one group of heads are worked on together.
template <typename T>
void forward_tasks(const SsdInputs<T>& in, const SsdOutputs<T>& out, const SsdPlan<T>& plan, std::int64_t first,
                   std::int64_t last) {
  const FlushDenormals flush;
  const hn::ScalableTag<T> d;
  Ahead ahead;
  const Task<decltype(d)> task(d, in, plan, false, ahead);
  const auto h = make_buffer<T>(std::min(plan.largest_slot(), last - first) * plan.state_size());
  for_each_slot(plan, first, last, [&](std::int64_t sequence, std::int64_t begin, std::int64_t end) {
    forward_of_slot(task, out, sequence, begin, end, h.get());
  });
}

// ---- Backward. g is the gradient of h, `carry` what flows back into the state at the end of a chunk. Both they and
// the states at the chunks' ends come from passes of their own, which keep them; then each chunk is by itself. With dW
// the gradient of W:
//   dW[i, j] = dy[i] . dt[j] x[j];  dCB = decays dW summed over the strips
//   dC[i] = until[i] dy[i] h + sum over j of dCB[i, j] B[j]
//   dB[j] = after[j] dt[j] x[j] carry + sum over i of dCB[i, j] C[i]
//   sum of g B at j = after[j] B[j] carry + sum over i of W[i, j] dy[i];  dx = dt sum(g B) + D dy
// The gradient of log a[t] (`change`) is the sum of all that flows through step t, from j < t or the state before the
// chunk to i >= t or the state behind it. Nothing is subtracted that would leave rounding errors in place of small
// numbers.
//   ddt = A change + sum over p of x sum(g B);  dA += dt change

/// Through step t within the chunk: the sum of W dW over i >= t > j, as kQ rows of lanes in `within`. Adds to dCB.
template <class D, typename T = hn::TFromD<D>>
HWY_NOINLINE void backward_of_weights(const Task<D>& task, std::int64_t length) {
  const D d;
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  const StripChunk<T>& chunk = task.strip;
  std::fill_n(chunk.within, length * lanes, T{0});
  for (std::int64_t j = 0; j < length; j += lanes) {
    const auto column = hn::Iota(d, static_cast<T>(j));
    auto below = hn::Zero(d);  // sum over the rows so far
    for (std::int64_t i = length - 1; i >= j; --i) {
      const std::int64_t at = i * kQ + j;
      const auto dCB = hn::Mul(hn::Load(d, chunk.decays + at), hn::Load(d, chunk.dW + at));
      hn::Store(hn::Add(hn::Load(d, task.group.dCB + at), dCB), d, task.group.dCB + at);
      below = hn::MulAdd(dCB, hn::Load(d, task.group.CB + at), below);
      auto through = below;
      if (i < j + lanes) through = hn::IfThenElseZero(hn::Lt(column, hn::Set(d, static_cast<T>(i))), below);
      hn::Store(hn::Add(hn::Load(d, chunk.within + i * lanes), through), d, chunk.within + i * lanes);
    }
  }
}

/// Sum of all products of two states of a strip.
template <class D, typename T = hn::TFromD<D>>
HWY_NOINLINE T dot(const Task<D>& task, const HeadStrip& s, const T* a, const T* b) {
  const D d;
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  constexpr std::int64_t kSums = 4;  // one would wait for itself
  hn::Vec<D> sums[kSums];
  for (auto& sum : sums) sum = hn::Zero(d);
  for (std::int64_t n = 0; n < task.in.states; ++n) {
    for (std::int64_t first = n * task.plan.width; first < n * task.plan.width + s.count; first += kSums * lanes) {
      HWY_UNROLL(4)
      for (std::int64_t k = 0; k < kSums; ++k) {
        const std::int64_t at = first + k * lanes;
        if (at < n * task.plan.width + s.count) {
          sums[k] = hn::MulAdd(hn::Load(d, a + at), hn::Load(d, b + at), sums[k]);
        }
      }
    }
  }
  return hn::GetLane(hn::SumOfLanes(d, hn::Add(hn::Add(sums[0], sums[1]), hn::Add(sums[2], sums[3]))));
}

/// Gradients of a task's chunk: where they go.
template <typename T>
struct BackwardTo {
  const SsdGradients<T>& out;
  T* ddt;        // of the strip's place in a head
  double* sums;  // [SsdBackwardStore::kSums] of the strip
};

/// dx, dD, and over the lanes x * sum(g B).
template <class D, typename T = hn::TFromD<D>>
HWY_NOINLINE void store_channel_gradients(const Task<D>& task, const HeadStrip& s, const ChunkRows& rows,
                                          const BackwardTo<T>& to) {
  const D d;
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  const StripChunk<T>& chunk = task.strip;
  HWY_ALIGN T dD[SsdPlan<T>::kStripChannels] = {};
  HWY_ALIGN T skip[SsdPlan<T>::kStripChannels];
  load_skip(task.in, s, skip);
  for (std::int64_t t = 0; t < rows.length; ++t) {
    const std::int64_t row = task.row_at(rows.row(t), s);
    const auto dt = hn::Set(d, chunk.dt[t]);
    auto x_g_B = hn::Zero(d);
    for (std::int64_t p = 0; p < s.count; p += lanes) {
      const std::int64_t at = t * task.plan.width + p;
      const auto x = hn::Load(d, chunk.x + at), dy = hn::Load(d, chunk.dy + at), g_B = hn::Load(d, chunk.sums + at);
      x_g_B = hn::MulAdd(x, g_B, x_g_B);
      hn::Store(hn::MulAdd(dy, x, hn::Load(d, dD + p)), d, dD + p);
      if (to.out.dx == nullptr) continue;
      store_part(d, hn::MulAdd(dt, g_B, hn::Mul(hn::Load(d, skip + p), dy)), to.out.dx + row + p, s.count - p);
    }
    hn::Store(x_g_B, d, chunk.x_g_B + t * lanes);
  }
  for (std::int64_t p = 0; p < s.count; ++p) to.sums[2 + p] += double{dD[p]};
}

/// ddt, dA and ddt_bias. `through`: what flows through the whole chunk.
template <class D, typename T = hn::TFromD<D>>
HWY_NOINLINE void store_step_gradients(const Task<D>& task, const HeadStrip& s, const ChunkRows& rows, T through,
                                       const BackwardTo<T>& to) {
  const D d;
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  const StripChunk<T>& chunk = task.strip;
  HWY_ALIGN T change[kQ], x_g_B[kQ];
  sum_lanes(d, chunk.within, lanes, rows.length, change);
  sum_lanes(d, chunk.x_g_B, lanes, rows.length, x_g_B);
  T from_start = through, to_end = 0;
  for (std::int64_t t = 0; t < rows.length; ++t) {
    const std::int64_t last = rows.length - 1 - t;
    change[last] += from_start += chunk.to_start[last];
    change[t] += to_end;
    to_end += chunk.to_end[t];
  }
  for (std::int64_t t = 0; t < rows.length; ++t) {
    const T ddt = (task.in.A[s.head] * change[t] + x_g_B[t]) * chunk.slope[t];
    to.sums[0] += double{chunk.dt[t]} * double{change[t]};
    to.sums[1] += double{ddt};
    if (to.ddt) to.ddt[rows.row(t) * task.in.heads + s.head] = ddt;
  }
}

/// Columns of [width, kQ], times a number a column.
template <class D, typename T = hn::TFromD<D>>
HWY_NOINLINE void scale_columns(D d, const T* scale, std::int64_t rows, std::int64_t columns, T* matrix) {
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  for (std::int64_t c = 0; c < columns; c += lanes) {
    const auto by = hn::Load(d, scale + c);
    for (std::int64_t r = 0; r < rows; ++r) {
      hn::Store(hn::Mul(by, hn::Load(d, matrix + r * kQ + c)), d, matrix + r * kQ + c);
    }
  }
}

/// A strip of a chunk, with the states before it and the gradient that comes in behind it.
template <class D, typename T = hn::TFromD<D>>
void backward_of_strip(const Task<D>& task, const HeadStrip& s, const ChunkRows& rows, const T* h, const T* carry,
                       const BackwardTo<T>& to) {
  const D d = task.d;
  const StripChunk<T>& chunk = task.strip;
  const GroupChunk<T>& group = task.group;
  const std::int64_t width = task.plan.width, length = rows.length, N = task.in.states;
  load_decays(task, s, rows);
  load_inputs(task, s, rows);
  load_rows(task, s, rows, task.like_x(to.out.dy), chunk.dy);
  load_weights<true>(task, length);
  transpose(chunk.dtx, width, length, s.count, chunk.dtx_T, kQ);
  transpose(chunk.dy, width, length, s.count, chunk.dy_T, kQ);

  multiply_lower(d, {chunk.dy, width, 1, chunk.dtx_T, kQ, chunk.dW, kQ}, length, s.count, task.ahead);
  backward_of_weights(task, length);
  scale_columns(d, chunk.until, s.count, length, chunk.dy_T);
  scale_columns(d, chunk.after, s.count, length, chunk.dtx_T);
  add_and_dot(d, {h, width, 1, chunk.dy_T, kQ, group.dC_T, kQ}, N, s.count, length, group.C_T, chunk.to_start,
              task.ahead);
  add_and_dot(d, {carry, width, 1, chunk.dtx_T, kQ, group.dB_T, kQ}, N, s.count, length, group.B_T, chunk.to_end,
              task.ahead);
  multiply<Depth::kAll>(d, {group.B, group.row_size, 1, carry, width, chunk.sums, width}, length, N, s.count,
                        task.ahead);
  multiply<Depth::kFromRow>(d, {chunk.W, 1, kQ, chunk.dy, width, chunk.sums, width, chunk.after, 1}, length, length,
                            s.count, task.ahead);
  store_channel_gradients(task, s, rows, to);
  const T through = chunk.until[length - 1] * dot(task, s, h, carry);
  store_step_gradients(task, s, rows, through, to);
}

/// dB and dC of a chunk, once all strips have added to them.
template <class D, typename T = hn::TFromD<D>>
void store_group_gradients(const Task<D>& task, const ChunkRows& rows, std::int64_t g, const SsdGradients<T>& out) {
  const GroupChunk<T>& group = task.group;
  const std::int64_t N = task.in.states, size = group.row_size, length = rows.length;
  const T one = 1;
  transpose(group.dC_T, kQ, N, length, group.dC, size);
  transpose(group.dB_T, kQ, N, length, group.dB, size);
  multiply<Depth::kUpToRow>(task.d, {group.dCB, kQ, 1, group.B, size, group.dC, size, &one, 0}, length, length, N,
                            task.ahead);
  multiply<Depth::kFromRow>(task.d, {group.dCB, 1, kQ, group.C, size, group.dB, size, &one, 0}, length, length, N,
                            task.ahead);
  for (std::int64_t i = 0; i < length; ++i) {
    const std::int64_t to = task.group_at(rows.row(i), g);
    if (out.dB) std::copy_n(group.dB + i * size, N, out.dB + to);
    if (out.dC) std::copy_n(group.dC + i * size, N, out.dC + to);
  }
}

/// The states before every chunk but the first, kept at `starts`, of a slot of strips; by the chunks of the forward
/// pass, so that they have its bits.
template <class D, typename T = hn::TFromD<D>>
void keep_starts(const Task<D>& task, std::int64_t sequence, std::int64_t first, std::int64_t last, T* h, T* starts) {
  const std::int64_t size = task.plan.state_size(), g = task.plan.group_of(task.plan.strip(first));
  constexpr std::int64_t kPerChunk = kQ / kSsdForwardChunk;
  const SequenceRows sequence_rows = task.rows_of(sequence, kSsdForwardChunk);
  const std::int64_t pieces = (task.rows_of(sequence).chunks() - 1) * kPerChunk;
  if (pieces <= 0) return;
  for (std::int64_t i = first; i < last; ++i) {
    load_states(task, task.in.initial_state, sequence, task.plan.strip(i), h + (i - first) * size);
  }
  for (std::int64_t c = 0; c < pieces; ++c) {
    const ChunkRows rows = sequence_rows.chunk(c), next = chunk_if_any(sequence_rows, c + 1);
    const bool ends_chunk = (c + 1) % kPerChunk == 0;
    load_group_rows(task, rows, g, task.B(), task.group.B);
    expect_group(task, {task.B()}, g, next);
    for (std::int64_t i = first; i < last; ++i) {
      const HeadStrip s = task.plan.strip(i);
      expect_strip_after(task, {task.x()}, i, first, last, rows, next);
      load_decays(task, s, rows);
      load_inputs(task, s, rows);
      advance(task, s, rows.length, task.group.B, task.strip.after, task.strip.dtx, h + (i - first) * size,
              ends_chunk ? starts + (c / kPerChunk * task.plan.strips() + i) * size : nullptr);
    }
  }
}

/// What flows back into the states behind every chunk but the last, kept at `ends`, and into the initial ones.
template <class D, typename T = hn::TFromD<D>>
void keep_ends(const Task<D>& task, const SsdGradients<T>& out, std::int64_t sequence, std::int64_t first,
               std::int64_t last, T* carry, T* ends) {
  const std::int64_t size = task.plan.state_size(), g = task.plan.group_of(task.plan.strip(first));
  const SequenceRows sequence_rows = task.rows_of(sequence);
  for (std::int64_t i = first; i < last; ++i) {
    load_states(task, out.dfinal_state, sequence, task.plan.strip(i), carry + (i - first) * size);
  }
  for (std::int64_t c = sequence_rows.chunks() - 1; c >= (out.dinitial_state ? 0 : 1); --c) {
    const ChunkRows rows = sequence_rows.chunk(c), next = chunk_if_any(sequence_rows, c - 1);
    load_group_rows(task, rows, g, task.C(), task.group.C);
    expect_group(task, {task.C()}, g, next);
    for (std::int64_t i = first; i < last; ++i) {
      const HeadStrip s = task.plan.strip(i);
      expect_strip_after(task, {task.like_x(out.dy)}, i, first, last, rows, next);
      load_decays(task, s, rows);
      load_rows(task, s, rows, task.like_x(out.dy), task.strip.dy);
      advance(task, s, rows.length, task.group.C, task.strip.until, task.strip.dy, carry + (i - first) * size,
              c == 0 ? nullptr : ends + ((c - 1) * task.plan.strips() + i) * size);
    }
  }
  for (std::int64_t i = first; i < last; ++i) {
    store_states(task, carry + (i - first) * size, sequence, task.plan.strip(i), out.dinitial_state);
  }
}

/// Tasks are (sequence, strip) for the states, then again for their gradients.
template <typename T>
void boundary_tasks(const SsdInputs<T>& in, const SsdGradients<T>& out, const SsdPlan<T>& plan,
                    const SsdBackwardStore<T>& store, std::int64_t first, std::int64_t last) {
  const FlushDenormals flush;
  const hn::ScalableTag<T> d;
  Ahead ahead;
  const Task<decltype(d)> task(d, in, plan, true, ahead);
  const auto state = make_buffer<T>(std::min(plan.largest_slot(), last - first) * plan.state_size());
  const std::int64_t of_states = in.ragged.sequences * plan.strips(), stride = plan.strips() * plan.state_size();
  const auto at = [&](std::int64_t s) { return first_chunk_start(in.ragged.offsets[s], kQ) * stride; };
  for_each_slot(plan, first, std::min(last, of_states), [&](std::int64_t s, std::int64_t begin, std::int64_t end) {
    keep_starts(task, s, begin, end, state.get(), store.starts + at(s));
  });
  for_each_slot(plan, std::max(first, of_states) - of_states, last - of_states,
                [&](std::int64_t s, std::int64_t begin, std::int64_t end) {
                  keep_ends(task, out, s, begin, end, state.get(), store.ends + at(s));
                });
  hwy::FlushStream();  // other threads will read them
}

/// Chunk c of a sequence: all strips of a group. states: room for two states.
template <class D, typename T = hn::TFromD<D>>
void backward_of_chunk(const Task<D>& task, const SsdGradients<T>& out, const SsdBackwardStore<T>& store,
                       std::int64_t sequence, std::int64_t c, std::int64_t g, double* sums, T* states) {
  const SsdPlan<T>& plan = task.plan;
  const GroupChunk<T>& group = task.group;
  const SequenceRows sequence_rows = task.rows_of(sequence);
  const ChunkRows rows = sequence_rows.chunk(c);
  const std::int64_t size = plan.state_size(), place = first_chunk_start(task.in.ragged.offsets[sequence], kQ) + c;
  const ChunkRows next = chunk_if_any(sequence_rows, c + 1);
  const std::int64_t first = g * plan.strips_per_group, last = first + plan.strips_per_group;
  load_group(task, rows, g);
  expect_group(task, {task.like_B(out.dB), task.like_B(out.dC)}, g, rows);
  expect_group(task, {task.B(), task.C()}, g, next);
  transpose(group.C, group.row_size, rows.length, plan.states, group.C_T, kQ);
  for (T* sum : {group.dB_T, group.dC_T}) std::fill_n(sum, plan.state_rows * kQ, T{0});
  std::fill_n(group.dCB, kQ * kQ, T{0});
  for (std::int64_t i = first; i < last; ++i) {
    const HeadStrip s = plan.strip(i);
    expect_strip_after(task, {task.x(), task.like_x(out.dy), task.like_x(out.dx)}, i, first, last, rows, next);
    const T* h = store.starts + ((place - 1) * plan.strips() + i) * size;
    const T* carry = store.ends + (place * plan.strips() + i) * size;
    if (c == 0) load_states(task, task.in.initial_state, sequence, s, states), h = states;
    if (c + 1 == sequence_rows.chunks()) {
      load_states(task, out.dfinal_state, sequence, s, states + size), carry = states + size;
    }
    T* ddt = out.ddt;
    if (ddt != nullptr && store.ddt != nullptr) ddt = store.ddt + i % plan.strips_per_head * plan.tokens * plan.heads;
    backward_of_strip(task, s, rows, h, carry, {out, ddt, sums + i * store.kSums});
  }
  store_group_gradients(task, rows, g, out);
}

/// Tasks are (range of tokens, group of heads).
template <typename T>
void backward_tasks(const SsdInputs<T>& in, const SsdGradients<T>& out, const SsdPlan<T>& plan,
                    const SsdBackwardStore<T>& store, std::int64_t first, std::int64_t last) {
  const FlushDenormals flush;
  const hn::ScalableTag<T> d;
  Ahead ahead;
  const Task<decltype(d)> task(d, in, plan, true, ahead);
  const auto states = make_buffer<T>(2 * plan.state_size());
  const std::int64_t* const offsets = in.ragged.offsets;
  for (std::int64_t i = first; i < last; ++i) {
    const std::int64_t range = i / plan.groups, g = i % plan.groups;
    double* const sums = store.sums + range * plan.strips() * store.kSums;
    std::fill_n(sums + g * plan.strips_per_group * store.kSums, plan.strips_per_group * store.kSums, 0.0);
    const std::int64_t begin = plan.ranges.begin(range), end = plan.ranges.begin(range + 1);
    std::int64_t s = std::upper_bound(offsets, offsets + in.ragged.sequences, begin) - offsets - 1;
    for (; s < in.ragged.sequences && offsets[s] < end; ++s) {
      const std::int64_t chunks = task.rows_of(s).chunks();
      for (std::int64_t c = ceil_div(std::max(begin - offsets[s], std::int64_t{0}), kQ);
           c < chunks && offsets[s] + c * kQ < end; ++c) {
        backward_of_chunk(task, out, store, s, c, g, sums, states.get());
      }
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
void boundaries_float(const SsdInputs<float>& in, const SsdGradients<float>& out, const SsdPlan<float>& plan,
                      const SsdBackwardStore<float>& store, std::int64_t first, std::int64_t last) {
  boundary_tasks(in, out, plan, store, first, last);
}
void boundaries_double(const SsdInputs<double>& in, const SsdGradients<double>& out, const SsdPlan<double>& plan,
                       const SsdBackwardStore<double>& store, std::int64_t first, std::int64_t last) {
  boundary_tasks(in, out, plan, store, first, last);
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
DNAMAMBA_DISPATCH(boundaries);
DNAMAMBA_DISPATCH(backward);

/// dA, ddt_bias and dD of a head, summed over the ranges of tokens and the strips in order.
template <typename T>
void sum_head(const SsdPlan<T>& plan, const SsdBackwardStore<T>& store, std::int64_t head, const SsdInputs<T>& in,
              const SsdGradients<T>& out) {
  const auto total = [&](std::int64_t strip, std::int64_t i) {
    double sum = 0;
    for (std::int64_t range = 0; range < plan.ranges.parts; ++range) {
      sum += store.sums[((range * plan.heads + head) * plan.strips_per_head + strip) * store.kSums + i];
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
  const auto run_boundaries = boundaries_for(T{});
  const auto run = backward_for(T{});
  parallel(2 * in.ragged.sequences * plan.strips(),
           [&](std::int64_t first, std::int64_t last) { run_boundaries(in, gradients, plan, store, first, last); });
  parallel(plan.ranges.parts * plan.groups,
           [&](std::int64_t first, std::int64_t last) { run(in, gradients, plan, store, first, last); });
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
