// How far a command is, on stderr: one line that is redrawn on a terminal, a line a minute elsewhere, nothing with -q.
#pragma once
#include <chrono>
#include <cstdint>
#include <functional>
#include <iosfwd>
#include <optional>
#include <string>
#include <utility>

namespace dnamamba::apps {

/// Where progress goes, and how. The default constructor's is silent.
struct ProgressSettings {
  enum class Style { kSilent, kRedrawn, kLines, kJson };
  Style style = Style::kSilent;
  std::ostream* out = nullptr;
  int columns = 80;                                              ///< of the terminal
  std::chrono::milliseconds interval = std::chrono::minutes(1);  ///< least time between two lines
  std::function<std::chrono::steady_clock::time_point()> now = std::chrono::steady_clock::now;

  /// stderr, as the log's level and format and the kind of stderr ask for; after cli::parse().
  static ProgressSettings of_process();
};

/// A count that grows. One thread at a time.
///
///     Progress progress("embed", "bases", total_if_known);
///     while (…) progress.update(bases_done);
///     progress.finish();
class Progress {
 public:
  Progress(std::string label, std::string unit, std::optional<std::int64_t> total = std::nullopt,
           ProgressSettings settings = ProgressSettings::of_process());
  /// Takes back an unfinished line, so that an error begins a line of its own.
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  /// What every line ends with from now on, such as "1.93 bits per base".
  void note(std::string text) { note_ = std::move(text); }
  /// `done` units so far. `fraction` of the work, 0 … 1, if that is known otherwise than by the total (bytes of the
  /// input read). Cheap: shows something only when it is time to.
  void update(std::int64_t done, std::optional<double> fraction = std::nullopt);
  /// The last line: how much in what time. Later calls do nothing.
  void finish();

 private:
  void show(double seconds, std::optional<double> fraction);
  [[nodiscard]] double seconds_since_start() const;

  const std::string label_;
  const std::string unit_;
  const std::optional<std::int64_t> total_;
  const ProgressSettings settings_;
  const std::chrono::steady_clock::time_point start_;
  std::chrono::steady_clock::time_point last_shown_;
  std::int64_t done_ = 0;
  std::string note_;
  bool line_is_open_ = false;
  bool finished_ = false;
};

/// "999 bases", "12.3 k bases", "1.23 G bases".
std::string quantity(double value, const std::string& unit);
/// "8 s", "2 min 10 s", "3 h 5 min".
std::string duration(double seconds);

}  // namespace dnamamba::apps
