#include "apps/exit_status.h"

#include <algorithm>
#include <cctype>
#include <new>
#include <string_view>

#include "core/base/error.h"

namespace dnamamba::apps {
namespace {

// LibTorch's errors go on with a stack trace.
std::string first_line(const std::string& text) {
  return text.substr(0, text.find('\n'));
}

bool says_out_of_memory(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(), [](unsigned char c) { return std::tolower(c); });
  for (const std::string_view phrase :
       {"out of memory", "can't allocate memory", "cannot allocate memory", "not enough memory", "outofmemoryerror"})
    if (text.find(phrase) != std::string::npos) return true;
  return false;
}

}  // namespace

Ending ending_of(const std::exception& error, const std::string& command) {
  const std::string program = command.empty() ? "dnamamba" : "dnamamba " + command;
  if (dynamic_cast<const base::UsageError*>(&error) != nullptr)
    return {kWrongUsage, base::concat(program, ": ", error.what(), " (try '", program, " --help')")};
  if (dynamic_cast<const std::bad_alloc*>(&error) != nullptr) return {kOutOfMemory, program + ": out of memory"};
  const ExitStatus status = says_out_of_memory(error.what()) ? kOutOfMemory : kFailed;
  return {status, base::concat(program, ": ", first_line(error.what()))};
}

}  // namespace dnamamba::apps
