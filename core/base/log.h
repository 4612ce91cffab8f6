// Log lines on stderr, as text or as one JSON object a line. stdout is for data.
#pragma once
#include <string>

namespace dnamamba::base {

enum class LogLevel { kDebug, kInfo, kWarning, kError, kOff };
enum class LogFormat { kText, kJson };

/// Sets what is shown and how; the default is info and above, as text. Call before other threads log.
void configure_log(LogLevel level, LogFormat format);
LogFormat log_format();
LogLevel log_level();

/// One line each; newlines in `text` become blanks. Any thread.
void log_debug(const std::string& text);
void log_info(const std::string& text);
void log_warning(const std::string& text);
void log_error(const std::string& text);

}  // namespace dnamamba::base
