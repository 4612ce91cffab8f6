#include "core/outputs/embedding_report.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <span>

namespace dnamamba::outputs {

namespace texts {  // the files of report/
extern const std::string_view kEmbeddingHtml, kEmbeddingScript;
}  // namespace texts

namespace {

using nlohmann::json;

constexpr std::uint16_t kNoFraction = 65'535;  // of nothing; the page knows these two
constexpr double kOne = 65'534;

std::uint16_t fraction(std::int64_t part, std::int64_t whole) {
  if (whole == 0) return kNoFraction;
  return static_cast<std::uint16_t>(std::lround(kOne * static_cast<double>(part) / static_cast<double>(whole)));
}

// Places along an axis as steps of 1/65,534 of its range: finer than a screen shows at the largest zoom.
struct Axis {
  double least = 0;
  double most = 0;
  std::vector<std::uint16_t> places;

  Axis(const std::vector<MapPoint>& points, double MapPoint::*coordinate) {
    if (points.empty()) return;
    const auto less = [&](const MapPoint& a, const MapPoint& b) { return a.*coordinate < b.*coordinate; };
    const auto [first, last] = std::minmax_element(points.begin(), points.end(), less);
    least = (*first).*coordinate;
    most = (*last).*coordinate;
    const double range = most > least ? most - least : 1;
    for (const MapPoint& point : points)
      places.push_back(static_cast<std::uint16_t>(std::lround(kOne * (point.*coordinate - least) / range)));
  }
};

}  // namespace

std::int64_t EmbeddingReport::add_record(std::string_view name, std::int64_t length, const tokens::BaseCounts& counts,
                                         std::int64_t windows) {
  const RecordCounts kept{counts, windows};
  counts_.append(std::as_bytes(std::span(&kept, 1)));
  bases_ += length;
  all_ += counts;
  return table_.add(name, length);
}

void EmbeddingReport::add_window(std::int64_t length, const tokens::BaseCounts& counts, bool has_vector) {
  ++windows_;
  if (!has_vector) ++without_vector_;
  gc_.add(counts.gc, counts.known);
  if (counts.known < length) {
    ++windows_with_n_;
    n_.add(length - counts.known, length);
  }
}

void EmbeddingReport::write(const ReportRun& run, const ThroughputTrace& throughput, const WindowMap& map) {
  const std::vector<std::int64_t> records = listed(map);
  page_.begin(run, texts::kEmbeddingHtml);
  page_.add_json("summary", summary(map, static_cast<std::int64_t>(records.size())));
  page_.add_json("throughput", throughput.to_json());
  put_records(records);
  put_windows(map, records);
  page_.end(texts::kEmbeddingScript);
}

std::vector<std::int64_t> EmbeddingReport::listed(const WindowMap& map) const {
  std::vector<std::int64_t> records;
  if (table_.count() <= kMostRecords) {
    for (std::int64_t record = 0; record < table_.count(); ++record) records.push_back(record);
    return records;
  }
  for (const MapPoint& point : map.points)
    if (records.empty() || records.back() != point.record) records.push_back(point.record);
  return records;
}

std::string EmbeddingReport::summary(const WindowMap& map, std::int64_t listed) const {
  const LengthHistogram lengths = LengthHistogram::of(table_.lengths());
  return json{{"records", table_.count()},
              {"records_listed", listed},
              {"bases", bases_},
              {"known", all_.known},
              {"gc", all_.gc},
              {"windows", windows_},
              {"windows_without_vector", without_vector_},
              {"windows_with_n", windows_with_n_},
              {"windows_drawn", map.points.size()},
              {"step", map.step},
              {"shares", map.shares},
              {"gc_counts", gc_.counts},
              {"n_counts", n_.counts},
              {"lengths",
               {{"equal_ratio", lengths.equal_ratio},
                {"edges", lengths.edges},
                {"counts", lengths.counts},
                {"zeros", lengths.zeros}}}}
      .dump();
}

void EmbeddingReport::put_records(const std::vector<std::int64_t>& listed) {
  std::vector<std::int64_t> lengths, windows;
  std::vector<std::uint16_t> gc, n;
  page_.begin_names("record_names");
  for (const std::int64_t record : listed) {
    RecordCounts counts;
    counts_.read_at(record * static_cast<std::int64_t>(sizeof counts), std::as_writable_bytes(std::span(&counts, 1)));
    page_.add_name(table_.name(record));
    lengths.push_back(table_.length(record));
    windows.push_back(counts.windows);
    gc.push_back(fraction(counts.bases.gc, counts.bases.known));
    n.push_back(fraction(lengths.back() - counts.bases.known, lengths.back()));
  }
  page_.end_names();
  page_.add_column("record_index", std::span<const std::int64_t>(listed));
  page_.add_column("record_length", std::span<const std::int64_t>(lengths));
  page_.add_column("record_windows", std::span<const std::int64_t>(windows));
  page_.add_column("record_gc", std::span<const std::uint16_t>(gc));
  page_.add_column("record_n", std::span<const std::uint16_t>(n));
}

void EmbeddingReport::put_windows(const WindowMap& map, const std::vector<std::int64_t>& listed) {
  std::vector<std::int64_t> records, starts, lengths;
  std::vector<std::uint16_t> gc, n;
  auto place = listed.begin();  // both rise
  for (const MapPoint& point : map.points) {
    place = std::lower_bound(place, listed.end(), point.record);
    records.push_back(place - listed.begin());
    starts.push_back(point.start);
    lengths.push_back(point.end - point.start);
    gc.push_back(fraction(point.counts.gc, point.counts.known));
    n.push_back(fraction(lengths.back() - point.counts.known, lengths.back()));
  }
  page_.add_column("window_record", std::span<const std::int64_t>(records));
  page_.add_column("window_start", std::span<const std::int64_t>(starts));
  page_.add_column("window_length", std::span<const std::int64_t>(lengths));
  page_.add_column("window_gc", std::span<const std::uint16_t>(gc));
  page_.add_column("window_n", std::span<const std::uint16_t>(n));
  const Axis x(map.points, &MapPoint::x), y(map.points, &MapPoint::y);
  page_.add_column("window_x", std::span<const std::uint16_t>(x.places));
  page_.add_column("window_y", std::span<const std::uint16_t>(y.places));
  page_.add_json("axes", json{{"x", {x.least, x.most}}, {"y", {y.least, y.most}}}.dump());
}

}  // namespace dnamamba::outputs
