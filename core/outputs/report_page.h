// A page of HTML with charts that needs nothing but a browser: its style, scripts, chart library and data are in the
// one file. This is what reports share; each brings its own sections (`report/*.html`) and what fills them
// (`report/*.js`).
#pragma once
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/files/atomic_file.h"
#include "core/outputs/even_sample.h"

namespace dnamamba::outputs {

/// What a run says of itself.
struct ReportRun {
  std::string title;
  std::string program;  ///< "dnamamba 0.1.0"
  std::string command;  ///< as it was typed
  std::vector<std::string> inputs;
  std::vector<std::pair<std::string, std::string>> settings;  ///< name and value, for people
};

/// How much was done by when. Constant memory.
class ThroughputTrace {
 public:
  void add(double seconds, std::int64_t done);
  /// JSON: {"seconds": […], "done": […]}, both rising, the end of the run last.
  [[nodiscard]] std::string to_json() const;

 private:
  struct Point {
    double seconds;
    std::int64_t done;
  };
  EvenSample<Point> points_{512};
  Point last_{};
};

/// Written front to back: begin(), the data, end(). Nothing appears under the file's name before commit(). Every call
/// may throw base::IoError.
class ReportPage {
 public:
  /// @throws base::IoError if the file exists and `force` is false, or its folder is missing.
  ReportPage(std::filesystem::path path, bool force);

  /// The page up to its data. `sections`: HTML, trusted.
  void begin(const ReportRun& run, std::string_view sections);
  /// JSON that the page's scripts find as json(id); any text may be in its strings.
  void add_json(std::string_view id, std::string_view json);
  /// Numbers that they find as column(id), a typed array.
  void add_column(std::string_view id, std::span<const std::uint16_t> values);
  /// Non-negative; 32 bits wide where they fit.
  void add_column(std::string_view id, std::span<const std::int64_t> values);
  /// Names that they find as names(id), in the order given; those over kLongestName bytes are cut.
  void begin_names(std::string_view id);
  void add_name(const std::string& name);
  void end_names();
  /// The rest of the page; `script` fills the sections. Then it is whole, but for its name.
  void end(std::string_view script);

  void commit() { file_.commit(); }

  static constexpr std::int64_t kLongestName = 120;  ///< bytes

 private:
  void put_text(std::string_view json);
  void put_base64(std::string_view id, std::string_view type, std::span<const std::byte> bytes);

  files::AtomicFile file_;
  std::string_view rest_;      // of the frame, not written yet
  bool names_follow_ = false;  // a name was written in the list that is open
};

}  // namespace dnamamba::outputs
