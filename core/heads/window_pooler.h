// Hidden vectors, in the order in which a strand is read, to one vector a window. Memory: the windows that are open.
#pragma once
#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <map>
#include <span>
#include <vector>

#include "core/tokens/windows.h"

namespace dnamamba::heads {

/// kNone: every position a row of its own (a plan of windows of 1), ambiguous positions included.
enum class Pool { kMean, kMax, kLast, kNone };

/// Sums are in double and in reading order, so that a row does not depend on how the sequence was cut into segments.
class WindowPooler {
 public:
  /// Window i's vector, [width]. A window with ambiguous bases only is all NaN.
  using Sink = std::function<void(std::int64_t window, std::span<const float> row)>;

  /// `plan` lies on the forward strand; with `reverse`, the k-th token that is read is position length - 1 - k of the
  /// plan. Tokens equal to `ambiguous` are left out of mean and max, and are not the last one.
  WindowPooler(Pool pool, std::int64_t width, const tokens::WindowPlan& plan, bool reverse, std::uint8_t ambiguous);

  /// The next tokens [n] and their vectors [n, width], float32 or float64, or on a GPU, where means are formed there.
  /// Hands finished windows to `sink`.
  /// @throws base::Error, naming the position, where a vector of an unambiguous token holds a NaN or an infinity.
  void add(std::span<const std::uint8_t> tokens, const at::Tensor& hidden, const Sink& sink);

 private:
  struct Open {
    std::vector<double> values;
    std::int64_t count = 0;
  };
  void add_sums(std::span<const std::uint8_t> tokens, const at::Tensor& hidden, const Sink& sink);
  template <typename Add>
  void for_each_window(std::int64_t count, const Add& add);
  [[nodiscard]] tokens::Range rows_of(std::int64_t window, std::int64_t count) const;
  void finish_if_read(std::int64_t window, std::int64_t end, const Sink& sink);
  Open& open_window(std::int64_t window);
  template <typename T>
  void add_rows(std::span<const std::uint8_t> tokens, const T* rows, const Sink& sink);
  template <typename T>
  void add_row(Open& open, const T* row) const;
  void finish(std::int64_t window, const Open& open, const Sink& sink);

  Pool pool_;
  std::int64_t width_;
  tokens::WindowPlan plan_;
  bool reverse_;
  std::uint8_t ambiguous_;
  std::int64_t read_ = 0;  // tokens so far
  std::map<std::int64_t, Open> open_;
  std::vector<float> row_;
};

}  // namespace dnamamba::heads
