// Runs a program as a shell would and says what came of it.
#pragma once
#include <string>
#include <vector>

namespace dnamamba::test {

struct ProgramResult {
  int status = -1;  ///< exit status; 128 + the number of the signal that ended it
  std::string out;
  std::string err;
};

struct ProgramInput {
  std::string standard_input;
  std::vector<std::string> environment;  ///< NAME=value, put before the variables of this process
  std::string standard_output;  ///< a file to write to instead of capturing, such as /dev/full; empty: captured
};

/// Waits for the end. @throws std::runtime_error if the program can't be started.
ProgramResult run_program(const std::string& program, const std::vector<std::string>& arguments,
                          const ProgramInput& input = {});

}  // namespace dnamamba::test
