// One number a base to a file: surprise, probability, or whatever else there is one of for each position of a record.
//
//   .bw, .bigWig               indexed, with zoom levels: for genome browsers and pyBigWig
//   .bedGraph, .bedGraph.gz    a line for each run of bases of one value: record, start, end, value
//   .tsv, .tsv.gz              means: a line for each record, or each window of it; also on standard output ("-")
#pragma once
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>

namespace dnamamba::outputs {

enum class TrackFormat { kBigWig, kBedGraph, kBedGraphGz, kTsv, kTsvGz };

/// By the suffix, in either case; "-" is kTsv. @throws base::UsageError naming the known ones.
TrackFormat track_format_of(const std::filesystem::path& path);

/// Whether every base keeps its value, and its position in the record.
constexpr bool has_each_base(TrackFormat format) {
  return format != TrackFormat::kTsv && format != TrackFormat::kTsvGz;
}

struct TrackWriterOptions {
  bool force = false;             ///< Replace an existing file.
  std::int64_t window = 0;        ///< Bases a line of .tsv stands for; 0: the record.
  std::string quantity = "mean";  ///< What the column of means in .tsv is called.
};

/// Records one after the other, each from its first base to its last, in memory that does not depend on their length.
/// Nothing appears under the file's name before close(). One thread at a time.
class TrackWriter {
 public:
  TrackWriter() = default;
  virtual ~TrackWriter() = default;
  TrackWriter(const TrackWriter&) = delete;
  TrackWriter& operator=(const TrackWriter&) = delete;

  /// The record before has had all its values. @throws base::Error naming a record that the format can't take.
  virtual void begin_record(std::string_view name, std::int64_t length) = 0;
  /// Values of the record's next bases; NaN: there is none. @throws base::IoError, e.g. on a full disk.
  virtual void append(std::span<const float> values) = 0;
  /// Makes the file whole and gives it its name. @throws base::IoError: then nothing was left under that name.
  virtual void close() = 0;
};

/// @throws base::UsageError for an unknown suffix; base::IoError if a file exists without `force`, or its folder is
/// missing.
std::unique_ptr<TrackWriter> open_track_writer(const std::filesystem::path& path, const TrackWriterOptions& options);

}  // namespace dnamamba::outputs
