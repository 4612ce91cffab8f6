// What a report says of the run that made it.
#pragma once
#include <string>

#include "apps/cli.h"

namespace dnamamba::apps {

/// `dnamamba COMMAND ARGUMENTS`, quoted as a POSIX shell takes it again.
std::string typed(const std::string& command, const Arguments& arguments);

/// "2026-11-22 14:05 UTC".
std::string now();

}  // namespace dnamamba::apps
