#include "core/engine/embed_map.h"

#include <algorithm>
#include <cmath>

#include "core/engine/principal_axes.h"

namespace dnamamba::engine {
namespace {

constexpr std::int64_t kPiece = 1 << 20;  // tokens counted at a time

}  // namespace

EmbedMap::EmbedMap(outputs::EmbeddingReport& report, std::int64_t width, const tokens::Alphabet& alphabet,
                   std::int64_t most_points)
    : report_(report),
      counter_(alphabet),
      covariance_(width),
      points_(most_points, [this](std::int64_t from, std::int64_t to) { move_row(from, to); }),
      moved_(width) {}

void EmbedMap::add_record(const EmbedRecord& record) {
  const std::int64_t length = record.tokens().length;
  record_ = report_.add_record(record.tokens().name, length, count(record, {0, length}), record.windows().count());
}

void EmbedMap::add_row(const EmbedRecord& record, std::int64_t row, std::span<const float> values) {
  const tokens::Range place = record.windows().window(row);
  const tokens::BaseCounts counts = count(record, place);
  const bool finite = std::all_of(values.begin(), values.end(), [](float value) { return std::isfinite(value); });
  report_.add_window(place.size(), counts, finite);
  if (!finite) return;
  covariance_.add(values);
  if (points_.add({.record = record_, .start = place.first, .end = place.last, .counts = counts}))
    keep_row(static_cast<std::int64_t>(points_.kept().size()) - 1, values);
}

outputs::WindowMap EmbedMap::finish() {
  const PrincipalAxes found = principal_axes(covariance_, 2);
  const std::vector<double>& mean = covariance_.mean();
  outputs::WindowMap map{.points = points_.kept(), .step = points_.step()};
  std::vector<float> values(mean.size());
  const auto along = [&](std::size_t axis) {
    double sum = 0;
    if (axis < found.axes.size())
      for (std::size_t i = 0; i < mean.size(); ++i) sum += (values[i] - mean[i]) * found.axes[axis][i];
    return sum;
  };
  for (std::size_t i = 0; i < map.points.size(); ++i) {
    rows_.read_at(static_cast<std::int64_t>(i) * row_bytes(), std::as_writable_bytes(std::span(values)));
    map.points[i].x = along(0);
    map.points[i].y = along(1);
  }
  std::copy(found.shares.begin(), found.shares.end(), map.shares.begin());
  return map;
}

tokens::BaseCounts EmbedMap::count(const EmbedRecord& record, tokens::Range place) {
  tokens::BaseCounts counts;
  for (std::int64_t at = place.first; at < place.last; at += kPiece) {
    tokens_.resize(std::min(kPiece, place.last - at));
    record.tokens().tokens.read_at(at, std::as_writable_bytes(std::span(tokens_)));
    counts += counter_.count(tokens_);
  }
  return counts;
}

std::int64_t EmbedMap::row_bytes() const {
  return covariance_.width() * static_cast<std::int64_t>(sizeof(float));
}

void EmbedMap::move_row(std::int64_t from, std::int64_t to) {
  rows_.read_at(from * row_bytes(), std::as_writable_bytes(std::span(moved_)));
  keep_row(to, moved_);
}

// Places behind the last are those left over from before the sample was thinned, or the end.
void EmbedMap::keep_row(std::int64_t place, std::span<const float> values) {
  if (place * row_bytes() < rows_.size()) {
    rows_.write_at(place * row_bytes(), std::as_bytes(values));
  } else {
    rows_.append(std::as_bytes(values));
  }
}

}  // namespace dnamamba::engine
