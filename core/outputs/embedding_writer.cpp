#include "core/outputs/embedding_writer.h"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <utility>

#include "core/base/error.h"
#include "core/outputs/embedding_formats.h"
#include "core/outputs/float16.h"

namespace dnamamba::outputs {
namespace {

using base::concat;
using base::Error;
using base::UsageError;

struct Format {
  std::string_view word;  // for --format; a dot before it makes the suffix
  EmbeddingFormat format;
  std::unique_ptr<EmbeddingWriter> (*open)(const std::filesystem::path& path, EmbeddingWriterOptions options);
  bool streams = false;  // is written front to back, as standard output must be
};

constexpr Format kFormats[] = {
    {.word = "npz", .format = EmbeddingFormat::kNpz, .open = open_npz_embeddings},
    {.word = "npy", .format = EmbeddingFormat::kNpy, .open = open_npy_embeddings},
    {.word = "safetensors", .format = EmbeddingFormat::kSafetensors, .open = open_safetensors_embeddings},
    {.word = "h5ad", .format = EmbeddingFormat::kH5ad, .open = open_h5ad_embeddings},
    {.word = "parquet", .format = EmbeddingFormat::kParquet, .open = open_parquet_embeddings},
    {.word = "tsv", .format = EmbeddingFormat::kTsv, .open = open_tsv_embeddings, .streams = true},
    {.word = "tsv.gz", .format = EmbeddingFormat::kTsvGz, .open = open_tsv_gz_embeddings, .streams = true},
};

// "npz, npy or tsv", each with `before` in front.
std::string listed_words(std::string_view before) {
  std::string list;
  for (const Format& known : kFormats)
    list += concat(&known == kFormats ? "" : &known == std::end(kFormats) - 1 ? " or " : ", ", before, known.word);
  return list;
}

EmbeddingFormat format_of(const std::filesystem::path& path) {
  if (path == "-") return EmbeddingFormat::kTsv;
  const std::string name = path.filename().string();
  for (const Format& known : kFormats)
    if (name.ends_with(concat(".", known.word))) return known.format;
  throw UsageError(concat(path.string(), ": suffix '", path.extension().string(),
                          "' names no format for embeddings; use ", listed_words("."), ", or say --format ",
                          listed_words("")));
}

}  // namespace

EmbeddingFormat parse_embedding_format(std::string_view text) {
  if (text == "auto") return EmbeddingFormat::kAuto;
  for (const Format& known : kFormats)
    if (text == known.word) return known.format;
  throw UsageError(concat("format '", text, "' is unknown; use auto, ", listed_words("")));
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
  const auto* known =
      std::find_if(std::begin(kFormats), std::end(kFormats), [&](const Format& one) { return one.format == format; });
  if (known == std::end(kFormats)) throw Error("embeddings in an unknown format");
  if (path == "-" && !known->streams)
    throw UsageError(concat("standard output takes embeddings as tsv or tsv.gz only; name a file for ", known->word));
  return known->open(path, std::move(options));
}

}  // namespace dnamamba::outputs
