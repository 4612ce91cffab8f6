// What can go wrong, as types: the program turns each into its exit status (design: 1 failed, 2 usage, 3 out of
// memory).
#pragma once
#include <cstdint>
#include <sstream>
#include <stdexcept>
#include <string>
#include <string_view>

namespace dnamamba::base {

/// Anything that ends the command with exit status 1. The text is one line, for the user.
class Error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// A file that can't be read, written or believed. The text names the file first, then the record and the offset where
/// they are known, what is wrong, and what to do about it.
class IoError : public Error {
 public:
  using Error::Error;
};

/// A command line that can't be carried out: exit status 2.
class UsageError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// SIGINT or SIGTERM was received and the work was given up; nothing was left under its final name.
class Interrupted : public Error {
 public:
  using Error::Error;
};

/// The pieces written one after the other: concat("window ", 3, " of ", 7).
template <typename... Pieces>
std::string concat(const Pieces&... pieces) {
  std::ostringstream out;
  (out << ... << pieces);
  return out.str();
}

/// A name out of a file as a message shows it: its first 80 bytes, control characters as '?'. Names may have any
/// length, and must not bury what is wrong.
std::string shown_name(std::string_view name);

/// "… : No such file or directory" for an errno value.
std::string errno_text(int error_number);

}  // namespace dnamamba::base
