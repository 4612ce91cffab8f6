#include "core/io/indexed_fasta_source.h"

#include <htslib/hts_log.h>

#include <algorithm>
#include <charconv>
#include <cstdint>
#include <cstdlib>
#include <limits>
#include <string_view>
#include <unordered_set>
#include <utility>

#include "core/base/error.h"
#include "core/io/index_file.h"
#include "core/io/line_stream.h"

namespace dnamamba::io {
namespace {

using base::concat;

// "name\tlength\toffset\tbases a line\tbytes a line", and for FASTQ one more. What htslib would read as another line
// than we do is refused: it ends a name at a blank or a zero byte, keeps the last two in 32 bits and divides by the
// bases a line.
std::optional<FaiRecord> fai_record(std::string_view line) {
  const std::size_t tab = line.find('\t');
  constexpr std::string_view kEndOfName(" \f\r\v\0", 5);
  if (tab == std::string_view::npos || line.substr(0, tab).find_first_of(kEndOfName) != std::string_view::npos)
    return std::nullopt;
  FaiRecord record{std::string(line.substr(0, tab))};
  std::int64_t offset = 0, line_bases = 0, line_bytes = 0;
  const char* at = line.data() + tab;
  const char* const end = line.data() + line.size();
  for (std::int64_t* const number : {&record.length, &offset, &line_bases, &line_bytes}) {
    if (at == end || *at != '\t') return std::nullopt;
    const auto read = std::from_chars(at + 1, end, *number);
    if (read.ec != std::errc{} || *number < 0) return std::nullopt;
    at = read.ptr;
  }
  if (at != end && *at != '\t' && *at != '\r') return std::nullopt;
  if (line_bytes > std::numeric_limits<std::uint32_t>::max()) return std::nullopt;
  if (line_bytes < line_bases || (line_bases == 0 && record.length > 0)) return std::nullopt;
  return record;
}

std::vector<FaiRecord> read_fai(const std::string& path) {
  constexpr std::size_t kMostLine = std::size_t{4} << 20;
  LineStream lines{files::ByteSource(path)};
  std::vector<FaiRecord> records;
  while (true) {
    const std::int64_t number = lines.line_number();
    const auto line = lines.take_line(kMostLine);
    if (!line) return records;
    auto record = fai_record(*line);
    if (!record) throw base::IoError(concat(path, ": line ", number, " is not of a FASTA index: remove the file"));
    records.push_back(std::move(*record));
  }
}

/// htslib knows the first record of a name only.
bool has_a_name_twice(const std::vector<FaiRecord>& records) {
  std::unordered_set<std::string_view> names;
  return !std::all_of(records.begin(), records.end(),
                      [&](const FaiRecord& record) { return names.insert(record.name).second; });
}

}  // namespace

std::unique_ptr<IndexedFastaSource> IndexedFastaSource::open(const std::string& path, bool bgzf,
                                                             const RegionList& regions, std::int64_t chunk_length) {
  const auto fai = index_beside(path, ".fai");
  const auto gzi = bgzf ? index_beside(path, ".gzi") : std::nullopt;
  if (!fai || (bgzf && !gzi)) return nullptr;
  hts_set_log_level(HTS_LOG_OFF);
  std::vector<FaiRecord> records = read_fai(*fai);
  if (has_a_name_twice(records)) return nullptr;
  Index index(fai_load3(path.c_str(), fai->c_str(), gzi ? gzi->c_str() : nullptr, 0), fai_destroy);
  if (index == nullptr)
    throw base::IoError(
        concat(*fai, ": does not serve as an index of ", path, ": make it again with `samtools faidx`"));
  return std::unique_ptr<IndexedFastaSource>(
      new IndexedFastaSource(path, std::move(index), std::move(records), regions, chunk_length));
}

IndexedFastaSource::IndexedFastaSource(std::string path, Index index, std::vector<FaiRecord> records,
                                       RegionList regions, std::int64_t chunk_length)
    : path_(std::move(path)), index_(std::move(index)), chunk_length_(chunk_length) {
  for (const FaiRecord& record : records)
    for (Region& region : regions.of(record.name, record.length, path_)) {
      const std::int64_t end = std::min(region.end, record.length);
      wanted_ += end - region.begin;
      wanted_regions_.push_back({std::move(region), end});
    }
  regions.require_all_found(path_);
}

std::string IndexedFastaSource::fetch(const Wanted& wanted, std::int64_t begin, std::int64_t end) const {
  if (begin == end) return {};
  hts_pos_t count = 0;
  const std::unique_ptr<char, void (*)(void*)> bases(
      faidx_fetch_seq64(index_.get(), wanted.region.name.c_str(), begin, end - 1, &count), std::free);
  if (bases == nullptr || count != end - begin)
    throw base::IoError(concat(path_, ": bases ", begin + 1, " to ", end, " of record '",
                               base::shown_name(wanted.region.name),
                               "' are not where its index has them: the file is damaged, or make the index again with "
                               "`samtools faidx`"));
  return {bases.get(), static_cast<std::size_t>(count)};
}

std::optional<SequenceChunk> IndexedFastaSource::next() {
  if (current_ == wanted_regions_.size()) return std::nullopt;
  const Wanted& wanted = wanted_regions_[current_];
  const std::int64_t begin = wanted.region.begin + handed_out_;
  SequenceChunk chunk;
  chunk.name = region_name(wanted.region, wanted.end);
  chunk.offset = handed_out_;
  chunk.bases = fetch(wanted, begin, std::min(begin + chunk_length_, wanted.end));
  handed_out_ += static_cast<std::int64_t>(chunk.bases.size());
  read_ += static_cast<std::int64_t>(chunk.bases.size());
  chunk.ends_record = wanted.region.begin + handed_out_ == wanted.end;
  if (chunk.ends_record) {
    handed_out_ = 0;
    ++current_;
  }
  return chunk;
}

}  // namespace dnamamba::io
