// What a job over records reads, and how.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "core/io/sequence_reader.h"
#include "core/tokens/tokenizer.h"

namespace dnamamba::engine {

struct SequenceInput {
  std::vector<std::string> inputs = {};  ///< FASTA, FASTQ, SAM, BAM, CRAM; "-" is stdin
  io::SequenceReaderOptions reading = {};
  std::int64_t segment = 8'192;  ///< tokens computed at a time
  tokens::InvalidPolicy invalid = tokens::InvalidPolicy::kError;
  tokens::SoftMaskPolicy soft_mask = tokens::SoftMaskPolicy::kKeep;
};

}  // namespace dnamamba::engine
