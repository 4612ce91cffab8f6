// Reads out of SAM, BAM and CRAM, by htslib.
#pragma once
#include <htslib/sam.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/files/byte_source.h"
#include "core/files/raw_input.h"
#include "core/io/cram_index.h"
#include "core/io/pipe_feed.h"
#include "core/io/sequence_reader.h"
#include "core/io/sequence_source.h"

namespace dnamamba::io {

/// Makes sure that htslib finds no reference of a CRAM in the network. It changes the environment: call it in main(),
/// before there are threads. Without it, AlignmentSource refuses CRAM.
void forbid_reference_downloads();

/// Which kind of alignments a file holds that begins with `head` (4 KiB are enough), or nullopt.
std::optional<SequenceFormat> alignment_format(std::string_view head);

/// Every read that the options let through is a record: as it was sequenced, whatever its strand, mates with "/1" and
/// "/2" behind their name. Those without bases ("*") are left out, as `samtools fasta` does.
class AlignmentSource : public SequenceSource {
 public:
  /// Of `path`, which `input` has open ("-": standard input).
  AlignmentSource(const std::string& path, std::unique_ptr<files::RawInput> input, SequenceFormat format,
                  const SequenceReaderOptions& options);

  std::optional<SequenceChunk> next() override;
  SequenceFormat format() const override { return format_; }
  ReadProgress progress() const override { return {offset(), size_}; }
  std::int64_t left_out() const override { return left_out_; }

 private:
  void open_file(std::unique_ptr<files::RawInput> input);
  void open_cram(std::unique_ptr<files::RawInput> input, std::optional<std::vector<std::int64_t>> containers);
  void open_pipe(std::unique_ptr<files::RawInput> input, PipeFeed::Copy copy);
  void read_header();
  void set_regions();
  void use_index();
  void use_cram_index();
  bool read_alignment();
  bool overlaps_region() const;
  bool passes() const;
  void take_bases();
  std::int64_t offset() const;
  void rethrow_from_pipe();
  void require_whole(std::string_view tail) const;
  [[noreturn]] void fail(std::string_view what) const;

  std::string path_;
  std::string name_;  // for messages
  SequenceFormat format_;
  files::Compression compression_;
  SequenceReaderOptions options_;
  std::optional<std::int64_t> size_;
  bool stored_;                     // a regular file that is not standard input
  std::unique_ptr<PipeFeed> pipe_;  // before file_: that must be closed first
  std::unique_ptr<htsFile, int (*)(htsFile*)> file_{nullptr, hts_close};
  std::unique_ptr<sam_hdr_t, void (*)(sam_hdr_t*)> header_{nullptr, sam_hdr_destroy};
  std::unique_ptr<hts_idx_t, void (*)(hts_idx_t*)> index_{nullptr, hts_idx_destroy};
  std::unique_ptr<hts_itr_t, void (*)(hts_itr_t*)> iterator_{nullptr, hts_itr_destroy};
  std::unique_ptr<bam1_t, void (*)(bam1_t*)> alignment_{bam_init1(), bam_destroy1};
  std::vector<Intervals> wanted_;  // by reference sequence, sorted, apart from each other; empty: all
  std::int64_t alignments_ = 0;    // read so far
  std::int64_t left_out_ = 0;
  std::string bases_;            // of the current read
  std::int64_t handed_out_ = 0;  // of them
  bool in_read_ = false;
  bool ended_ = false;
};

}  // namespace dnamamba::io
