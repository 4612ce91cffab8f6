#include "core/heads/window_pooler.h"

#include <ATen/ops/from_blob.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/base/error.h"
#include "core/ops/tensors.h"
#include "core/ops/window_sums.h"

namespace dnamamba::heads {

WindowPooler::WindowPooler(Pool pool, std::int64_t width, const tokens::WindowPlan& plan, bool reverse,
                           std::uint8_t ambiguous)
    : pool_(pool), width_(width), plan_(plan), reverse_(reverse), ambiguous_(ambiguous), row_(width) {}

void WindowPooler::add(std::span<const std::uint8_t> tokens, const at::Tensor& hidden, const Sink& sink) {
  if (tokens.empty()) return;
  if (hidden.is_cuda() && pool_ == Pool::kMean) {
    add_sums(tokens, hidden, sink);
  } else if (hidden.scalar_type() == at::kDouble) {
    add_rows(tokens, hidden.contiguous().const_data_ptr<double>(), sink);
  } else {
    add_rows(tokens, hidden.to(at::kCPU, at::kFloat).contiguous().const_data_ptr<float>(), sink);
  }
  read_ += static_cast<std::int64_t>(tokens.size());
}

/// Calls add(window) for those that the next `count` tokens touch, in the order in which they are read.
template <typename Add>
void WindowPooler::for_each_window(std::int64_t count, const Add& add) {
  const std::int64_t first = reverse_ ? plan_.length() - read_ - count : read_;
  const tokens::Range windows = plan_.touching({first, first + count});
  if (!reverse_) {
    for (std::int64_t w = windows.first; w < windows.last; ++w) add(w);
  } else {
    for (std::int64_t w = windows.last - 1; w >= windows.first; --w) add(w);
  }
}

/// Of the next `count` tokens those in the window, in reading order.
tokens::Range WindowPooler::rows_of(std::int64_t window, std::int64_t count) const {
  const tokens::Range place = plan_.window(window);
  const std::int64_t first = reverse_ ? plan_.length() - place.last : place.first;
  const std::int64_t last = reverse_ ? plan_.length() - place.first : place.last;
  return {std::max(first - read_, std::int64_t{0}), std::min(last - read_, count)};
}

WindowPooler::Open& WindowPooler::open_window(std::int64_t window) {
  Open& open = open_[window];
  if (open.values.empty())
    open.values.assign(width_, pool_ == Pool::kMax ? -std::numeric_limits<double>::infinity() : 0.0);
  return open;
}

/// `end`: of the next tokens, behind the last that was added.
void WindowPooler::finish_if_read(std::int64_t window, std::int64_t end, const Sink& sink) {
  const tokens::Range place = plan_.window(window);
  if (read_ + end < (reverse_ ? plan_.length() - place.first : place.last)) return;
  finish(window, open_.at(window), sink);
  open_.erase(window);
}

template <typename T>
void WindowPooler::add_rows(std::span<const std::uint8_t> tokens, const T* rows, const Sink& sink) {
  for_each_window(static_cast<std::int64_t>(tokens.size()), [&](std::int64_t window) {
    Open& open = open_window(window);
    const tokens::Range own = rows_of(window, static_cast<std::int64_t>(tokens.size()));
    for (std::int64_t i = own.first; i < own.last; ++i)
      if (pool_ == Pool::kNone || tokens[i] != ambiguous_) add_row(open, rows + i * width_);
    finish_if_read(window, own.last, sink);
  });
}

void WindowPooler::add_sums(std::span<const std::uint8_t> tokens, const at::Tensor& hidden, const Sink& sink) {
  const auto count = static_cast<std::int64_t>(tokens.size());
  std::vector<std::int64_t> windows, ranges;
  for_each_window(count, [&](std::int64_t window) {
    const tokens::Range own = rows_of(window, count);
    windows.push_back(window);
    ranges.insert(ranges.end(), {own.first, own.last});
  });
  if (windows.empty()) return;
  const at::Tensor ids = at::from_blob(const_cast<std::uint8_t*>(tokens.data()), {count}, at::kByte);
  const at::Tensor sums = ops::window_sums(
      hidden, ops::to_device(ids, hidden.device()),
      at::from_blob(ranges.data(), {static_cast<std::int64_t>(windows.size()), 2}, at::kLong), ambiguous_);
  const double* row = sums.const_data_ptr<double>();
  for (std::size_t w = 0; w < windows.size(); ++w, row += width_) {
    Open& open = open_window(windows[w]);
    const std::span<const std::uint8_t> own = tokens.subspan(ranges[2 * w], ranges[2 * w + 1] - ranges[2 * w]);
    open.count += static_cast<std::int64_t>(own.size()) - std::count(own.begin(), own.end(), ambiguous_);
    for (std::int64_t d = 0; d < width_; ++d) open.values[d] += row[d];
    finish_if_read(windows[w], ranges[2 * w + 1], sink);
  }
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
