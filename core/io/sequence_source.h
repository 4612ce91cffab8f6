// What SequenceReader reads from: one implementation for each family of formats.
#pragma once
#include <cstdint>
#include <optional>

#include "core/io/sequence_chunk.h"

namespace dnamamba::io {

class SequenceSource {
 public:
  virtual ~SequenceSource() = default;

  /// The next chunk of the current record, or the first of the next one; nullopt at the true end of the input.
  /// @throws IoError naming file, record, position and remedy.
  virtual std::optional<SequenceChunk> next() = 0;
  virtual SequenceFormat format() const = 0;
  virtual ReadProgress progress() const = 0;
  /// Alignments that the filter left out so far.
  virtual std::int64_t left_out() const { return 0; }
};

}  // namespace dnamamba::io
