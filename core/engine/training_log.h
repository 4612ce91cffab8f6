// A training run as lines of JSON, one a step, for programs to follow; a run that goes on goes on with its log.
#pragma once
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <nlohmann/json_fwd.hpp>
#include <string>

namespace dnamamba::engine {

class TrainingLog {
 public:
  /// Keeps the lines up to step `done` of a file that is there, and drops those after it, with the last one if it is
  /// not whole. @throws base::IoError if a line is not one of ours, or the file can't be written.
  TrainingLog(const std::filesystem::path& path, std::int64_t done);

  /// Adds one line, in the file when this returns. `entry` has a "step". @throws base::IoError.
  void add(const nlohmann::json& entry);

 private:
  std::string path_;
  std::ofstream out_;
};

}  // namespace dnamamba::engine
