#include "core/io/sequence_reader.h"

#include <utility>

#include "core/base/error.h"
#include "core/base/stop.h"
#include "core/io/open_source.h"
#include "core/io/sequence_source.h"

namespace dnamamba::io {

std::string_view format_name(SequenceFormat format) {
  switch (format) {
    case SequenceFormat::kFasta:
      return "FASTA";
    case SequenceFormat::kFastq:
      return "FASTQ";
    case SequenceFormat::kSam:
      return "SAM";
    case SequenceFormat::kBam:
      return "BAM";
    case SequenceFormat::kCram:
      return "CRAM";
  }
  return "";
}

SequenceReader::SequenceReader(const std::string& path, const SequenceReaderOptions& options) {
  if (options.chunk_length < 1) throw base::UsageError("the chunk length must be at least 1 base");
  if (options.decompression_threads < 0)
    throw base::UsageError("the number of decompression threads can't be negative");
  source_ = open_source(path, options);
}
SequenceReader::~SequenceReader() = default;
SequenceReader::SequenceReader(SequenceReader&&) noexcept = default;
SequenceReader& SequenceReader::operator=(SequenceReader&&) noexcept = default;

std::optional<SequenceChunk> SequenceReader::next() {
  base::throw_if_stopped();
  if (failure_) std::rethrow_exception(failure_);  // what failed must not pass for an end afterwards
  try {
    std::optional<SequenceChunk> chunk = source_->next();
    if (chunk && chunk->ends_record) ++records_read_;
    return chunk;
  } catch (...) {
    failure_ = std::current_exception();
    throw;
  }
}

SequenceFormat SequenceReader::format() const {
  return source_->format();
}
std::int64_t SequenceReader::left_out() const {
  return source_->left_out();
}
ReadProgress SequenceReader::progress() const {
  return source_->progress();
}

}  // namespace dnamamba::io
