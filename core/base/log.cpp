#include "core/base/log.h"

#include <spdlog/sinks/stdout_color_sinks.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <memory>

namespace dnamamba::base {
namespace {

LogLevel current_level = LogLevel::kInfo;
LogFormat current_format = LogFormat::kText;

spdlog::level::level_enum to_spdlog(LogLevel level) {
  switch (level) {
    case LogLevel::kDebug:
      return spdlog::level::debug;
    case LogLevel::kInfo:
      return spdlog::level::info;
    case LogLevel::kWarning:
      return spdlog::level::warn;
    case LogLevel::kError:
      return spdlog::level::err;
    case LogLevel::kOff:
      break;
  }
  return spdlog::level::off;
}

spdlog::logger& logger() {
  static const std::shared_ptr<spdlog::logger> instance = [] {
    auto created = spdlog::stderr_color_mt("dnamamba");
    created->set_pattern("[%H:%M:%S] %^%l%$: %v");
    return created;
  }();
  return *instance;
}

std::string json_escaped(const std::string& text) {
  static constexpr char kHex[] = "0123456789abcdef";
  std::string out;
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (static_cast<unsigned char>(c) < 0x20) {
      out += "\\u00";
      out += kHex[static_cast<unsigned char>(c) >> 4];
      out += kHex[c & 15];
    } else {
      out += c;
    }
  }
  return out;
}

void write(LogLevel level, std::string text) {
  std::replace(text.begin(), text.end(), '\n', ' ');
  if (current_format == LogFormat::kJson) text = json_escaped(text);
  logger().log(to_spdlog(level), text);
}

}  // namespace

void configure_log(LogLevel level, LogFormat format) {
  current_level = level;
  current_format = format;
  logger().set_level(to_spdlog(level));
  if (format == LogFormat::kJson)
    logger().set_pattern(R"({"time":"%Y-%m-%dT%H:%M:%S.%e%z","level":"%l","message":"%v"})");
}

LogFormat log_format() {
  return current_format;
}
LogLevel log_level() {
  return current_level;
}
void log_debug(const std::string& text) {
  write(LogLevel::kDebug, text);
}
void log_info(const std::string& text) {
  write(LogLevel::kInfo, text);
}
void log_warning(const std::string& text) {
  write(LogLevel::kWarning, text);
}
void log_error(const std::string& text) {
  write(LogLevel::kError, text);
}

}  // namespace dnamamba::base
