// The job of `dnamamba score`: sequences in, bits per base out: −log2 of the probability that the language model gives
// each base after all bases before it in its record.
#pragma once
#include "core/engine/record_job.h"
#include "core/outputs/track_writer.h"

namespace dnamamba::engine {

struct ScoreOptions : SequenceInput {
  /// kReverse: after all bases behind it, read as the reverse complement. kBoth: the mean of the two.
  tokens::Strand strand = tokens::Strand::kForward;
};

struct ScoreCounts : RecordCounts {
  std::int64_t scored = 0;  ///< bases that have a value
  double bits = 0;          ///< their sum
};

/// A record's first base has no context and so no value, and neither has N; all others do. Writes records in the order
/// of the input; does not close the writer. The model must have an alphabet.
/// @throws base::IoError for bad input; base::Error where the model's answer is no number; base::Interrupted.
ScoreCounts score(const ScoreOptions& options, const model::Model& model, outputs::TrackWriter& writer,
                  const RecordProgress& progress);

}  // namespace dnamamba::engine
