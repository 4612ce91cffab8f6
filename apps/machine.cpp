#include "apps/machine.h"

#include <link.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <thread>

namespace dnamamba::apps {
namespace {

// The rest of the first line of `path` that begins with `key`, after a colon and blanks; empty if there is none.
std::string field_of(const char* path, const std::string& key) {
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    if (!line.starts_with(key)) continue;
    const std::size_t at = line.find_first_not_of(" \t", line.find(':') + 1);
    return at == std::string::npos ? "" : line.substr(at);
  }
  return {};
}

std::int64_t kibibytes_of(const std::string& key) {
  std::int64_t kibibytes = 0;
  std::istringstream(field_of("/proc/meminfo", key)) >> kibibytes;
  return kibibytes * 1024;
}

std::optional<std::int64_t> control_group_limit() {
  std::int64_t bytes = 0;
  if (std::ifstream("/sys/fs/cgroup/memory.max") >> bytes) return bytes;  // "max" is no number: no limit
  return std::nullopt;
}

std::vector<std::string> vector_features() {
  std::istringstream flags(field_of("/proc/cpuinfo", "flags"));
  std::vector<std::string> features;
  for (std::string flag; flags >> flag;)
    for (const char* known : {"sse4_2", "avx2", "fma", "avx512f", "avx512bw", "avx512_bf16", "amx_bf16"})
      if (flag == known) features.push_back(flag);
  return features;
}

struct SoughtLibrary {
  std::string name;
  std::filesystem::path found;
};

int look_at_library(dl_phdr_info* library, std::size_t, void* sought_library) {
  auto* sought = static_cast<SoughtLibrary*>(sought_library);
  const std::filesystem::path path = library->dlpi_name;
  if (!path.filename().string().starts_with(sought->name)) return 0;
  sought->found = path;
  return 1;
}

}  // namespace

std::string folder_of_library(const std::string& name) {
  SoughtLibrary sought{name, {}};
  dl_iterate_phdr(look_at_library, &sought);
  std::error_code none;
  return std::filesystem::weakly_canonical(sought.found.parent_path(), none).string();
}

Machine this_machine() {
  Machine machine;
  machine.processor = field_of("/proc/cpuinfo", "model name");
  machine.vector_features = vector_features();
  machine.threads = static_cast<int>(std::max(1U, std::thread::hardware_concurrency()));
  machine.memory = kibibytes_of("MemTotal");
  machine.available_memory = kibibytes_of("MemAvailable");
  machine.memory_limit = control_group_limit();
  return machine;
}

}  // namespace dnamamba::apps
