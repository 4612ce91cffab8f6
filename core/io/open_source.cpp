#include "core/io/open_source.h"

#include <cctype>
#include <string_view>
#include <utility>

#include "core/base/error.h"
#include "core/files/byte_source.h"
#include "core/io/fasta_source.h"
#include "core/io/line_stream.h"

namespace dnamamba::io {
namespace {

/// "@SQ\tSN:": FASTQ names its reads after the "@", but with no tab and two-letter key behind two letters.
bool is_sam_header(std::string_view head) {
  if (head.size() < 7 || head[3] != '\t' || head[6] != ':') return false;
  const std::string_view type = head.substr(0, 3);
  return type == "@HD" || type == "@SQ" || type == "@RG" || type == "@PG";
}

void refuse_alignments(std::string_view head, const std::string& name) {
  const char* format = nullptr;
  if (head.starts_with(std::string_view("BAM\x01", 4))) format = "BAM";
  if (head.starts_with("CRAM") && head.size() > 4 && head[4] < ' ') format = "CRAM";
  if (is_sam_header(head)) format = "SAM";
  if (format != nullptr)
    throw base::IoError(base::concat(name, ": alignments (", format,
                                     ") are not supported by this version: make FASTA of them with `samtools fasta`"));
}

std::string shown(char byte) {
  static constexpr char kHex[] = "0123456789ABCDEF";
  const unsigned char value = static_cast<unsigned char>(byte);
  if (value > 0x20 && value < 0x7f) return std::string("'") + byte + "'";
  return std::string("byte 0x") + kHex[value >> 4] + kHex[value & 15];
}

}  // namespace

std::unique_ptr<SequenceSource> open_source(const std::string& path, const SequenceReaderOptions& options) {
  LineStream lines(files::ByteSource(path, options.decompression_threads));
  const std::string name = lines.source().name();
  refuse_alignments(lines.head(8), name);
  while (lines.piece(1).text.empty() && lines.piece(1).ends_line) lines.end_line();
  const std::string_view head = lines.head(1);
  if (head.empty()) throw base::IoError(base::concat(name, ": has no records: expected FASTA or FASTQ"));
  if (head[0] != '>' && head[0] != '@')
    throw base::IoError(base::concat(name, ": line ", lines.line_number(), " begins with ", shown(head[0]),
                                     ": neither FASTA ('>') nor FASTQ ('@'): give a sequence file"));
  const SequenceFormat format = head[0] == '>' ? SequenceFormat::kFasta : SequenceFormat::kFastq;
  return std::make_unique<FastaSource>(std::move(lines), format, options.chunk_length);
}

}  // namespace dnamamba::io
