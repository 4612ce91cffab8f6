#include "core/tokens/windows.h"

#include <algorithm>
#include <stdexcept>

#include "core/base/error.h"

namespace dnamamba::tokens {
namespace {

// value ≥ 0, divisor ≥ 1; no sum that could overflow.
std::int64_t divided_up(std::int64_t value, std::int64_t divisor) {
  return value / divisor + (value % divisor != 0 ? 1 : 0);
}

std::int64_t count_windows(std::int64_t length, std::int64_t window, std::int64_t stride) {
  const std::int64_t starts = divided_up(length, stride);  // those inside the record
  if (length <= window) return std::min<std::int64_t>(starts, 1);
  return std::min(starts, divided_up(length - window, stride) + 1);
}

}  // namespace

WindowPlan::WindowPlan(std::int64_t length, std::int64_t window, std::int64_t stride)
    : length_(length), window_(window), stride_(stride) {
  if (length < 0 || length > kEndless || window < 1 || stride < 1)
    throw std::invalid_argument(base::concat("WindowPlan: length ", length, ", window ", window, ", stride ", stride));
  count_ = count_windows(length, window, stride);
}

WindowPlan WindowPlan::whole(std::int64_t length) {
  const std::int64_t all = std::max<std::int64_t>(length, 1);
  return {length, all, all};
}

WindowPlan WindowPlan::standard(std::int64_t length) {
  return length > kLongRecord ? WindowPlan(length, kStandardWindow, kStandardWindow) : whole(length);
}

Range WindowPlan::window(std::int64_t i) const {
  const std::int64_t start = i * stride_;  // below length_, so it can't overflow
  return {start, window_ >= length_ - start ? length_ : start + window_};
}

Range WindowPlan::touching(Range positions) const {
  const std::int64_t first_position = std::max<std::int64_t>(positions.first, 0);
  const std::int64_t last_position = std::min(positions.last, length_);
  if (first_position >= last_position) return {};
  const std::int64_t last = std::min(divided_up(last_position, stride_), count_);
  const std::int64_t first = first_position < window_ ? 0 : (first_position - window_) / stride_ + 1;
  return first < last ? Range{first, last} : Range{};
}

}  // namespace dnamamba::tokens
