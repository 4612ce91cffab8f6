#include "core/model/registry.h"

#include <algorithm>
#include <cstdlib>

#include "core/base/error.h"

namespace dnamamba::model {
namespace {

namespace fs = std::filesystem;

std::vector<fs::path> candidate_folders() {
  std::vector<fs::path> folders;
  if (const char* named = std::getenv("DNAMAMBA_PRETRAINED")) return {named};
  std::error_code none;
  const fs::path program = fs::read_symlink("/proc/self/exe", none);
  if (!none) folders.push_back(program.parent_path().parent_path() / "share" / "dnamamba" / "pretrained");
  folders.emplace_back(DNAMAMBA_SOURCE_PRETRAINED);
  return folders;
}

}  // namespace

fs::path pretrained_folder() {
  for (const fs::path& folder : candidate_folders())
    if (fs::is_directory(folder)) return folder;
  return {};
}

std::vector<std::string> shipped_models() {
  std::vector<std::string> names;
  const fs::path folder = pretrained_folder();
  if (folder.empty()) return names;
  for (const auto& entry : fs::directory_iterator(folder))
    if (fs::exists(entry.path() / "config.json")) names.push_back(entry.path().filename().string());
  std::sort(names.begin(), names.end());
  return names;
}

fs::path find_model(const std::string& name_or_folder) {
  if (fs::is_directory(name_or_folder)) return name_or_folder;
  const std::vector<std::string> shipped = shipped_models();
  if (std::find(shipped.begin(), shipped.end(), name_or_folder) != shipped.end())
    return pretrained_folder() / name_or_folder;
  std::string known;
  for (const std::string& name : shipped) known += (known.empty() ? "" : ", ") + name;
  throw base::Error("model \"" + name_or_folder + "\" is neither a folder nor one that ships (" +
                    (known.empty() ? "none was found" : known) + ")");
}

}  // namespace dnamamba::model
