// FASTA, and its cousin with qualities, FASTQ.
#pragma once
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "core/io/line_stream.h"
#include "core/io/sequence_source.h"

namespace dnamamba::io {

/// Sequences and qualities may be on any number of lines of any length; lines end in "\n" or "\r\n"; empty lines are
/// skipped. Blanks and control bytes in a sequence are errors, as are a header without a name, a header line of more
/// than kMostHeaderBytes, and qualities that are not as many as the bases.
class FastaSource : public SequenceSource {
 public:
  static constexpr std::size_t kMostHeaderBytes = std::size_t{2} << 20;

  /// `lines` stands at the first record's header.
  FastaSource(LineStream lines, SequenceFormat format, std::int64_t chunk_length);

  std::optional<SequenceChunk> next() override;
  SequenceFormat format() const override { return format_; }
  ReadProgress progress() const override;

 private:
  bool start_record();
  void read_header_line();
  void split_header();
  bool take_bases(std::string& bases);
  bool at_end_of_sequence();
  void skip_blanks();
  std::size_t count_letters(std::string_view piece, std::int64_t position) const;
  void check_qualities();
  void skip_separator_line();
  std::int64_t count_qualities();
  void check_quality(std::string_view piece) const;
  [[noreturn]] void fail(std::string_view what) const;

  LineStream lines_;
  const SequenceFormat format_;
  const std::size_t chunk_length_;
  bool in_record_ = false;
  std::int64_t record_number_ = 0;  // from 1
  std::string header_;              // the current record's, without the marker
  std::string name_;
  std::string description_;
  std::int64_t length_ = 0;  // bases of the record so far
};

}  // namespace dnamamba::io
