#include "core/io/open_source.h"

#include <cctype>
#include <string_view>
#include <utility>

#include "core/base/error.h"
#include "core/files/byte_source.h"
#include "core/files/raw_input.h"
#include "core/io/alignment_source.h"
#include "core/io/fasta_source.h"
#include "core/io/indexed_fasta_source.h"
#include "core/io/line_stream.h"
#include "core/io/region_source.h"

namespace dnamamba::io {
namespace {

constexpr std::size_t kTellingBytes = 65'536;

std::string shown(char byte) {
  static constexpr char kHex[] = "0123456789ABCDEF";
  const unsigned char value = static_cast<unsigned char>(byte);
  if (value > 0x20 && value < 0x7f) return std::string("'") + byte + "'";
  return std::string("byte 0x") + kHex[value >> 4] + kHex[value & 15];
}

bool is_bgzf_file(const LineStream& lines) {
  return lines.source().kind() == files::Compression::kBgzf;
}

// Nothing but "@HD", "@SQ", … begins a FASTQ name and has a tab behind.
void refuse_sam_inside_zstd(std::string_view head, const std::string& name) {
  if (head.size() > 3 && head[0] == '@' && head[3] == '\t')
    throw base::IoError(
        base::concat(name, ": SAM inside zstd is not read here: pipe it in with `zstd -dc`, and read from -"));
}

}  // namespace

std::unique_ptr<SequenceSource> open_source(const std::string& path, const SequenceReaderOptions& options) {
  auto input = std::make_unique<files::RawInput>(path);
  const bool regular_file = path != "-" && input->size().has_value();
  if (const auto format = alignment_format(input->peek(kTellingBytes)))
    return std::make_unique<AlignmentSource>(path, std::move(input), *format, options);
  LineStream lines(files::ByteSource(std::move(input), options.decompression_threads));
  const std::string name = lines.source().name();
  while (lines.piece(1).text.empty() && lines.piece(1).ends_line) lines.end_line();
  const std::string_view head = lines.head(8);
  refuse_sam_inside_zstd(head, name);
  if (head.empty()) throw base::IoError(base::concat(name, ": has no records: expected FASTA or FASTQ"));
  if (head[0] != '>' && head[0] != '@')
    throw base::IoError(base::concat(name, ": line ", lines.line_number(), " begins with ", shown(head[0]),
                                     ": neither FASTA ('>') nor FASTQ ('@'): give a sequence file"));
  const SequenceFormat format = head[0] == '>' ? SequenceFormat::kFasta : SequenceFormat::kFastq;
  if (!options.regions.empty() && regular_file && format == SequenceFormat::kFasta)
    if (auto indexed =
            IndexedFastaSource::open(path, is_bgzf_file(lines), RegionList(options.regions), options.chunk_length))
      return indexed;
  auto records = std::make_unique<FastaSource>(std::move(lines), format, options.chunk_length);
  if (options.regions.empty()) return records;
  return std::make_unique<RegionSource>(std::move(records), RegionList(options.regions), name, options.chunk_length);
}

}  // namespace dnamamba::io
