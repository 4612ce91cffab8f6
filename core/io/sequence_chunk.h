// What comes out of every source of sequences.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace dnamamba::io {

/// A piece of one sequence. A record comes as consecutive chunks, so that a 250 Mb chromosome is never in memory whole.
struct SequenceChunk {
  std::string name;          ///< Header up to the first blank; the same for all chunks of a record. Never empty.
  std::string description;   ///< Header after the blanks behind the name; only in a record's first chunk.
  std::int64_t offset = 0;   ///< Position of this chunk's first base in its record, 0-based; 0 = a new record.
  std::string bases;         ///< As stored, case included; printable and not blank, otherwise not yet judged.
  bool ends_record = false;  ///< True for exactly one chunk of every record; only that of an empty record has no bases.
};

enum class SequenceFormat { kFasta, kFastq, kSam, kBam, kCram };

/// "FASTA", "FASTQ", "SAM", "BAM" or "CRAM".
std::string_view format_name(SequenceFormat format);

/// How far the reading has come, in bytes of the input as it is stored (compressed).
struct ReadProgress {
  std::int64_t bytes_read = 0;
  std::optional<std::int64_t> bytes_total;  ///< nullopt for a pipe
};

}  // namespace dnamamba::io
