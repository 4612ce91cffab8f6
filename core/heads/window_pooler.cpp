#include "core/heads/window_pooler.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/base/error.h"

namespace dnamamba::heads {

WindowPooler::WindowPooler(Pool pool, std::int64_t width, const tokens::WindowPlan& plan, bool reverse,
                           std::uint8_t ambiguous)
    : pool_(pool), width_(width), plan_(plan), reverse_(reverse), ambiguous_(ambiguous), row_(width) {}

void WindowPooler::add(std::span<const std::uint8_t> tokens, const at::Tensor& hidden, const Sink& sink) {
  if (tokens.empty()) return;
  const at::Tensor rows = hidden.contiguous();
  if (rows.scalar_type() == at::kDouble) {
    add_rows(tokens, rows.const_data_ptr<double>(), sink);
  } else {
    add_rows(tokens, rows.const_data_ptr<float>(), sink);
  }
  read_ += static_cast<std::int64_t>(tokens.size());
}

template <typename T>
void WindowPooler::add_rows(std::span<const std::uint8_t> tokens, const T* rows, const Sink& sink) {
  const auto count = static_cast<std::int64_t>(tokens.size());
  const std::int64_t first = reverse_ ? plan_.length() - read_ - count : read_;
  const tokens::Range windows = plan_.touching({first, first + count});
  if (!reverse_) {
    for (std::int64_t w = windows.first; w < windows.last; ++w) add_window(w, tokens, rows, sink);
  } else {
    for (std::int64_t w = windows.last - 1; w >= windows.first; --w) add_window(w, tokens, rows, sink);
  }
}

template <typename T>
void WindowPooler::add_window(std::int64_t window, std::span<const std::uint8_t> tokens, const T* rows,
                              const Sink& sink) {
  // The window in reading order: [first, last) of all tokens of the strand.
  const tokens::Range place = plan_.window(window);
  const std::int64_t first = reverse_ ? plan_.length() - place.last : place.first;
  const std::int64_t last = reverse_ ? plan_.length() - place.first : place.last;
  Open& open = open_[window];
  if (open.values.empty())
    open.values.assign(width_, pool_ == Pool::kMax ? -std::numeric_limits<double>::infinity() : 0.0);
  const std::int64_t begin = std::max(first - read_, std::int64_t{0});
  const std::int64_t end = std::min(last - read_, static_cast<std::int64_t>(tokens.size()));
  for (std::int64_t i = begin; i < end; ++i)
    if (pool_ == Pool::kNone || tokens[i] != ambiguous_) add_row(open, rows + i * width_);
  if (read_ + end < last) return;
  finish(window, open, sink);
  open_.erase(window);
}

template <typename T>
void WindowPooler::add_row(Open& open, const T* row) const {
  double* values = open.values.data();
  ++open.count;
  switch (pool_) {
    case Pool::kMean:
      for (std::int64_t d = 0; d < width_; ++d) values[d] += static_cast<double>(row[d]);
      break;
    case Pool::kMax:  // written so that a NaN comes in and stays
      for (std::int64_t d = 0; d < width_; ++d)
        if (!(row[d] <= values[d]) && !std::isnan(values[d])) values[d] = static_cast<double>(row[d]);
      break;
    case Pool::kLast:
    case Pool::kNone:
      std::copy_n(row, width_, values);
      break;
  }
}

void WindowPooler::finish(std::int64_t window, const Open& open, const Sink& sink) {
  const double scale = pool_ == Pool::kMean && open.count > 0 ? 1.0 / static_cast<double>(open.count) : 1.0;
  for (std::int64_t d = 0; d < width_; ++d) {
    const double value = open.count == 0 ? std::numeric_limits<double>::quiet_NaN() : open.values[d] * scale;
    if (open.count > 0 && !std::isfinite(value)) {
      const tokens::Range place = plan_.window(window);
      throw base::Error(base::concat("the model's answer is not finite in positions ", place.first, " to ", place.last,
                                     "; check the weights with `dnamamba models verify`"));
    }
    row_[d] = static_cast<float>(value);
  }
  sink(window, row_);
}

}  // namespace dnamamba::heads
