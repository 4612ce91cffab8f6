// What a training run needs to go on exactly where it stopped, in a folder that outlives a kill at any moment.
#pragma once
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "core/files/descriptor.h"
#include "core/files/tensor_file.h"

namespace dnamamba::engine {

struct CheckpointOptions {
  std::string folder;           ///< empty: none
  std::int64_t save_every = 0;  ///< steps; 0: when stopped and at the end only
  std::int64_t keep = 2;        ///< checkpoints, the newest ones
  bool last_good = false;       ///< go on from the newest one that is whole where newer ones are damaged
};

struct Checkpoint {
  std::int64_t step = 0;        ///< steps done: with the seed, the position in the data
  nlohmann::json settings;      ///< what must be the same for the run to be the same
  nlohmann::json progress;      ///< what was counted and measured so far
  files::TensorMap parameters;  ///< of the model
  files::TensorMap moments;     ///< of the optimiser
};

/// The checkpoints of one run, each a folder `step-000123` of shards (files::write_shards) and an index.json, which
/// holds everything else, the checksums of all shards and one of itself. They are written beside, synced and renamed.
class CheckpointFolder {
 public:
  /// Makes the folder if it is not there, and removes what a killed save left behind.
  /// @throws base::IoError, also if another process trains into it.
  explicit CheckpointFolder(const CheckpointOptions& options);

  /// The newest checkpoint, or nullopt if there is none.
  /// @throws base::IoError naming what is damaged, and what to do; with `last_good` only if none is whole.
  /// base::Error naming the first setting that differs from `settings`.
  [[nodiscard]] std::optional<Checkpoint> load(const nlohmann::json& settings) const;

  /// Then removes checkpoints of later steps, which this run has taken back, and all but the newest ones.
  /// @throws base::IoError: then those that were there are as they were.
  void save(const Checkpoint& checkpoint) const;

  /// Removes all checkpoints, and the folder if nothing else is in it.
  void remove() const;

 private:
  [[nodiscard]] std::vector<std::int64_t> steps() const;  // rising
  [[nodiscard]] std::filesystem::path place_of(std::int64_t step) const;

  CheckpointOptions options_;
  std::filesystem::path folder_;
  files::Descriptor lock_;
};

}  // namespace dnamamba::engine
