// How much memory this process has now.
#pragma once
#include <cstdint>
#include <fstream>
#include <string>

namespace dnamamba::test {

inline std::int64_t resident_kilobytes() {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);)
    if (line.starts_with("VmRSS:")) return std::stoll(line.substr(6));
  return 0;
}

}  // namespace dnamamba::test
