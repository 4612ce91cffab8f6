#include "core/engine/checkpoint.h"

#include <fstream>
#include <sstream>

#include "core/base/error.h"
#include "core/files/atomic_file.h"
#include "core/files/checksum.h"
#include "core/files/safetensors.h"

namespace dnamamba::engine {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr const char* kRun = "run.json";
constexpr const char* kMoments = "optimiser.safetensors";
constexpr const char* kModel = "model";

}  // namespace

void save_checkpoint(const Checkpoint& checkpoint, const fs::path& folder) {
  files::AtomicFolder out(folder, /*force=*/true, kRun);
  model::save_model(checkpoint.model, out.path() / kModel, "", /*force=*/false);
  files::write_safetensors(out.path() / kMoments, checkpoint.moments, /*force=*/false);
  const json run = {{"step", checkpoint.step},
                    {"settings", checkpoint.settings},
                    {"history", checkpoint.history},
                    {"optimiser_sha256", files::sha256_of_file(out.path() / kMoments)}};
  files::AtomicFile file(out.path() / kRun, /*force=*/false);
  file.append(run.dump(1) + "\n");
  file.commit();
  out.commit();
}

Checkpoint load_checkpoint(const fs::path& folder, const json& settings) {
  std::ifstream in(folder / kRun);
  if (!in) throw base::IoError(folder.string() + ": holds no run.json; it is no checkpoint");
  Checkpoint checkpoint;
  std::string moments_sha256;
  try {
    const json run = json::parse(in);
    checkpoint.step = run.at("step").get<std::int64_t>();
    checkpoint.settings = run.at("settings");
    checkpoint.history = run.at("history");
    moments_sha256 = run.at("optimiser_sha256").get<std::string>();
  } catch (const json::exception& error) {
    throw base::IoError((folder / kRun).string() + ": damaged: " + error.what());
  }
  for (const auto& [key, value] : settings.items())
    if (!checkpoint.settings.contains(key) || checkpoint.settings.at(key) != value)
      throw base::Error(base::concat(folder.string(), ": the run began with ", key, " = ",
                                     checkpoint.settings.value(key, json()).dump(), ", not ", value.dump(),
                                     "; resume with the same settings, or begin anew with --force"));
  if (files::sha256_of_file(folder / kMoments) != moments_sha256)
    throw base::IoError((folder / kMoments).string() + ": damaged: its checksum is not the one in run.json");
  model::verify_checksums(folder / kModel);
  checkpoint.moments = files::read_safetensors(folder / kMoments).tensors;
  checkpoint.model = model::load_model(folder / kModel);
  return checkpoint;
}

}  // namespace dnamamba::engine
