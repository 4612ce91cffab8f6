// How an exception ends the program: the status that scripts and schedulers see, and one line for the user.
#pragma once
#include <exception>
#include <string>

namespace dnamamba::apps {

enum ExitStatus : int { kDone = 0, kFailed = 1, kWrongUsage = 2, kOutOfMemory = 3 };

struct Ending {
  ExitStatus status = kFailed;
  std::string text;  ///< one line
};

/// `command` may be empty. Running out of memory is told by type, or by what allocators and devices say, so that a
/// scheduler can try again with more.
Ending ending_of(const std::exception& error, const std::string& command);

}  // namespace dnamamba::apps
