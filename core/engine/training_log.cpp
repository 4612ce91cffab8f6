#include "core/engine/training_log.h"

#include <nlohmann/json.hpp>

#include "core/base/error.h"
#include "core/files/atomic_file.h"

namespace dnamamba::engine {
namespace {

namespace fs = std::filesystem;
using base::concat;
using nlohmann::json;

// Whether a line that ends as it should is of a step up to `done`.
bool is_kept(const std::string& line, std::int64_t done, const std::string& where) {
  try {
    return json::parse(line).at("step").get<std::int64_t>() <= done;
  } catch (const json::exception&) {
    throw base::IoError(where + ": is no line of a training log; name another --log, or remove this one");
  }
}

void cut_after(const fs::path& path, std::int64_t done) {
  std::ifstream in(path, std::ios::binary);
  if (!in) throw base::IoError(path.string() + ": can't be read");
  files::AtomicFile kept(path, /*force=*/true);
  std::string line;
  for (std::int64_t number = 1; std::getline(in, line) && !in.eof(); ++number)
    if (is_kept(line, done, concat(path.string(), ": line ", number))) kept.append(line + "\n");
  if (in.bad()) throw base::IoError(path.string() + ": can't be read");
  kept.commit();
}

}  // namespace

TrainingLog::TrainingLog(const fs::path& path, std::int64_t done) : path_(path.string()) {
  if (fs::is_regular_file(path)) cut_after(path, done);
  out_.open(path, std::ios::binary | std::ios::app);
  if (!out_) throw base::IoError(path_ + ": can't be written");
}

void TrainingLog::add(const json& entry) {
  out_ << entry.dump(-1, ' ', false, json::error_handler_t::replace) + "\n" << std::flush;
  if (!out_) throw base::IoError(path_ + ": can't be written; is the disk full?");
}

}  // namespace dnamamba::engine
