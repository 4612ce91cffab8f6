// Mean and covariance of rows in one pass over them, in the memory of one matrix, in double.
#pragma once
#include <cstdint>
#include <span>
#include <vector>

namespace dnamamba::outputs {

/// Sums are taken in the order of the rows by one thread: the same rows give the same bits.
class Covariance {
 public:
  explicit Covariance(std::int64_t width);

  /// A row, [width], of finite values.
  void add(std::span<const float> row);

  [[nodiscard]] std::int64_t width() const { return width_; }
  [[nodiscard]] std::int64_t rows() const { return rows_ + waiting(); }
  /// [width]; zeros without rows.
  [[nodiscard]] const std::vector<double>& mean();
  /// [width, width], symmetric: Σ (row − mean)(row − mean)ᵀ / rows; zeros without rows.
  [[nodiscard]] std::vector<double> matrix();

 private:
  [[nodiscard]] std::int64_t waiting() const { return static_cast<std::int64_t>(batch_.size()) / width_; }
  void take_batch();

  std::int64_t width_;
  std::int64_t rows_ = 0;        // in mean_ and scatter_
  std::vector<double> mean_;     // [width]
  std::vector<double> scatter_;  // [width, width], Σ (row − mean)(row − mean)ᵀ, on and above the diagonal
  std::vector<double> batch_;    // [waiting, width]
};

}  // namespace dnamamba::outputs
