#include "apps/progress.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <iostream>
#include <utility>

#include "core/base/error.h"
#include "core/base/log.h"

namespace dnamamba::apps {
namespace {

using base::concat;
using Style = ProgressSettings::Style;

constexpr auto kRedrawInterval = std::chrono::milliseconds(200);
constexpr const char* kClearLine = "\r\033[K";

int terminal_columns() {
  winsize size{};
  return ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 20 ? size.ws_col : 80;
}

std::string with_digits(double value, int digits) {
  char text[64];
  std::snprintf(text, sizeof text, "%.*f", digits, value);
  return text;
}

// Labels and units are the program's own words; quotes and backslashes are all that could be wrong in them.
std::string quoted(const std::string& text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    out += c;
  }
  return out + '"';
}

std::optional<double> seconds_left(double seconds, std::optional<double> fraction) {
  if (!fraction || *fraction <= 0) return std::nullopt;
  return seconds * (1 - *fraction) / *fraction;
}

}  // namespace

std::string quantity(double value, const std::string& unit) {
  static constexpr const char* kPrefixes[] = {"", "k ", "M ", "G ", "T "};
  int power = 0;
  while (power < 4 && value >= 999.5) {
    value /= 1000;
    ++power;
  }
  const int digits = power == 0      ? (value < 10 && value != std::floor(value) ? 1 : 0)
                     : value < 9.995 ? 2
                     : value < 99.95 ? 1
                                     : 0;
  return concat(with_digits(value, digits), " ", kPrefixes[power], unit);
}

std::string duration(double seconds) {
  if (seconds < 9.95) return with_digits(seconds, 1) + " s";
  if (seconds > 1e9) return "ever";
  const auto whole = static_cast<std::int64_t>(std::llround(seconds));
  if (whole < 60) return concat(whole, " s");
  if (whole < 3600) return concat(whole / 60, " min ", whole % 60, " s");
  return concat(whole / 3600, " h ", whole % 3600 / 60, " min");
}

ProgressSettings ProgressSettings::of_process() {
  ProgressSettings settings;
  settings.out = &std::cerr;
  const bool shown = base::log_level() == base::LogLevel::kInfo || base::log_level() == base::LogLevel::kDebug;
  if (!shown) return settings;
  if (base::log_format() == base::LogFormat::kJson) {
    settings.style = Style::kJson;
  } else if (isatty(STDERR_FILENO) != 0) {
    settings.style = Style::kRedrawn;
    settings.columns = terminal_columns();
    settings.interval = kRedrawInterval;
  } else {
    settings.style = Style::kLines;
  }
  return settings;
}

Progress::Progress(std::string label, std::string unit, std::optional<std::int64_t> total, ProgressSettings settings)
    : label_(std::move(label)),
      unit_(std::move(unit)),
      total_(total),
      settings_(std::move(settings)),
      start_(settings_.now()),
      last_shown_(start_) {}

Progress::~Progress() {
  if (line_is_open_) *settings_.out << kClearLine << std::flush;
}

double Progress::seconds_since_start() const {
  return std::chrono::duration<double>(settings_.now() - start_).count();
}

void Progress::update(std::int64_t done, std::optional<double> fraction) {
  done_ = done;
  if (settings_.style == Style::kSilent || finished_) return;
  const auto now = settings_.now();
  if (now - last_shown_ < settings_.interval) return;
  last_shown_ = now;
  if (!fraction && total_ && *total_ > 0) fraction = static_cast<double>(done) / static_cast<double>(*total_);
  if (fraction) fraction = std::clamp(*fraction, 0.0, 1.0);
  show(seconds_since_start(), fraction);
}

void Progress::show(double seconds, std::optional<double> fraction) {
  const double rate = seconds > 0 ? static_cast<double>(done_) / seconds : 0;
  const std::optional<double> left = seconds_left(seconds, fraction);
  std::ostream& out = *settings_.out;
  if (settings_.style == Style::kJson) {
    out << concat("{\"progress\":", quoted(label_), ",\"done\":", done_, ",\"unit\":", quoted(unit_),
                  ",\"per_second\":", with_digits(rate, 3), ",\"seconds\":", with_digits(seconds, 3),
                  fraction ? ",\"fraction\":" + with_digits(*fraction, 4) : "",
                  left ? ",\"seconds_left\":" + with_digits(*left, 1) : "",
                  note_.empty() ? "" : ",\"note\":" + quoted(note_), ",\"finished\":", finished_ ? "true" : "false",
                  "}\n")
        << std::flush;
    return;
  }
  std::string line = concat(label_, ": ", quantity(static_cast<double>(done_), unit_));
  if (finished_) line += concat(" in ", duration(seconds));
  line += concat(", ", quantity(rate, unit_), "/s");
  if (fraction && !finished_) line += concat(", ", with_digits(std::floor(100 * *fraction), 0), " %");
  if (left && !finished_) line += concat(", ", duration(*left), " left");
  if (!note_.empty()) line += ", " + note_;
  const bool redrawn = settings_.style == Style::kRedrawn;
  if (redrawn && !finished_ && line.size() >= static_cast<std::size_t>(settings_.columns))
    line.resize(settings_.columns - 1);
  line_is_open_ = redrawn && !finished_;
  out << (redrawn ? kClearLine : "") << line << (line_is_open_ ? "" : "\n") << std::flush;
}

void Progress::finish() {
  if (finished_) return;
  finished_ = true;
  if (settings_.style != Style::kSilent) show(seconds_since_start(), std::nullopt);
}

}  // namespace dnamamba::apps
