// Products of small matrices, as the operators that work in matrix form need them: operands lie in a cache, some have a
// triangle of zeros. Compiled once per instruction set.
#if defined(DNAMAMBA_KERNELS_CPU_MATRIX_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef DNAMAMBA_KERNELS_CPU_MATRIX_INL_H_
#undef DNAMAMBA_KERNELS_CPU_MATRIX_INL_H_
#else
#define DNAMAMBA_KERNELS_CPU_MATRIX_INL_H_
#endif

#include <algorithm>
#include <cstdint>

#include "hwy/cache_control.h"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace dnamamba::kernels::cpu::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

/// What the code after a product will read or write, asked for while the product is computed: so many lines at once
/// would keep a processor waiting. Far rows are what no processor foresees.
class Ahead {
 public:
  /// Rows of `bytes` bytes, `step` bytes apart. Dropped when there is too much already.
  void add(const void* from, std::int64_t step, std::int64_t rows, std::int64_t bytes) {
    if (count_ < kMost) blocks_[count_++] = {static_cast<const char*>(from), step, rows, bytes};
  }
  void clear() { count_ = 0; }
  /// The next few rows.
  void some() {
    for (int i = 0; i < kRowsAtOnce && count_ > 0; ++i) {
      Block& block = blocks_[count_ - 1];
      for (std::int64_t at = 0; at < block.bytes; at += 64) __builtin_prefetch(block.from + at, 0, 2);
      block.from += block.step;
      if (--block.rows <= 0) --count_;
    }
  }

 private:
  struct Block {
    const char* from;
    std::int64_t step, rows, bytes;
  };
  static constexpr int kMost = 12;
  static constexpr int kRowsAtOnce = 6;
  Block blocks_[kMost];
  int count_ = 0;
};

/// Operands of out[r, c] = scale[r] out[r, c] + sum over k of a[r, k] b[k, c]. Rows of b and out are aligned and go on
/// to a whole number of vectors; a and out have rows up to a multiple of kRowBlock, whatever is in them. No lane and no
/// row enters another one's sum, so that what lies behind the last of them does not matter.
template <typename T>
struct Product {
  const T* a;
  std::int64_t a_row, a_depth;  // a[r, k] is at a + r * a_row + k * a_depth
  const T* b;
  std::int64_t b_row;
  T* out;
  std::int64_t out_row;
  const T* scale = nullptr;  // null: 0, and out is not read
  std::int64_t scale_row = 0;
  T* copy = nullptr;  // if not null, out goes there too, past the caches; lies like out
};

/// Rows come in blocks of these many or fewer.
inline constexpr std::int64_t kRowBlock = 8;

/// The k of row r that a sum runs over. Where a triangle of a is left out, it may hold anything.
enum class Depth { kAll, kUpToRow, kFromRow };

// With 4 x 4 or 8 x 2 sums in registers, loads take less time than multiplications; what is left holds a row of b.
#if HWY_TARGET == HWY_AVX3
constexpr int kSumVectors = 16;
#else
constexpr int kSumVectors = 8;
#endif
constexpr int kColumnVectors = kSumVectors / 4;

template <int kRows, int kVectors, class D>
struct TileSums {
  hn::Vec<D> at[kRows][kVectors];
};

/// Rows first … last - 1 of a tile: += a[r] b of one k.
template <int kFirst, int kLast, int kRows, int kVectors, class D, typename T = hn::TFromD<D>>
HWY_INLINE void add_products(D d, const T* a, std::int64_t a_row, const T* b, TileSums<kRows, kVectors, D>& sums) {
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  hn::Vec<D> b_k[kVectors];
  HWY_UNROLL(4)
  for (int v = 0; v < kVectors; ++v) b_k[v] = hn::Load(d, b + v * lanes);
  HWY_UNROLL(8)
  for (int r = kFirst; r < kLast; ++r) {
    const hn::Vec<D> a_rk = hn::Set(d, a[r * a_row]);
    HWY_UNROLL(4)
    for (int v = 0; v < kVectors; ++v) sums.at[r][v] = hn::MulAdd(a_rk, b_k[v], sums.at[r][v]);
  }
}

/// The k of a tile's own rows, below `depth`, where a is a triangle; a and b point to the first of them.
template <Depth kDepth, int kFirst, int kRows, int kVectors, class D, typename T = hn::TFromD<D>>
HWY_INLINE void add_triangle(D d, const Product<T>& p, const T* a, const T* b, std::int64_t depth,
                             TileSums<kRows, kVectors, D>& sums) {
  if constexpr (kFirst < kRows) {
    if (kFirst >= depth) return;
    if constexpr (kDepth == Depth::kUpToRow) {
      add_products<kFirst, kRows>(d, a + kFirst * p.a_depth, p.a_row, b + kFirst * p.b_row, sums);
    } else {
      add_products<0, kFirst + 1>(d, a + kFirst * p.a_depth, p.a_row, b + kFirst * p.b_row, sums);
    }
    add_triangle<kDepth, kFirst + 1>(d, p, a, b, depth, sums);
  }
}

