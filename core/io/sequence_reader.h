// Streams sequences out of FASTA and FASTQ (plain, gzip, bgzf, zstd), SAM, BAM and CRAM (a file or standard input), in
// the input's order.
#pragma once
#include <cstdint>
#include <exception>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/io/region.h"
#include "core/io/sequence_chunk.h"

namespace dnamamba::io {

class SequenceSource;

/// Which alignments are read. Their bases are those of the read as it was sequenced: the reverse complement of what is
/// stored for the reverse strand, without hard-clipped bases, which are not stored.
struct AlignmentOptions {
  /// Secondary, QC-fail, duplicate, supplementary.
  static constexpr std::uint16_t kDefaultExcluded = 0x100 | 0x200 | 0x400 | 0x800;

  std::uint16_t exclude_flags = kDefaultExcluded;  ///< Those with any of these bits are left out.
  int min_mapq = 0;                                ///< Those below are left out; unmapped ones have 0.
  std::string reference = {};  ///< FASTA, plain or bgzip, that a CRAM was written with. Nothing is ever downloaded.
};

struct SequenceReaderOptions {
  std::int64_t chunk_length = 1 << 20;  ///< Bases per chunk, at least 1. Every chunk but a record's last has as many.
  int decompression_threads = 0;        ///< Besides the calling one; only BGZF and CRAM can use them.
  /// Empty: all. Of FASTA and FASTQ each region is a record of its own, called "name:first-last"; of alignments, the
  /// reads that overlap one of the regions, each once. Indexes beside the file are used, and change nothing but the
  /// speed.
  std::vector<Region> regions = {};
  AlignmentOptions alignments = {};
};

/// Reads one input front to back, in memory that does not depend on its records. One thread at a time; movable, not
/// copyable. Format and compression are told by content. Qualities are checked and dropped.
///
///     io::SequenceReader reader("genome.fa.gz");
///     while (const auto chunk = reader.next()) tokenizer.append(*chunk);
///
/// A plain FASTA file that was cut looks like a shorter one and is read as such; all else that is cut is an error, but
/// for what files::ByteSource can't see and for FASTQ cut between two records. Names may repeat.
class SequenceReader {
 public:
  /// `path` is a file or pipe; "-" is standard input.
  /// @throws IoError if it can't be read, has no records or is in another format; UsageError for impossible options.
  explicit SequenceReader(const std::string& path, const SequenceReaderOptions& options = {});
  ~SequenceReader();
  SequenceReader(SequenceReader&&) noexcept;
  SequenceReader& operator=(SequenceReader&&) noexcept;

  /// The next chunk, or nullopt at the true end of the input.
  /// @throws IoError if the input is cut short, damaged or not what its format allows, naming it, the record and the
  ///         position; every later call throws it again. Interrupted if a stop was requested.
  [[nodiscard]] std::optional<SequenceChunk> next();

  SequenceFormat format() const;
  ReadProgress progress() const;
  std::int64_t left_out() const;  ///< alignments left out so far: by the filter, or without bases
  std::int64_t records_read() const { return records_read_; }  ///< records whose last chunk was handed out

 private:
  std::unique_ptr<SequenceSource> source_;
  std::exception_ptr failure_;
  std::int64_t records_read_ = 0;
};

}  // namespace dnamamba::io
