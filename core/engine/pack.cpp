#include "core/engine/pack.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <optional>

#include "core/base/error.h"
#include "core/base/log.h"
#include "core/files/atomic_file.h"
#include "core/files/checksum.h"
#include "core/tokens/token_store_writer.h"

namespace dnamamba::engine {
namespace {

namespace fs = std::filesystem;

bool are_files(const std::vector<std::string>& paths) {
  return std::ranges::all_of(paths, [](const std::string& path) {
    std::error_code error;
    return path != "-" && fs::is_regular_file(path, error);
  });
}

// What two runs must share for one to go on with what the other left: the inputs as they are on the disk, and the
// options. A digest: paths need not be text.
std::string fingerprint(const PackOptions& options) {
  const io::AlignmentOptions& alignments = options.reading.alignments;
  std::string text = base::concat(options.alphabet.to_json(), static_cast<int>(options.invalid), "\n",
                                  alignments.exclude_flags, "\n", alignments.min_mapq, "\n", alignments.reference);
  for (const io::Region& region : options.reading.regions)
    text += base::concat("\nregion ", region.name, "\n", region.begin, "\n", region.end, "\n", region.given);
  for (const std::string& path : options.inputs)
    text += base::concat("\nfile ", path, "\n", fs::file_size(path), "\n",
                         fs::last_write_time(path).time_since_epoch().count());
  return files::sha256_of_bytes(std::as_bytes(std::span(text)));
}

// NAME.partial with, beside it, the fingerprint of the run that writes it.
class Partial {
 public:
  explicit Partial(const PackOptions& options)
      : file_(files::AtomicFile::going_on(options.output, options.force)),
        fingerprint_path_(file_.path_to_fill().string() + ".inputs") {
    const std::string now = fingerprint(options) + "\n";
    std::ifstream in(fingerprint_path_);
    const std::string before{std::istreambuf_iterator<char>(in), {}};
    if (file_.size() > 0 && before == now) {
      stored_ = tokens::read_stored_blocks(file_.path_to_fill().string());
    } else {
      if (file_.size() > 0)
        base::log_warning(base::concat(file_.path_to_fill().string(),
                                       " is of other inputs or options: it is thrown away, and packing begins anew"));
      file_.cut(0);
      files::AtomicFile out(fingerprint_path_, /*force=*/true);
      out.append(now);
      out.commit();
    }
    file_.cut(stored_.bytes);
    if (stored_.bytes > 0)
      base::log_info(base::concat("going on from ", file_.path_to_fill().string(), ": ", stored_.sources(), " of ",
                                  options.inputs.size(), " files are packed, ", stored_.bytes, " bytes are there"));
  }

  files::AtomicFile& file() { return file_; }
  const tokens::StoredBlocks& stored() const { return stored_; }
  void commit() {
    file_.commit();
    remove_fingerprint();
  }
  // After an error: what is there is for the next run, if it is worth a file.
  void keep_or_remove() {
    if (file_.size() > tokens::kStoreHeadBytes) {
      base::log_warning(base::concat("what is packed is kept in ", file_.path_to_fill().string(),
                                     "; the same command goes on from it"));
      return;
    }
    std::error_code ignored;
    fs::remove(file_.path_to_fill(), ignored);
    remove_fingerprint();
  }

 private:
  void remove_fingerprint() {
    std::error_code ignored;
    fs::remove(fingerprint_path_, ignored);
  }

  files::AtomicFile file_;
  std::string fingerprint_path_;
  tokens::StoredBlocks stored_;
};

class Packing {
 public:
  Packing(const PackOptions& options, const PackProgress& progress)
      : options_(options), progress_(progress), tokenizer_(options.alphabet, options.invalid) {}

  PackCounts write(files::AtomicFile& file, const tokens::StoredBlocks& stored) {
    tokens::TokenStoreWriter writer(file, options_.alphabet, options_.threads, stored);
    counts_.sources_kept = std::min(stored.sources(), static_cast<std::int64_t>(options_.inputs.size()));
    for (std::int64_t i = 0; i < static_cast<std::int64_t>(options_.inputs.size()); ++i) {
      if (i < counts_.sources_kept) {
        writer.skip_source();
      } else {
        add(i, writer);
      }
    }
    writer.finish();
    counts_.bytes = file.size();
    return counts_;
  }

 private:
  void add(std::int64_t input, tokens::TokenStoreWriter& writer) {
    const std::string& path = options_.inputs[input];
    io::SequenceReader reader(path, options_.reading);
    std::vector<std::uint8_t> ids, lower_case;
    while (const auto chunk = reader.next()) {
      ids.clear();
      lower_case.clear();
      counts_.invalid += tokenizer_.append(chunk->bases, {path, chunk->name, chunk->offset}, ids, &lower_case).invalid;
      writer.append(ids, lower_case);
      counts_.tokens += static_cast<std::int64_t>(ids.size());
      counts_.soft_masked += std::ranges::count(lower_case, 1);
      if (chunk->ends_record) {
        writer.end_record(chunk->name);
        ++counts_.records;
      }
      progress_(counts_, fraction(input, reader.progress()));
    }
    counts_.left_out += reader.left_out();
    writer.end_source(path);
  }

  // Each input counts the same: sizes of pipes are not known, and compressions differ.
  std::optional<double> fraction(std::int64_t input, const io::ReadProgress& progress) const {
    if (!progress.bytes_total || *progress.bytes_total == 0) return std::nullopt;
    const double here = static_cast<double>(progress.bytes_read) / static_cast<double>(*progress.bytes_total);
    return (static_cast<double>(input) + here) / static_cast<double>(options_.inputs.size());
  }

  const PackOptions& options_;
  const PackProgress& progress_;
  tokens::Tokenizer tokenizer_;
  PackCounts counts_;
};

}  // namespace

PackCounts pack(const PackOptions& options, const PackProgress& progress) {
  Packing packing(options, progress);
  if (!are_files(options.inputs)) {
    files::AtomicFile file(options.output, options.force);
    const PackCounts counts = packing.write(file, {});
    file.commit();
    return counts;
  }
  Partial partial(options);
  try {
    const PackCounts counts = packing.write(partial.file(), partial.stored());
    partial.commit();
    return counts;
  } catch (...) {
    partial.keep_or_remove();
    throw;
  }
}

}  // namespace dnamamba::engine
