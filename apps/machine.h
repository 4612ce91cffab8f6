// What the machine offers this process, and what was loaded from where.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace dnamamba::apps {

struct Machine {
  std::string processor;                     ///< as the system names it; may be empty
  std::vector<std::string> vector_features;  ///< of those that kernels are made for: avx2, fma, avx512f …
  int threads = 0;                           ///< that this process may run on
  std::int64_t memory = 0;                   ///< bytes the machine has
  std::int64_t available_memory = 0;         ///< bytes that programs can still have
  std::optional<std::int64_t> memory_limit;  ///< bytes the control group may have, where it has a limit
};

Machine this_machine();

/// Where this process found a library that it is linked with, by the beginning of its file name; empty if it is not
/// loaded.
std::string folder_of_library(const std::string& name);

}  // namespace dnamamba::apps
