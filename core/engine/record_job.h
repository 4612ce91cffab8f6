// What jobs over records share: reading, computing lane by lane and writing overlap here.
#pragma once
#include <functional>
#include <memory>

#include "core/engine/lane_record.h"
#include "core/engine/sequence_input.h"
#include "core/model/backbone.h"
#include "core/model/model_folder.h"

namespace dnamamba::engine {

struct RecordCounts {
  std::int64_t records = 0;
  std::int64_t bases = 0;
  std::int64_t invalid = 0;   ///< letters taken as N or dropped
  std::int64_t left_out = 0;  ///< alignments that the filter left out
};

/// Called now and then: bases computed so far, and the part of the whole input that is, if known, else 0.
using RecordProgress = std::function<void(std::int64_t bases, double fraction)>;

struct RecordJob {
  std::int64_t layer = -1;   ///< of model::Backbone::Segment
  std::int64_t strands = 1;  ///< that each base is read on
  /// Makes of a record what is computed; in the order of the input.
  std::function<std::unique_ptr<LaneRecord>(std::unique_ptr<TokenizedRecord> record)> begin;
  /// Takes what `begin` made once it is done; in the same order, on a thread of its own.
  std::function<void(const LaneRecord& record)> end;
};

/// The letters that a model reads. @throws base::Error if it carries none.
const tokens::Alphabet& alphabet_of(const model::Model& model);

/// @throws base::IoError for bad input; base::Interrupted; what the functions throw.
RecordCounts run_records(const SequenceInput& input, const model::Backbone& backbone, const tokens::Alphabet& alphabet,
                         const RecordJob& job, const RecordProgress& progress);

}  // namespace dnamamba::engine
