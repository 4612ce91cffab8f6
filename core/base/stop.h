// Ctrl-C and SIGTERM as a flag that long loops look at between two steps.
#pragma once

namespace dnamamba::base {

/// Makes SIGINT and SIGTERM set the flag. A second signal ends the process at once.
void install_stop_signals();

/// The signal that asked the process to stop, or 0.
int stop_requested() noexcept;

/// @throws Interrupted if a stop was requested.
void throw_if_stopped();

}  // namespace dnamamba::base
