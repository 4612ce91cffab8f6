// Runs Python where a test asks how other software reads our files.
#pragma once
#include <sys/wait.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <vector>

#include "tests/support/temp_dir.h"

namespace dnamamba::test {

/// The interpreter: the environment's DNAMAMBA_TEST_PYTHON, or the one the build was told of.
inline std::string python() {
  const char* path = std::getenv("DNAMAMBA_TEST_PYTHON");
#ifdef DNAMAMBA_TEST_PYTHON
  if (path == nullptr) path = DNAMAMBA_TEST_PYTHON;
#endif
  return path == nullptr ? "" : path;
}

struct PythonResult {
  int status = -1;     ///< the exit status
  std::string output;  ///< stdout and stderr
};

/// Runs `script` with `arguments` as sys.argv[1:].
inline PythonResult run_python(const std::string& script, const std::vector<std::string>& arguments = {}) {
  const TempDir folder;
  std::string command;
  for (const std::string& word : {python(), folder.write("script.py", script)})
    command.append("'").append(word).append("' ");
  for (const std::string& argument : arguments) command.append("'").append(argument).append("' ");
  PythonResult result;
  FILE* pipe = ::popen((command + "2>&1").c_str(), "r");
  if (pipe == nullptr) return result;
  char buffer[4096];
  while (const std::size_t got = std::fread(buffer, 1, sizeof(buffer), pipe)) result.output.append(buffer, got);
  const int status = ::pclose(pipe);
  if (WIFEXITED(status)) result.status = WEXITSTATUS(status);
  return result;
}

/// Whether there is a Python with all of `modules` ("numpy, torch"). Looks for them without the seconds of importing.
inline bool python_has(const std::string& modules) {
  return !python().empty() && std::filesystem::exists(python()) &&
         run_python(
             "import importlib.util, sys\n"
             "sys.exit(any(importlib.util.find_spec(m.strip()) is None for m in sys.argv[1].split(',')))",
             {modules})
                 .status == 0;
}

}  // namespace dnamamba::test

/// Ends the test as skipped where there is no such Python.
#define DNAMAMBA_REQUIRE_PYTHON(modules)      \
  if (!::dnamamba::test::python_has(modules)) \
  GTEST_SKIP() << "no Python with " << (modules) << ": set DNAMAMBA_TEST_PYTHON"
