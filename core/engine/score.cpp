#include "core/engine/score.h"

#include <cmath>

#include "core/engine/score_record.h"

namespace dnamamba::engine {

ScoreCounts score(const ScoreOptions& options, const model::Model& model, outputs::TrackWriter& writer,
                  const RecordProgress& progress) {
  const tokens::Alphabet& alphabet = alphabet_of(model);
  const model::Backbone backbone(model.config, model.parameters, model.activations);
  ScoreCounts counts;
  RecordJob job;
  job.strands = tokens::strand_count(options.strand);
  job.begin = [&](std::unique_ptr<TokenizedRecord> record) {
    return std::make_unique<ScoreRecord>(std::move(record), options.strand, backbone, alphabet);
  };
  job.end = [&](const LaneRecord& done) {
    const auto& record = static_cast<const ScoreRecord&>(done);
    writer.begin_record(record.tokens().name, record.tokens().length);
    record.read_bits([&](std::span<const float> bits) {
      for (const float value : bits) {
        if (std::isnan(value)) continue;
        ++counts.scored;
        counts.bits += value;
      }
      writer.append(bits);
    });
  };
  static_cast<RecordCounts&>(counts) = run_records(options, backbone, alphabet, job, progress);
  return counts;
}

}  // namespace dnamamba::engine