/// sums += a b, of kRows rows from `row` on and kVectors vectors from `column` on.
template <Depth kDepth, int kRows, int kVectors, class D, typename T = hn::TFromD<D>>
HWY_INLINE void add_tile(D d, const Product<T>& p, std::int64_t row, std::int64_t depth, std::int64_t column,
                         TileSums<kRows, kVectors, D>& sums) {
  const std::int64_t a_row = p.a_row, a_depth = p.a_depth, b_row = p.b_row;
  const std::int64_t first = kDepth == Depth::kFromRow ? row + kRows : 0;
  const std::int64_t last = kDepth == Depth::kUpToRow ? row : depth;
  const T *a = p.a + row * a_row + first * a_depth, *b = p.b + first * b_row + column;
  for (std::int64_t k = first; k < last; ++k, a += a_depth, b += b_row) {
    add_products<0, kRows>(d, a, a_row, b, sums);
  }
  if constexpr (kDepth != Depth::kAll) {
    add_triangle<kDepth, 0>(d, p, p.a + row * (a_row + a_depth), p.b + row * b_row + column, depth - row, sums);
  }
}

/// a b of such a tile.
template <Depth kDepth, int kRows, int kVectors, class D, typename T = hn::TFromD<D>>
HWY_INLINE TileSums<kRows, kVectors, D> tile_of(D d, const Product<T>& p, std::int64_t row, std::int64_t depth,
                                                std::int64_t column) {
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  TileSums<kRows, kVectors, D> sums;
  HWY_UNROLL(8)
  for (int r = 0; r < kRows; ++r) {
    HWY_UNROLL(4)
    for (int v = 0; v < kVectors; ++v) {
      sums.at[r][v] = hn::Zero(d);
      // It is read once the sums are there.
      if (p.scale != nullptr) hwy::Prefetch(p.out + (row + r) * p.out_row + column + v * lanes);
    }
  }
  add_tile<kDepth>(d, p, row, depth, column, sums);
  return sums;
}

/// Calls body.operator()<vectors>(first column) for the blocks of columns.
template <class D, class Body>
HWY_INLINE void for_each_column_block(D d, std::int64_t columns, Body&& body) {
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  std::int64_t column = 0;
  for (; columns - column > (kColumnVectors - 1) * lanes; column += kColumnVectors * lanes) {
    body.template operator()<kColumnVectors>(column);
  }
  if constexpr (kColumnVectors > 2) {
    for (; columns - column > lanes; column += 2 * lanes) body.template operator()<2>(column);
  }
  for (; column < columns; column += lanes) body.template operator()<1>(column);
}
/// Triangles are written out row by row: fewer of them.
template <Depth kDepth, int kVectors>
constexpr int kTileRows = kDepth != Depth::kAll ? 4 : std::min<int>(kRowBlock, kSumVectors / kVectors);

template <Depth kDepth, int kVectors, class D, typename T = hn::TFromD<D>>
HWY_NOINLINE void multiply_columns(D d, const Product<T>& p, std::int64_t rows, std::int64_t depth, std::int64_t column,
                                   Ahead& ahead) {
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  constexpr int kRows = kTileRows<kDepth, kVectors>;
  for (std::int64_t row = 0; row < rows; row += kRows) {
    ahead.some();
    const TileSums<kRows, kVectors, D> sums = tile_of<kDepth, kRows, kVectors>(d, p, row, depth, column);
    const std::int64_t at = row * p.out_row + column;
    HWY_UNROLL(8)
    for (int r = 0; r < kRows; ++r) {
      const hn::Vec<D> scale = hn::Set(d, p.scale == nullptr ? T{0} : p.scale[(row + r) * p.scale_row]);
      HWY_UNROLL(4)
      for (int v = 0; v < kVectors; ++v) {
        T* const out = p.out + at + r * p.out_row + v * lanes;
        hn::Vec<D> sum = sums.at[r][v];
        if (p.scale != nullptr) sum = hn::MulAdd(scale, hn::Load(d, out), sum);
        hn::Store(sum, d, out);
        if (p.copy != nullptr) hn::Stream(sum, d, p.copy + (out - p.out));
      }
    }
  }
}

/// The product, of these many rows, k and columns.
template <Depth kDepth, class D, typename T = hn::TFromD<D>>
void multiply(D d, const Product<T>& p, std::int64_t rows, std::int64_t depth, std::int64_t columns, Ahead& ahead) {
  for_each_column_block(d, columns, [&]<int kVectors>(std::int64_t column) HWY_ATTR {
    multiply_columns<kDepth, kVectors>(d, p, rows, depth, column, ahead);
  });
}

