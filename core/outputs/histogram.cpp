#include "core/outputs/histogram.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

namespace dnamamba::outputs {
namespace {

constexpr std::int64_t kLargestRatio = 50;  // of two lengths that bins of equal width still show
constexpr std::int64_t kMostBins = 40;      // of equal width
constexpr int kBinsPerDecade = 8;           // of equal ratio

template <typename Take>
void for_each_length(const files::Spool& lengths, Take&& take) {
  lengths.read_all([&](std::span<const std::byte> piece) {
    for (std::size_t at = 0; at + 8 <= piece.size(); at += 8) {
      std::int64_t length = 0;
      std::memcpy(&length, piece.data() + at, 8);
      take(length);
    }
  });
}

// 1, 2, 5, 10, 20 … : the least with which kMostBins reach over `range`.
std::int64_t round_width(std::int64_t range) {
  std::int64_t power = 1;
  while (true) {
    for (const std::int64_t width : {power, 2 * power, 5 * power})
      if (range / width < kMostBins) return width;
    power *= 10;
  }
}

std::vector<std::int64_t> equal_widths(std::int64_t least, std::int64_t most) {
  const std::int64_t width = round_width(most - least);
  std::vector<std::int64_t> edges{least / width * width};
  while (edges.back() <= most) edges.push_back(edges.back() + width);
  return edges;
}

std::vector<std::int64_t> equal_ratios(std::int64_t least, std::int64_t most) {
  const auto edge = [](int step) { return std::llround(std::pow(10.0, static_cast<double>(step) / kBinsPerDecade)); };
  int step = 0;
  while (edge(step + 1) <= least) ++step;
  std::vector<std::int64_t> edges{edge(step)};
  while (edges.back() <= most)
    if (const std::int64_t next = edge(++step); next > edges.back()) edges.push_back(next);
  return edges;
}

}  // namespace

void FractionHistogram::add(std::int64_t part, std::int64_t whole) {
  if (whole == 0) return;
  const double fraction = static_cast<double>(part) / static_cast<double>(whole);
  ++counts[std::min(kBins - 1, static_cast<std::int64_t>(fraction * kBins))];
}

LengthHistogram LengthHistogram::of(const files::Spool& lengths) {
  LengthHistogram histogram;
  std::int64_t least = std::numeric_limits<std::int64_t>::max(), most = 0;
  for_each_length(lengths, [&](std::int64_t length) {
    if (length == 0) {
      ++histogram.zeros;
      return;
    }
    least = std::min(least, length);
    most = std::max(most, length);
  });
  if (most == 0) return histogram;
  histogram.equal_ratio = most / least > kLargestRatio;
  histogram.edges = histogram.equal_ratio ? equal_ratios(least, most) : equal_widths(least, most);
  histogram.counts.resize(histogram.edges.size() - 1);
  for_each_length(lengths, [&](std::int64_t length) {
    if (length == 0) return;
    const auto after = std::upper_bound(histogram.edges.begin(), histogram.edges.end(), length);
    ++histogram.counts[after - histogram.edges.begin() - 1];
  });
  return histogram;
}

}  // namespace dnamamba::outputs
