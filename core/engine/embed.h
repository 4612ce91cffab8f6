// The job of `dnamamba embed`: sequences in, one vector a window out. Reading, computing and writing overlap here.
#pragma once
#include <functional>
#include <string>
#include <vector>

#include "core/engine/embed_map.h"
#include "core/engine/embed_record.h"
#include "core/model/model_folder.h"
#include "core/outputs/embedding_writer.h"
#include "core/tokens/tokenizer.h"

namespace dnamamba::engine {

struct EmbedOptions {
  std::vector<std::string> inputs;  ///< FASTA, FASTQ, SAM, BAM, CRAM; "-" is stdin
  io::SequenceReaderOptions reading = {};
  EmbedPlan plan;
  std::int64_t layer = -1;
  std::int64_t segment = 32'768;  ///< tokens computed at a time
  tokens::InvalidPolicy invalid = tokens::InvalidPolicy::kError;
  tokens::SoftMaskPolicy soft_mask = tokens::SoftMaskPolicy::kKeep;
};

struct EmbedCounts {
  std::int64_t records = 0;
  std::int64_t bases = 0;
  std::int64_t rows = 0;
  std::int64_t ambiguous_rows = 0;  ///< windows of N only: rows of NaN
  std::int64_t invalid = 0;         ///< letters taken as N or dropped
  std::int64_t left_out = 0;        ///< alignments that the filter left out
};

/// Called now and then: bases embedded so far, and the part of the whole input that is, if known, else 0.
using EmbedProgress = std::function<void(std::int64_t bases, double fraction)>;

/// Writes rows in the order of the input; does not close the writer. The model must have an alphabet. `map`, if there,
/// is told of them too, and not finished.
/// @throws base::IoError for bad input; base::Interrupted.
EmbedCounts embed(const EmbedOptions& options, const model::Model& model, outputs::EmbeddingWriter& writer,
                  const EmbedProgress& progress, EmbedMap* map = nullptr);

}  // namespace dnamamba::engine
