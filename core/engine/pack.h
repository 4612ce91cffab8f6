// `dnamamba pack`: sequence files to one token store.
#pragma once
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "core/io/sequence_reader.h"
#include "core/tokens/tokenizer.h"

namespace dnamamba::engine {

struct PackOptions {
  std::vector<std::string> inputs;  ///< FASTA, FASTQ, SAM, BAM, CRAM; "-" is stdin
  io::SequenceReaderOptions reading;
  std::string output;
  bool force = false;
  tokens::Alphabet alphabet = tokens::Alphabet::built_in("dnamamba");
  tokens::InvalidPolicy invalid = tokens::InvalidPolicy::kError;
  std::int64_t threads = 1;  ///< that compress
};

struct PackCounts {
  std::int64_t records = 0;
  std::int64_t tokens = 0;
  std::int64_t soft_masked = 0;
  std::int64_t invalid = 0;       ///< letters read as N or dropped
  std::int64_t left_out = 0;      ///< alignments
  std::int64_t sources_kept = 0;  ///< files that an interrupted run had packed; not in the other counts
  std::int64_t bytes = 0;         ///< of the store
};
/// How much was packed, and which part of the inputs is read, 0 … 1, if that is known.
using PackProgress = std::function<void(const PackCounts&, std::optional<double>)>;

/// Writes the store, in memory that does not depend on the records. Where all inputs are files, what an interrupted
/// run of the same inputs and options left in `OUTPUT.partial` is checked and gone on with, to the same bytes as an
/// undisturbed run's; of other inputs or options it is thrown away with a warning.
/// @throws base::IoError; base::Interrupted.
PackCounts pack(const PackOptions& options, const PackProgress& progress);

}  // namespace dnamamba::engine