template <int kVectors, class D, typename T = hn::TFromD<D>>
HWY_NOINLINE void add_and_dot_columns(D d, const Product<T>& p, std::int64_t rows, std::int64_t depth,
                                      std::int64_t column, const T* with, T* dots, Ahead& ahead) {
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  constexpr int kRows = kTileRows<Depth::kAll, kVectors>;
  hn::Vec<D> dot[kVectors];
  for (int v = 0; v < kVectors; ++v) dot[v] = hn::Zero(d);
  for (std::int64_t row = 0; row < rows; row += kRows) {
    const std::int64_t at = row * p.out_row + column;
    HWY_UNROLL(8)
    for (int r = 0; r < kRows; ++r) {
      HWY_UNROLL(4)
      for (int v = 0; v < kVectors; ++v) {
        hwy::Prefetch(p.out + at + r * p.out_row + v * lanes);
        hwy::Prefetch(with + at + r * p.out_row + v * lanes);
      }
    }
    ahead.some();
    const TileSums<kRows, kVectors, D> sums = tile_of<Depth::kAll, kRows, kVectors>(d, p, row, depth, column);
    HWY_UNROLL(8)
    for (int r = 0; r < kRows; ++r) {
      HWY_UNROLL(4)
      for (int v = 0; v < kVectors; ++v) {
        T* const out = p.out + at + r * p.out_row + v * lanes;
        dot[v] = hn::MulAdd(sums.at[r][v], hn::Load(d, with + at + r * p.out_row + v * lanes), dot[v]);
        hn::Store(hn::Add(hn::Load(d, out), sums.at[r][v]), d, out);
      }
    }
  }
  for (int v = 0; v < kVectors; ++v) hn::Store(dot[v], d, dots + column + v * lanes);
}

/// out += a b, and dots[c] = sum over the rows of (a b)[r, c] with[r, c]; `with` lies like out, and its rows up to a
/// multiple of kRowBlock are zeros. p.scale is null.
template <class D, typename T = hn::TFromD<D>>
void add_and_dot(D d, const Product<T>& p, std::int64_t rows, std::int64_t depth, std::int64_t columns, const T* with,
                 T* dots, Ahead& ahead) {
  for_each_column_block(d, columns, [&]<int kVectors>(std::int64_t column) HWY_ATTR {
    add_and_dot_columns<kVectors>(d, p, rows, depth, column, with, dots, ahead);
  });
}

#if HWY_TARGET == HWY_SCALAR
template <typename T>
void transpose(const T* from, std::int64_t from_row, std::int64_t rows, std::int64_t columns, T* to,
               std::int64_t to_row) {
  for (std::int64_t r = 0; r < rows; ++r) {
    for (std::int64_t c = 0; c < columns; ++c) to[c * to_row + r] = from[r * from_row + c];
  }
}
#else
HWY_INLINE void transpose_block(const float* from, std::int64_t from_row, float* to, std::int64_t to_row) {
  const hn::Full128<float> d;
  const hn::Repartition<double, hn::Full128<float>> d64;
  const auto row = [&](int r) HWY_ATTR { return hn::LoadU(d, from + r * from_row); };
  const auto store_pair = [&](auto low, auto high, int c) HWY_ATTR {
    const auto a = hn::BitCast(d64, low), b = hn::BitCast(d64, high);
    hn::StoreU(hn::BitCast(d, hn::InterleaveLower(d64, a, b)), d, to + c * to_row);
    hn::StoreU(hn::BitCast(d, hn::InterleaveUpper(d64, a, b)), d, to + (c + 1) * to_row);
  };
  const auto a = row(0), b = row(1), c = row(2), e = row(3);
  store_pair(hn::InterleaveLower(d, a, b), hn::InterleaveLower(d, c, e), 0);
  store_pair(hn::InterleaveUpper(d, a, b), hn::InterleaveUpper(d, c, e), 2);
}
HWY_INLINE void transpose_block(const double* from, std::int64_t from_row, double* to, std::int64_t to_row) {
  const hn::Full128<double> d;
  const auto a = hn::LoadU(d, from), b = hn::LoadU(d, from + from_row);
  hn::StoreU(hn::InterleaveLower(d, a, b), d, to);
  hn::StoreU(hn::InterleaveUpper(d, a, b), d, to + to_row);
}

/// to[c, r] = from[r, c]; rows and columns up to a multiple of 4 are read and written.
template <typename T>
HWY_NOINLINE void transpose(const T* from, std::int64_t from_row, std::int64_t rows, std::int64_t columns, T* to,
                            std::int64_t to_row) {
  constexpr std::int64_t kBlock = 16 / sizeof(T);
  for (std::int64_t c = 0; c < columns; c += kBlock) {
    for (std::int64_t r = 0; r < rows; r += kBlock) {
      transpose_block(from + r * from_row + c, from_row, to + c * to_row + r, to_row);
    }
  }
}
#endif

}  // namespace dnamamba::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif  // toggle
