#include "core/outputs/embedding_writer.h"

#include <cmath>
#include <utility>

#include "core/base/error.h"
#include "core/outputs/embedding_formats.h"
#include "core/outputs/float16.h"

namespace dnamamba::outputs {
namespace {

using base::concat;
using base::Error;
using base::UsageError;

EmbeddingFormat format_of(const std::filesystem::path& path) {
  if (path == "-") return EmbeddingFormat::kTsv;
  const std::string suffix = path.extension().string();
  if (suffix == ".npz") return EmbeddingFormat::kNpz;
  if (suffix == ".npy") return EmbeddingFormat::kNpy;
  if (suffix == ".tsv") return EmbeddingFormat::kTsv;
  throw UsageError(concat(path.string(), ": suffix '", suffix,
                          "' names no format for embeddings; use .npz, .npy or .tsv, ",
                          "or say --format npz, npy or tsv"));
}

}  // namespace

EmbeddingFormat parse_embedding_format(std::string_view text) {
  if (text == "auto") return EmbeddingFormat::kAuto;
  if (text == "npz") return EmbeddingFormat::kNpz;
  if (text == "npy") return EmbeddingFormat::kNpy;
  if (text == "tsv") return EmbeddingFormat::kTsv;
  throw UsageError(concat("format '", text, "' is unknown; use auto, npz, npy or tsv"));
}

EmbeddingType parse_embedding_type(std::string_view text) {
  if (text == "float32") return EmbeddingType::kFloat32;
  if (text == "float16") return EmbeddingType::kFloat16;
  throw UsageError(concat("type '", text, "' is unknown; use float32 or float16"));
}

EmbeddingWriter::EmbeddingWriter(EmbeddingWriterOptions options) : options_(std::move(options)) {
  if (options_.width < 1) throw Error(concat("embeddings of width ", options_.width));
}

std::int64_t EmbeddingWriter::add_record(std::string_view name, std::int64_t length) {
  require_open();
  const std::int64_t record = table_.add(name, kUnknownLength);
  ++unknown_lengths_;
  if (length != kUnknownLength) set_record_length(record, length);
  return record;
}

void EmbeddingWriter::set_record_length(std::int64_t record, std::int64_t length) {
  require_open();
  if (record < 0 || record >= table_.count() || length < 0)
    throw Error(concat("length ", length, " for record ", record, " of ", table_.count()));
  if (table_.length(record) == kUnknownLength) --unknown_lengths_;
  table_.set_length(record, length);
}

void EmbeddingWriter::write(const EmbeddingRow& row) {
  require_open();
  require_possible(row);
  write_row(row, encode(row.values));
  ++rows_;
}

void EmbeddingWriter::close() {
  require_open();
  if (unknown_lengths_ > 0) throw Error(concat(unknown_lengths_, " records were never given a length"));
  closed_ = true;
  finish();
}

void EmbeddingWriter::require_open() const {
  if (closed_) throw Error("embeddings: the writer is closed");
}

void EmbeddingWriter::require_possible(const EmbeddingRow& row) const {
  const bool strand = row.strand == '+' || row.strand == '-' || row.strand == '.';
  if (row.record < 0 || row.record >= table_.count() || row.start < 0 || row.end < row.start || !strand)
    throw Error(concat("embeddings: record ", row.record, " of ", table_.count(), ", bases ", row.start, " to ",
                       row.end, ", strand ", row.strand, " is impossible"));
  if (static_cast<std::int64_t>(row.values.size()) != options_.width)
    throw Error(concat("embeddings: a row of ", row.values.size(), " values, expected ", options_.width));
}

std::span<const std::byte> EmbeddingWriter::encode(std::span<const float> values) {
  if (options_.type == EmbeddingType::kFloat32) return std::as_bytes(values);
  halves_.clear();
  for (const float value : values) {
    halves_.push_back(half_of(value));
    if (is_infinite_half(halves_.back()) && std::isfinite(value)) ++overflowed_;
  }
  return std::as_bytes(std::span(halves_));
}

std::unique_ptr<EmbeddingWriter> open_embedding_writer(const std::filesystem::path& path, EmbeddingFormat format,
                                                       EmbeddingWriterOptions options) {
  if (format == EmbeddingFormat::kAuto) format = format_of(path);
  if (path == "-" && format != EmbeddingFormat::kTsv)
    throw UsageError("standard output takes embeddings as tsv only; name a file for npz and npy");
  switch (format) {
    case EmbeddingFormat::kNpy:
      return open_npy_embeddings(path, std::move(options));
    case EmbeddingFormat::kTsv:
      return open_tsv_embeddings(path, std::move(options));
    case EmbeddingFormat::kNpz:
    case EmbeddingFormat::kAuto:
      break;
  }
  return open_npz_embeddings(path, std::move(options));
}

}  // namespace dnamamba::outputs
