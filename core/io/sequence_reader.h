// Streams sequences out of FASTA and FASTQ (plain, gzip, bgzf, zstd; a file or standard input), in the input's order.
#pragma once
#include <cstdint>
#include <exception>
#include <memory>
#include <optional>
#include <string>

#include "core/io/sequence_chunk.h"

namespace dnamamba::io {

class SequenceSource;

struct SequenceReaderOptions {
  std::int64_t chunk_length = 1 << 20;  ///< Bases per chunk, at least 1. Every chunk but a record's last has as many.
  int decompression_threads = 0;        ///< Besides the calling one; only BGZF can use them.
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
  std::int64_t records_read() const { return records_read_; }  ///< records whose last chunk was handed out

 private:
  std::unique_ptr<SequenceSource> source_;
  std::exception_ptr failure_;
  std::int64_t records_read_ = 0;
};

}  // namespace dnamamba::io
