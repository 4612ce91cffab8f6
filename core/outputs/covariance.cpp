#include "core/outputs/covariance.h"

namespace dnamamba::outputs {
namespace {

constexpr std::int64_t kBatch = 64;  // rows: each line of the matrix is fetched once for so many

}  // namespace

Covariance::Covariance(std::int64_t width) : width_(width), mean_(width), scatter_(width * width) {
  batch_.reserve(kBatch * width);
}

void Covariance::add(std::span<const float> row) {
  batch_.insert(batch_.end(), row.begin(), row.end());
  if (waiting() == kBatch) take_batch();
}

// The batch's own mean and scatter are joined with those so far: S = S₁ + S₂ + d dᵀ · n₁n₂ / (n₁ + n₂), d = m₂ − m₁
// (Chan, Golub & LeVeque 1983).
void Covariance::take_batch() {
  const std::int64_t count = waiting();
  if (count == 0) return;
  std::vector<double> difference(width_);
  for (std::int64_t i = 0; i < width_; ++i) {
    double sum = 0;
    for (std::int64_t row = 0; row < count; ++row) sum += batch_[row * width_ + i];
    const double mean = sum / static_cast<double>(count);
    for (std::int64_t row = 0; row < count; ++row) batch_[row * width_ + i] -= mean;
    difference[i] = mean - mean_[i];
  }
  const double before = static_cast<double>(rows_), added = static_cast<double>(count), all = before + added;
  for (std::int64_t i = 0; i < width_; ++i) {
    double* const line = &scatter_[i * width_];
    for (std::int64_t row = 0; row < count; ++row) {
      const double* const values = &batch_[row * width_];
      const double value = values[i];
      for (std::int64_t j = i; j < width_; ++j) line[j] += value * values[j];
    }
    const double shift = difference[i] * before * added / all;
    for (std::int64_t j = i; j < width_; ++j) line[j] += shift * difference[j];
    mean_[i] += difference[i] * added / all;
  }
  rows_ += count;
  batch_.clear();
}

const std::vector<double>& Covariance::mean() {
  take_batch();
  return mean_;
}

std::vector<double> Covariance::matrix() {
  take_batch();
  std::vector<double> matrix(width_ * width_);
  if (rows_ == 0) return matrix;
  for (std::int64_t i = 0; i < width_; ++i)
    for (std::int64_t j = i; j < width_; ++j)
      matrix[i * width_ + j] = matrix[j * width_ + i] = scatter_[i * width_ + j] / static_cast<double>(rows_);
  return matrix;
}

}  // namespace dnamamba::outputs
