// At most so many of a stream's elements, evenly spread over all of it, whatever its length.
#pragma once
#include <cstdint>
#include <functional>
#include <utility>
#include <vector>

namespace dnamamba::outputs {

/// Keeps every element, then every second, every fourth … as more come: between half of `most` and `most` of them, and
/// always the first. Which ones are kept depends on how many there were, and on nothing else.
template <typename T>
class EvenSample {
 public:
  /// `most` is even and at least 2. `moved(from, to)`, from > to, follows elements that change places among those kept.
  explicit EvenSample(std::int64_t most, std::function<void(std::int64_t from, std::int64_t to)> moved = {})
      : most_(most), moved_(std::move(moved)) {}

  /// True if the element was kept, as the last of kept().
  bool add(T element) {
    if (seen_++ % step_ != 0) return false;
    if (static_cast<std::int64_t>(kept_.size()) == most_) {
      thin();
      if ((seen_ - 1) % step_ != 0) return false;
    }
    kept_.push_back(std::move(element));
    return true;
  }

  [[nodiscard]] const std::vector<T>& kept() const { return kept_; }
  /// One of so many is kept.
  [[nodiscard]] std::int64_t step() const { return step_; }
  [[nodiscard]] std::int64_t seen() const { return seen_; }

 private:
  void thin() {
    for (std::int64_t to = 1; to < most_ / 2; ++to) {
      kept_[to] = std::move(kept_[2 * to]);
      if (moved_) moved_(2 * to, to);
    }
    kept_.resize(most_ / 2);
    step_ *= 2;
  }

  std::int64_t most_;
  std::function<void(std::int64_t, std::int64_t)> moved_;
  std::vector<T> kept_;
  std::int64_t step_ = 1;
  std::int64_t seen_ = 0;
};

}  // namespace dnamamba::outputs
