// The program under test, and a model for it that is trained in a second.
#pragma once
#include <map>
#include <stdexcept>
#include <string>
#include <vector>

#include "tests/support/run_program.h"
#include "tests/support/temp_dir.h"

namespace dnamamba::test {

inline ProgramResult dnamamba(const std::vector<std::string>& arguments, const ProgramInput& input = {}) {
  return run_program(DNAMAMBA_PROGRAM, arguments, input);
}

/// What `script` did in a shell, where $1 is the program and $2 … are `arguments`.
inline ProgramResult shell(const std::string& script, const std::vector<std::string>& arguments) {
  std::vector<std::string> words{"-c", script, "sh", DNAMAMBA_PROGRAM};
  words.insert(words.end(), arguments.begin(), arguments.end());
  return run_program("/bin/sh", words);
}

/// 2 layers of 32 of --mixer mamba1 or mamba2, one step; made once a process.
inline const std::string& tiny_model(const std::string& mixer = "mamba1") {
  static const TempDir folder;
  static std::map<std::string, std::string> paths;
  std::string& path = paths[mixer];
  if (!path.empty()) return path;
  const std::string sequences = folder.write("s.fa", ">s\nACGTTGCATGCCGATTAGACCATAGGACATTACAGATTACA\n");
  const ProgramResult result =
      dnamamba({"pretrain", sequences, "-o", folder.file(mixer), "--mixer", mixer, "--d-model", "32", "--headdim", "16",
                "--layers", "2", "--steps", "1", "--batch", "64", "--context", "32", "-q"});
  if (result.status != 0) throw std::runtime_error("no model for the tests: " + result.err);
  return path = folder.file(mixer);
}

}  // namespace dnamamba::test
