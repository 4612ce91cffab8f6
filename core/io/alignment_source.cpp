#include "core/io/alignment_source.h"

#include <htslib/bgzf.h>
#include <htslib/hfile.h>
#include <htslib/hts_log.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <cstring>
#include <utility>

#include "core/base/error.h"
#include "core/base/stop.h"
#include "core/files/decoder.h"
#include "core/files/descriptor.h"
#include "core/io/cram_checksums.h"
#include "core/io/index_file.h"

namespace dnamamba::io {
namespace {

using base::concat;

constexpr std::string_view kBgzfEnd("\x1f\x8b\x08\x04\0\0\0\0\0\xff\x06\0\x42\x43\x02\0\x1b\0\x03\0\0\0\0\0\0\0\0\0",
                                    28);
constexpr std::string_view kCramEnd(
    "\xff\xff\xff\xff\x0f\xe0"
    "EOF",
    9);  // inside of the last container, of CRAM 2.1 and 3

constexpr int complement_of(int code) {  // A, C, G and T are one bit each, the other letters are sets of them
  return (code & 1) << 3 | (code & 2) << 1 | (code & 4) >> 1 | (code & 8) >> 3;
}

/// A byte of a BAM sequence as two letters: as they are, or as they stand in the reverse complement.
using LetterPairs = std::array<std::array<char, 2>, 256>;
LetterPairs letter_pairs(bool reverse) {
  LetterPairs pairs{};
  for (int byte = 0; byte < 256; ++byte) {
    const int first = byte >> 4, second = byte & 15;
    pairs[byte] = reverse ? std::array{seq_nt16_str[complement_of(second)], seq_nt16_str[complement_of(first)]}
                          : std::array{seq_nt16_str[first], seq_nt16_str[second]};
  }
  return pairs;
}

std::string tail_of_file(const std::string& path) {
  const files::Descriptor file = files::open_to_read(path);
  const std::int64_t size = files::size_of(file, path);
  std::string tail(std::min<std::int64_t>(size, PipeFeed::kTail), '\0');
  files::read_all_at(file, size - static_cast<std::int64_t>(tail.size()), std::as_writable_bytes(std::span(tail)),
                     path);
  return tail;
}

void copy_decoded(files::RawInput& input, const PipeFeed::Send& send, files::Compression compression, int threads) {
  const auto decoder = files::make_decoder(compression, input, threads);
  std::string piece(std::size_t{1} << 16, '\0');
  while (const std::size_t count = decoder->read(piece.data(), piece.size()))
    if (!send(std::string_view(piece).substr(0, count))) return;
}

/// Whether htslib would find an address in the environment, or with none there its own. "::" stands for a colon in it.
bool would_download() {
  const char* places = std::getenv("REF_PATH");
  return places == nullptr || *places == '\0' || std::strstr(places, "//") != nullptr ||
         std::strstr(places, "::") != nullptr;
}

}  // namespace

void forbid_reference_downloads() {
  if (would_download()) setenv("REF_PATH", "/", 1);
}

std::optional<SequenceFormat> alignment_format(std::string_view head) {
  char* copy = static_cast<char*>(std::malloc(head.size() + 1));  // hclose() frees it
  if (copy == nullptr) throw std::bad_alloc();
  std::memcpy(copy, head.data(), head.size());
  hFILE* memory = hopen("mem:", "r:", copy, head.size());
  if (memory == nullptr) return std::nullopt;
  htsFormat format{};
  const bool told = hts_detect_format2(memory, nullptr, &format) == 0;
  hclose_abruptly(memory);
  if (!told) return std::nullopt;
  if (format.format == sam) return SequenceFormat::kSam;
  if (format.format == bam) return SequenceFormat::kBam;
  if (format.format == cram) return SequenceFormat::kCram;
  return std::nullopt;
}

AlignmentSource::AlignmentSource(const std::string& path, std::unique_ptr<files::RawInput> input, SequenceFormat format,
                                 const SequenceReaderOptions& options)
    : path_(path),
      name_(input->name()),
      format_(format),
      compression_(files::compression_of(*input)),
      options_(options),
      size_(input->size()),
      stored_(path != "-" && size_) {
  hts_set_log_level(HTS_LOG_OFF);  // what it would say is in our one line
  if (stored_) require_whole(tail_of_file(path_));
  if (format_ == SequenceFormat::kCram) {
    open_cram(std::move(input), std::nullopt);
  } else {
    open_file(std::move(input));
  }
  if (!options_.regions.empty()) set_regions();
}

/// With threads, htslib gets of SAM and BAM what our own decoders give: with threads of its own, version 1.16 takes
/// some damage for the end and waits for ever at other.
void AlignmentSource::open_file(std::unique_ptr<files::RawInput> input) {
  if (stored_ && options_.decompression_threads == 0) {
    file_.reset(hts_open(path_.c_str(), "r"));
    return read_header();
  }
  open_pipe(std::move(input),
            [compression = compression_, threads = options_.decompression_threads](
                files::RawInput& from, const PipeFeed::Send& send) { copy_decoded(from, send, compression, threads); });
}

void AlignmentSource::open_pipe(std::unique_ptr<files::RawInput> input, PipeFeed::Copy copy) {
  pipe_ = std::make_unique<PipeFeed>(std::move(input), std::move(copy));
  hFILE* stream = hdopen(pipe_->take_descriptor(), "r");
  if (stream != nullptr) file_.reset(hts_hopen(stream, name_.c_str(), "r"));
  if (stream != nullptr && file_ == nullptr) hclose_abruptly(stream);
  read_header();
}

void AlignmentSource::read_header() {
  header_.reset(file_ != nullptr ? sam_hdr_read(file_.get()) : nullptr);
  if (header_ != nullptr) return;
  rethrow_from_pipe();
  fail(concat("has a damaged header, or none (near byte ", offset(), "): fetch the file again"));
}

/// What htslib reads went through copy_checked_cram.
void AlignmentSource::open_cram(std::unique_ptr<files::RawInput> input,
                                std::optional<std::vector<std::int64_t>> containers) {
  if (would_download()) throw base::Error("CRAM is read only after io::forbid_reference_downloads()");
  open_pipe(std::move(input), [containers = std::move(containers)](files::RawInput& from, const PipeFeed::Send& send) {
    copy_checked_cram(from, send, containers);
  });
  if (options_.decompression_threads > 0) hts_set_threads(file_.get(), options_.decompression_threads);
  hts_set_opt(file_.get(), CRAM_OPT_REQUIRED_FIELDS,
              SAM_QNAME | SAM_FLAG | SAM_RNAME | SAM_POS | SAM_MAPQ | SAM_CIGAR | SAM_SEQ);
  const std::string& reference = options_.alignments.reference;
  if (reference.empty()) return;
  files::open_to_read(reference);  // says why it can't be
  if (hts_set_fai_filename(file_.get(), reference.c_str()) != 0)
    throw base::IoError(
        concat(reference, ": does not serve as a reference: give FASTA, plain or compressed with bgzip"));
}

void AlignmentSource::set_regions() {
  RegionList regions(options_.regions);
  wanted_.resize(sam_hdr_nref(header_.get()));
  for (int id = 0; id < static_cast<int>(wanted_.size()); ++id) {
    const std::int64_t length = sam_hdr_tid2len(header_.get(), id);
    for (const Region& region : regions.of(sam_hdr_tid2name(header_.get(), id), length, name_)) {
      Intervals& wanted = wanted_[id];
      const std::int64_t end = std::min(region.end, length);
      if (wanted.empty() || region.begin > wanted.back().second) wanted.emplace_back(region.begin, end);
      wanted.back().second = std::max(wanted.back().second, end);
    }
  }
  regions.require_all_found(name_);
  if (!stored_) return;
  format_ == SequenceFormat::kCram ? use_cram_index() : use_index();
}

void AlignmentSource::use_cram_index() {
  const auto index = index_beside(path_, ".crai");
  if (!index) return;
  std::vector<std::int64_t> containers = containers_with(wanted_, *index);
  file_.reset();  // before the pipe that it reads
  open_cram(std::make_unique<files::RawInput>(path_), std::move(containers));
}

void AlignmentSource::use_index() {
  std::optional<std::string> found;
  for (const char* suffix : {".csi", ".bai"})
    if (!found) found = index_beside(path_, suffix);
  if (!found || compression_ != files::Compression::kBgzf) return;
  file_.reset();  // before the pipe that it reads
  pipe_.reset();
  file_.reset(hts_open(path_.c_str(), "r"));
  read_header();
  index_.reset(sam_index_load3(file_.get(), path_.c_str(), found->c_str(), 0));
  if (index_ == nullptr) throw base::IoError(concat(*found, ": is damaged: make it again with `samtools index`"));
  std::vector<std::string> texts;
  for (std::size_t id = 0; id < wanted_.size(); ++id)
    for (const auto& [begin, end] : wanted_[id])
      if (begin < end)
        texts.push_back(concat("{", sam_hdr_tid2name(header_.get(), static_cast<int>(id)), "}:", begin + 1, "-", end));
  std::vector<char*> words;
  words.reserve(texts.size());
  for (std::string& text : texts) words.push_back(text.data());
  iterator_.reset(sam_itr_regarray(index_.get(), header_.get(), words.data(), static_cast<unsigned>(words.size())));
  if (iterator_ == nullptr)
    throw base::IoError(concat(*found, ": does not fit ", path_, ": make it again with `samtools index`"));
}

/// The next alignment into alignment_; false at the true end.
bool AlignmentSource::read_alignment() {
  if (ended_) return false;  // htslib's threads must not be asked twice
  const int result = iterator_ != nullptr ? sam_itr_next(file_.get(), iterator_.get(), alignment_.get())
                                          : sam_read1(file_.get(), header_.get(), alignment_.get());
  if (result >= 0) {
    ++alignments_;
    return true;
  }
  if (result < -1) {
    base::throw_if_stopped();  // then it is only a pipe that ended because of that
    rethrow_from_pipe();
    const char* what =
        format_ != SequenceFormat::kCram ? "can't be read: the file is cut short or damaged: fetch it again"
        : options_.alignments.reference.empty()
            ? "can't be read: give the FASTA that the CRAM was written with as --reference, or the file is "
              "damaged: fetch it again"
            : "can't be read: the file is damaged, or --reference is not what it was written with";
    fail(concat("alignment ", alignments_ + 1, " (near byte ", offset(), ") ", what));
  }
  if (pipe_ != nullptr) {
    const std::string& tail = pipe_->tail();  // rethrows
    if (compression_ == files::Compression::kNone) require_whole(tail);
  }
  ended_ = true;
  return false;
}

bool AlignmentSource::overlaps_region() const {
  if (wanted_.empty() || iterator_ != nullptr) return true;
  const bam1_core_t& core = alignment_->core;
  if (core.tid < 0 || core.pos < 0) return false;
  const Intervals& wanted = wanted_[core.tid];
  const auto after = std::upper_bound(wanted.begin(), wanted.end(), core.pos,
                                      [](std::int64_t pos, const auto& interval) { return pos < interval.second; });
  return after != wanted.end() && after->first < bam_endpos(alignment_.get()) && after->first < after->second;
}

bool AlignmentSource::passes() const {
  const bam1_core_t& core = alignment_->core;
  return core.l_qseq > 0 && (core.flag & options_.alignments.exclude_flags) == 0 &&
         core.qual >= options_.alignments.min_mapq;
}

void AlignmentSource::take_bases() {
  static const LetterPairs kForward = letter_pairs(false), kReverse = letter_pairs(true);
  const std::uint8_t* codes = bam_get_seq(alignment_.get());
  const auto length = static_cast<std::size_t>(alignment_->core.l_qseq);
  bases_.resize(length);
  char* const begin = bases_.data();
  char* const end = begin + length;
  const std::size_t pairs = length / 2;
  if (bam_is_rev(alignment_.get())) {
    for (std::size_t i = 0; i < pairs; ++i) std::memcpy(end - 2 * (i + 1), kReverse[codes[i]].data(), 2);
    if (length % 2 == 1) *begin = kReverse[codes[pairs]][1];
  } else {
    for (std::size_t i = 0; i < pairs; ++i) std::memcpy(begin + 2 * i, kForward[codes[i]].data(), 2);
    if (length % 2 == 1) *(end - 1) = kForward[codes[pairs]][0];
  }
}

std::optional<SequenceChunk> AlignmentSource::next() {
  while (!in_read_) {
    if (!read_alignment()) return std::nullopt;
    if (!overlaps_region()) continue;
    in_read_ = passes();
    if (!in_read_) ++left_out_;
    if (in_read_) take_bases();
    handed_out_ = 0;
  }
  SequenceChunk chunk;
  chunk.name = bam_get_qname(alignment_.get());
  const int mate = alignment_->core.flag & (BAM_FREAD1 | BAM_FREAD2);
  if (mate == BAM_FREAD1) chunk.name += "/1";
  if (mate == BAM_FREAD2) chunk.name += "/2";
  chunk.offset = handed_out_;
  const auto left = static_cast<std::int64_t>(bases_.size()) - handed_out_;
  chunk.ends_record = left <= options_.chunk_length;
  if (chunk.ends_record && handed_out_ == 0) {
    chunk.bases = std::exchange(bases_, {});
  } else {
    chunk.bases = bases_.substr(handed_out_, options_.chunk_length);
  }
  handed_out_ += static_cast<std::int64_t>(chunk.bases.size());
  in_read_ = !chunk.ends_record;
  return chunk;
}

std::int64_t AlignmentSource::offset() const {
  if (pipe_ != nullptr) return pipe_->position();
  if (file_ == nullptr) return 0;
  return file_->is_bgzf ? bgzf_tell(file_->fp.bgzf) >> 16 : htell(file_->fp.hfile);
}

/// What ended a pipe early is more to the point than what htslib makes of it.
void AlignmentSource::rethrow_from_pipe() {
  try {
    if (pipe_ != nullptr) pipe_->rethrow();
  } catch (const base::IoError& error) {
    if (alignments_ == 0) throw;
    throw base::IoError(concat(error.what(), " (after alignment ", alignments_, ")"));
  }
}

/// A file that was cut where a block or line ends looks whole but for its end marker.
void AlignmentSource::require_whole(std::string_view tail) const {
  bool whole = true;
  std::string_view missing = " without its end marker, after alignment ", remedy = "";
  if (format_ == SequenceFormat::kCram) {
    whole = tail.find(kCramEnd) != std::string_view::npos;
  } else if (compression_ == files::Compression::kBgzf) {
    whole = tail.ends_with(kBgzfEnd);
  } else if (format_ == SequenceFormat::kSam && compression_ == files::Compression::kNone) {
    whole = tail.ends_with('\n');
    missing = " inside a line, after alignment ";
    remedy = ", or, if you know that it is whole, end its last line: echo >> FILE";
  }
  if (!whole)
    fail(concat("ends at byte ", pipe_ != nullptr ? pipe_->position() : *size_, missing, alignments_,
                ": the file is cut short: fetch or write it again", remedy));
}

void AlignmentSource::fail(std::string_view what) const {
  throw base::IoError(concat(name_, ": ", what));
}

}  // namespace dnamamba::io
