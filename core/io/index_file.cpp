#include "core/io/index_file.h"

#include <system_error>

#include "core/base/error.h"
#include "core/base/log.h"

namespace dnamamba::io {

namespace fs = std::filesystem;

std::optional<std::string> index_beside(const fs::path& path, const std::string& suffix) {
  const fs::path index = path.string() + suffix;
  std::error_code missing;
  const auto index_time = fs::last_write_time(index, missing);
  if (missing) return std::nullopt;
  if (index_time >= fs::last_write_time(path)) return index.string();
  base::log_warning(base::concat(index.string(), " is older than its file and is not used: make it again"));
  return std::nullopt;
}

}  // namespace dnamamba::io
