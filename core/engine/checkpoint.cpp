#include "core/engine/checkpoint.h"

#include <fcntl.h>
#include <sys/file.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <fstream>
#include <span>
#include <utility>

#include "core/base/error.h"
#include "core/base/log.h"
#include "core/files/atomic_file.h"
#include "core/files/checksum.h"
#include "core/files/tensor_shards.h"

namespace dnamamba::engine {
namespace {

namespace fs = std::filesystem;
using base::concat;
using base::IoError;
using nlohmann::json;

constexpr const char* kIndex = "index.json";
constexpr int kVersion = 1;
const std::string kStep = "step-", kParameters = "parameters/", kMoments = "moments/", kAside = ".tmp-";

// nullopt where the name is none of ours.
std::optional<std::int64_t> step_of(const std::string& name) {
  if (!name.starts_with(kStep) || name.size() < kStep.size() + 6 || name.size() > kStep.size() + 18)
    return std::nullopt;
  if (name.find_first_not_of("0123456789", kStep.size()) != std::string::npos) return std::nullopt;
  return std::stoll(name.substr(kStep.size()));
}

std::string checksum_of(const json& index) {
  const std::string text = index.dump();
  return files::sha256_of_bytes(std::as_bytes(std::span(text)));
}

void write_index(const fs::path& folder, json index) {
  index["index_sha256"] = checksum_of(index);
  files::AtomicFile file(folder / kIndex, /*force=*/false);
  file.append(index.dump(1) + "\n");
  file.commit();
}

json read_index(const fs::path& folder) {
  const fs::path path = folder / kIndex;
  std::ifstream in(path);
  if (!in) throw IoError(path.string() + ": is missing");
  try {
    json index = json::parse(in);
    const auto checksum = index.at("index_sha256").get<std::string>();
    index.erase("index_sha256");
    if (checksum_of(index) != checksum) throw IoError(path.string() + ": damaged: its checksum is not the one in it");
    if (index.at("version") != kVersion)
      throw IoError(concat(path.string(), ": of version ", index.at("version").dump(), ", not ", kVersion,
                           "; go on with the program that wrote it"));
    return index;
  } catch (const json::exception& error) {
    throw IoError(path.string() + ": damaged: " + error.what());
  }
}

void require_same_settings(const fs::path& folder, const json& begun, const json& settings) {
  for (const auto& [key, value] : settings.items())
    if (!begun.contains(key) || begun.at(key) != value)
      throw base::Error(concat(folder.string(), ": the run began with ", key, " = ", begun.value(key, json()).dump(),
                               ", not ", value.dump(), "; go on with the same settings, or name another --checkpoint"));
}

// The tensors whose names begin with `prefix`, without it.
files::TensorMap taken(const files::TensorMap& tensors, const std::string& prefix) {
  files::TensorMap part;
  for (const auto& [name, tensor] : tensors)
    if (name.starts_with(prefix)) part.emplace(name.substr(prefix.size()), tensor);
  return part;
}

Checkpoint read_checkpoint(const fs::path& folder, const json& settings) {
  const json index = read_index(folder);
  try {
    require_same_settings(folder, index.at("settings"), settings);
    const files::TensorMap tensors = files::read_shards(folder, index.at("shards"));
    return {index.at("step").get<std::int64_t>(), index.at("settings"), index.at("progress"),
            taken(tensors, kParameters), taken(tensors, kMoments)};
  } catch (const json::exception& error) {
    throw IoError((folder / kIndex).string() + ": damaged: " + error.what());
  }
}

// Killed in the middle, it leaves no half a checkpoint under its name.
void discard(const fs::path& place) {
  const fs::path aside = place.parent_path() / concat(".", place.filename().string(), kAside, "gone");
  fs::rename(place, aside);
  fs::remove_all(aside);
}

}  // namespace

CheckpointFolder::CheckpointFolder(const CheckpointOptions& options) : options_(options), folder_(options.folder) {
  std::error_code error;
  const bool is_new = fs::create_directories(folder_, error);
  if (error) throw IoError(concat(folder_.string(), ": can't be made: ", error.message()));
  if (is_new) files::sync_folder(fs::absolute(folder_ / "..").lexically_normal());
  lock_ = files::Descriptor(::open(folder_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  // Some network file systems have no locks.
  if (lock_.is_open() && ::flock(lock_.number(), LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK)
    throw IoError(folder_.string() + ": another process trains into it; wait for it, or name another --checkpoint");
  for (const auto& entry : fs::directory_iterator(folder_))
    if (const std::string name = entry.path().filename().string();
        name.starts_with("." + kStep) && name.find(kAside) != std::string::npos)
      fs::remove_all(entry.path());
}

std::vector<std::int64_t> CheckpointFolder::steps() const {
  std::vector<std::int64_t> steps;
  for (const auto& entry : fs::directory_iterator(folder_))
    if (const auto step = step_of(entry.path().filename().string())) steps.push_back(*step);
  std::sort(steps.begin(), steps.end());
  return steps;
}

fs::path CheckpointFolder::place_of(std::int64_t step) const {
  char name[64];
  std::snprintf(name, sizeof name, "step-%06lld", static_cast<long long>(step));
  return folder_ / name;
}

std::optional<Checkpoint> CheckpointFolder::load(const json& settings) const {
  std::vector<std::int64_t> steps = this->steps();
  if (steps.empty()) return std::nullopt;
  while (true) {
    const fs::path place = place_of(steps.back());
    steps.pop_back();
    try {
      return read_checkpoint(place, settings);
    } catch (const IoError& error) {
      if (steps.empty())
        throw IoError(
            concat(error.what(), "; there is no checkpoint before it: remove ", folder_.string(), " to begin anew"));
      if (!options_.last_good)
        throw IoError(concat(error.what(), "; --last-good goes on from the checkpoint before it, ",
                             place_of(steps.back()).string()));
      base::log_warning(concat(error.what(), "; trying the checkpoint before it"));
    }
  }
}

void CheckpointFolder::save(const Checkpoint& checkpoint) const {
  files::TensorMap tensors;
  for (const auto& [name, tensor] : checkpoint.parameters) tensors.emplace(kParameters + name, tensor);
  for (const auto& [name, tensor] : checkpoint.moments) tensors.emplace(kMoments + name, tensor);
  // What is there under this name is a checkpoint, damaged or of the same step, and may go.
  files::AtomicFolder out(place_of(checkpoint.step), /*force=*/true, /*marker=*/".");
  write_index(out.path(), {{"version", kVersion},
                           {"step", checkpoint.step},
                           {"settings", checkpoint.settings},
                           {"progress", checkpoint.progress},
                           {"shards", files::write_shards(out.path(), tensors)}});
  out.commit();
  std::int64_t newer = 0;
  std::vector<std::int64_t> steps = this->steps();
  for (auto step = steps.rbegin(); step != steps.rend(); ++step)
    if (*step > checkpoint.step || ++newer > options_.keep) discard(place_of(*step));
}

void CheckpointFolder::remove() const {
  for (const std::int64_t step : steps()) discard(place_of(step));
  std::error_code not_empty;
  fs::remove(folder_, not_empty);
}

}  // namespace dnamamba::engine
