// Where the windows of a record lie, without making a list of them.
#pragma once
#include <cstdint>

namespace dnamamba::tokens {

/// Half-open, 0-based: of positions, or of windows.
struct Range {
  std::int64_t first = 0;
  std::int64_t last = 0;
  [[nodiscard]] std::int64_t size() const { return last - first; }
  bool operator==(const Range&) const = default;
};

/// Windows start at 0, stride, 2·stride … The last one is the first that reaches the end of the record, where it is cut
/// off. Where the stride is larger than the window, bases between windows are in none, and no window is empty. Every
/// answer takes constant time.
///
/// Window i is the same in every longer record, but for the cut at the end, so a record whose length is not known yet
/// can be followed with a plan of kEndless and finished with one of its length.
class WindowPlan {
 public:
  static constexpr std::int64_t kEndless = std::int64_t{1} << 62;  ///< the longest record
  static constexpr std::int64_t kLongRecord = 10'000;  ///< bases; the longest record that standard() gives one window
  static constexpr std::int64_t kStandardWindow = 1'000;  ///< bases

  /// @throws std::invalid_argument unless 0 ≤ length ≤ kEndless and window, stride ≥ 1.
  WindowPlan(std::int64_t length, std::int64_t window, std::int64_t stride);

  /// One window over all of it; none over nothing.
  static WindowPlan whole(std::int64_t length);
  /// What `embed` does unless told otherwise: one row for records up to kLongRecord, else windows of kStandardWindow
  /// end to end.
  static WindowPlan standard(std::int64_t length);

  [[nodiscard]] std::int64_t length() const { return length_; }
  [[nodiscard]] std::int64_t window_length() const { return window_; }
  [[nodiscard]] std::int64_t stride() const { return stride_; }

  /// Number of windows.
  [[nodiscard]] std::int64_t count() const { return count_; }
  /// The positions of window i, 0 ≤ i < count(); never empty.
  [[nodiscard]] Range window(std::int64_t i) const;
  /// The windows that hold at least one of the positions (those outside the record count for nothing); empty if none
  /// does.
  [[nodiscard]] Range touching(Range positions) const;

 private:
  std::int64_t length_;
  std::int64_t window_;
  std::int64_t stride_;
  std::int64_t count_;
};

}  // namespace dnamamba::tokens
