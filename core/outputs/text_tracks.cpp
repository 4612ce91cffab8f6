#include "core/outputs/text_tracks.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/base/error.h"

namespace dnamamba::outputs {
namespace {

// What a table's column can hold.
void require_printable(std::string_view name) {
  if (std::any_of(name.begin(), name.end(), [](unsigned char c) { return c < 0x20 || c == 0x7f; }))
    throw base::Error(base::concat("record ", name.substr(0, 20), ": its name holds control characters"));
}

void put_place(const std::string& record, std::int64_t start, std::int64_t end, std::string& line) {
  line = record;
  line += '\t';
  line += std::to_string(start);
  line += '\t';
  line += std::to_string(end);
  line += '\t';
}

}  // namespace

void BedGraphWriter::begin_record(std::string_view name, std::int64_t /*length*/) {
  end_run();
  require_printable(name);
  record_ = name;
  position_ = 0;
  start_ = 0;
}

void BedGraphWriter::append(std::span<const float> values) {
  for (const float value : values) {
    if (value != value_) end_run();  // also where either is NaN
    value_ = value;
    ++position_;
  }
}

void BedGraphWriter::end_run() {
  if (position_ > start_ && !std::isnan(value_)) {
    put_place(record_, start_, position_, line_);
    put_number(value_, line_);
    line_ += '\n';
    file_.append(line_);
  }
  start_ = position_;
}

void BedGraphWriter::close() {
  end_run();
  file_.commit();
}

WindowMeans::WindowMeans(const std::filesystem::path& path, Compression compression, const TrackWriterOptions& options)
    : file_(path, options.force, compression), window_(options.window) {
  file_.append(base::concat("#record\tstart\tend\tscored\t", options.quantity, "\n"));
}

void WindowMeans::begin_record(std::string_view name, std::int64_t /*length*/) {
  end_record();
  require_printable(name);
  any_record_ = true;
  record_ = name;
  position_ = 0;
  start_ = 0;
}

void WindowMeans::append(std::span<const float> values) {
  for (const float value : values) {
    if (window_ > 0 && position_ - start_ == window_) end_window();
    if (!std::isnan(value)) {
      ++count_;
      sum_ += value;
    }
    ++position_;
  }
}

void WindowMeans::end_window() {
  put_place(record_, start_, position_, line_);
  line_ += std::to_string(count_);
  line_ += '\t';
  put_number(
      count_ > 0 ? static_cast<float>(sum_ / static_cast<double>(count_)) : std::numeric_limits<float>::quiet_NaN(),
      line_);
  line_ += '\n';
  file_.append(line_);
  start_ = position_;
  count_ = 0;
  sum_ = 0;
}

void WindowMeans::end_record() {
  if (any_record_ && (position_ > start_ || window_ == 0)) end_window();
}

void WindowMeans::close() {
  end_record();
  file_.commit();
}

}  // namespace dnamamba::outputs
