// Regions of a FASTA file that has an index, without reading the rest of it.
#pragma once
#include <htslib/faidx.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/io/region.h"
#include "core/io/sequence_source.h"

namespace dnamamba::io {

/// A line of a .fai file.
struct FaiRecord {
  std::string name;
  std::int64_t length = 0;  ///< bases
};

/// Gives what RegionSource gives, in the same order.
class IndexedFastaSource : public SequenceSource {
 public:
  /// nullptr if `path` has no index of today (.fai, and .gzi if it is compressed with bgzip).
  static std::unique_ptr<IndexedFastaSource> open(const std::string& path, bool bgzf, const RegionList& regions,
                                                  std::int64_t chunk_length);

  std::optional<SequenceChunk> next() override;
  SequenceFormat format() const override { return SequenceFormat::kFasta; }
  ReadProgress progress() const override { return {read_, wanted_}; }

 private:
  using Index = std::unique_ptr<faidx_t, void (*)(faidx_t*)>;

  IndexedFastaSource(std::string path, Index index, std::vector<FaiRecord> records, RegionList regions,
                     std::int64_t chunk_length);
  struct Wanted {
    Region region;
    std::int64_t end;
  };
  std::string fetch(const Wanted& wanted, std::int64_t begin, std::int64_t end) const;

  std::string path_;
  Index index_;
  std::int64_t chunk_length_;
  std::vector<Wanted> wanted_regions_;
  std::size_t current_ = 0;
  std::int64_t handed_out_ = 0;         // bases of the current region
  std::int64_t read_ = 0, wanted_ = 0;  // bases in all
};

}  // namespace dnamamba::io
