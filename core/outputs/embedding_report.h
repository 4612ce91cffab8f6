// The page that `dnamamba embed --report` writes: a map of the windows, distributions, records, the run.
#pragma once
#include <cstdint>
#include <filesystem>
#include <string_view>
#include <vector>

#include "core/files/spool.h"
#include "core/outputs/histogram.h"
#include "core/outputs/record_table.h"
#include "core/outputs/report_page.h"
#include "core/tokens/base_counts.h"

namespace dnamamba::outputs {

/// A window and its place on the map.
struct MapPoint {
  std::int64_t record = 0;
  std::int64_t start = 0;  ///< bases of the record, 0-based
  std::int64_t end = 0;    ///< exclusive
  tokens::BaseCounts counts;
  double x = 0;  ///< along the first principal component
  double y = 0;  ///< along the second
};

/// The map as it is drawn.
struct WindowMap {
  std::vector<MapPoint> points;      ///< in the order of the input
  std::int64_t step = 1;             ///< one window of so many is drawn
  std::vector<double> shares{0, 0};  ///< of the variance, of each axis
};

/// Told of every record and every window, it takes constant memory. Nothing appears under the file's name before
/// commit(). One thread at a time.
class EmbeddingReport {
 public:
  /// @throws base::IoError if the file exists and `force` is false, or its folder is missing.
  EmbeddingReport(std::filesystem::path path, bool force) : page_(std::move(path), force) {}

  /// The index of the new record. @throws base::Error if the name holds control characters.
  std::int64_t add_record(std::string_view name, std::int64_t length, const tokens::BaseCounts& counts,
                          std::int64_t windows);
  /// A window of `length` bases; `has_vector` is false where it is of N only and so has no place on the map.
  void add_window(std::int64_t length, const tokens::BaseCounts& counts, bool has_vector);

  /// Makes the page whole, but for its name. @throws base::IoError, e.g. on a full disk.
  void write(const ReportRun& run, const ThroughputTrace& throughput, const WindowMap& map);
  void commit() { page_.commit(); }

  /// Records that are listed at most, unless more of them have a window on the map.
  static constexpr std::int64_t kMostRecords = 100'000;

 private:
  struct RecordCounts {
    tokens::BaseCounts bases;
    std::int64_t windows = 0;
  };
  /// Indices of the records that the page names: all, or those on the map.
  [[nodiscard]] std::vector<std::int64_t> listed(const WindowMap& map) const;
  [[nodiscard]] std::string summary(const WindowMap& map, std::int64_t listed) const;
  void put_records(const std::vector<std::int64_t>& listed);
  void put_windows(const WindowMap& map, const std::vector<std::int64_t>& listed);

  ReportPage page_;
  RecordTable table_;
  files::Spool counts_;  // RecordCounts [records]
  std::int64_t bases_ = 0;
  tokens::BaseCounts all_;
  std::int64_t windows_ = 0;
  std::int64_t without_vector_ = 0;
  std::int64_t windows_with_n_ = 0;
  FractionHistogram gc_;
  FractionHistogram n_;  // windows with N only
};

}  // namespace dnamamba::outputs
