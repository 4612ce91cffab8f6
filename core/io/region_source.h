// The regions of a stream of records, cut out as it goes by.
#pragma once
#include <deque>
#include <memory>
#include <vector>

#include "core/files/spool.h"
#include "core/io/region.h"
#include "core/io/sequence_source.h"

namespace dnamamba::io {

/// Each region is a record of its own, in the order of the input. Regions may overlap: their bases wait in a spool, so
/// memory stays constant.
class RegionSource : public SequenceSource {
 public:
  RegionSource(std::unique_ptr<SequenceSource> records, RegionList regions, std::string file,
               std::int64_t chunk_length);

  std::optional<SequenceChunk> next() override;
  SequenceFormat format() const override { return records_->format(); }
  ReadProgress progress() const override { return records_->progress(); }

 private:
  /// Regions that overlap, and the bases from the first's begin to the last's end.
  struct Cluster {
    std::int64_t begin = 0;
    std::int64_t end = 0;
    std::deque<Region> regions;
    files::Spool bases;
  };
  void begin_record(const SequenceChunk& chunk);
  void take(const SequenceChunk& chunk);
  void end_record(const SequenceChunk& chunk);
  SequenceChunk next_of_ready();

  std::unique_ptr<SequenceSource> records_;
  RegionList regions_;
  std::string file_;
  std::int64_t chunk_length_;
  std::deque<std::unique_ptr<Cluster>> waiting_;  // of that record, for more of its bases
  std::deque<std::unique_ptr<Cluster>> ready_;
  std::int64_t handed_out_ = 0;  // bases of the first ready region
};

}  // namespace dnamamba::io
