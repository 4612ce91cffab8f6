// One number a base as text: each of them as bedGraph, or the means of windows as a table.
#pragma once
#include <cstdint>
#include <string>

#include "core/outputs/text_output.h"
#include "core/outputs/track_writer.h"

namespace dnamamba::outputs {

/// A line for each run of bases with one value: record, start, end (0-based, end exclusive), value.
class BedGraphWriter : public TrackWriter {
 public:
  BedGraphWriter(const std::filesystem::path& path, bool force, Compression compression)
      : file_(path, force, compression) {}

  void begin_record(std::string_view name, std::int64_t length) override;
  void append(std::span<const float> values) override;
  void close() override;

 private:
  void end_run();

  TextOutput file_;
  std::string record_;
  std::int64_t position_ = 0;  // bases of the record so far
  std::int64_t start_ = 0;     // of the run of `value_` before position_
  float value_ = 0;
  std::string line_;
};

/// A line for each window of a record: record, start, end, how many of its bases have a value, their mean.
class WindowMeans : public TrackWriter {
 public:
  /// A window of 0 is the record, which is then a line also if it is empty.
  WindowMeans(const std::filesystem::path& path, Compression compression, const TrackWriterOptions& options);

  void begin_record(std::string_view name, std::int64_t length) override;
  void append(std::span<const float> values) override;
  void close() override;

 private:
  void end_window();
  void end_record();

  TextOutput file_;
  std::int64_t window_;
  bool any_record_ = false;
  std::string record_;
  std::int64_t position_ = 0;  // bases of the record so far
  std::int64_t start_ = 0;     // of the window
  std::int64_t count_ = 0;     // values in it
  double sum_ = 0;             // of them
  std::string line_;
};

}  // namespace dnamamba::outputs
