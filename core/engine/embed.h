// The job of `dnamamba embed`: sequences in, one vector a window out.
#pragma once
#include "core/engine/embed_map.h"
#include "core/engine/embed_record.h"
#include "core/engine/record_job.h"
#include "core/outputs/embedding_writer.h"

namespace dnamamba::engine {

struct EmbedOptions : SequenceInput {
  EmbedPlan plan = {};
  std::int64_t layer = -1;
};

struct EmbedCounts : RecordCounts {
  std::int64_t rows = 0;
  std::int64_t ambiguous_rows = 0;  ///< windows of N only: rows of NaN
};

/// Writes rows in the order of the input; does not close the writer. The model must have an alphabet. `map`, if there,
/// is told of them too, and not finished.
/// @throws base::IoError for bad input; base::Interrupted.
EmbedCounts embed(const EmbedOptions& options, const model::Model& model, outputs::EmbeddingWriter& writer,
                  const RecordProgress& progress, EmbedMap* map = nullptr);

}  // namespace dnamamba::engine
