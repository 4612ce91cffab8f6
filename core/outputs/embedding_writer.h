// Embeddings to a file: rows of numbers, each with the piece of sequence it stands for. One interface, several formats.
//
//   .npz  (default) arrays, read with numpy.load:
//           embeddings          float32 or float16 [rows, width]
//           record              int64 [rows]        which record, counted from 0 in the order of the input
//           start, end          int64 [rows]        bases of that record, 0-based, end exclusive
//           strand              S1    [rows]        b'+', b'-' or b'.' (both)
//           record_names        uint8 [bytes]       names one after the other, UTF-8
//           record_name_offsets int64 [records + 1] where each begins
//           record_lengths      int64 [records]     bases
//           metadata            uint8 [bytes]       JSON: the model, options and version
//   .npy  the array alone, and beside it NAME.tsv with a line for each row: record name, start, end, strand
//   .safetensors  the arrays of .npz as tensors (strand as uint8), the metadata as "metadata" in __metadata__
//   .h5ad AnnData: embeddings as X, a line of obs for each row, record names and lengths and the metadata in uns
//   .parquet  a line for each row: record name and index, its length, start, end, strand, the values as a list
//   .tsv  a line for each row: record name, start, end, strand, the values; also on standard output ("-")
//   .tsv.gz  the same in BGZF, which is gzip
//
// Names and metadata of an .npz in Python:
//
//   z = numpy.load("embeddings.npz")
//   b, o = z["record_names"].tobytes(), z["record_name_offsets"]
//   names = [b[i:j].decode() for i, j in zip(o, o[1:])]
//   metadata = json.loads(z["metadata"].tobytes())
#pragma once
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/outputs/record_table.h"

namespace dnamamba::outputs {

enum class EmbeddingFormat { kAuto, kNpz, kNpy, kSafetensors, kH5ad, kParquet, kTsv, kTsvGz };
enum class EmbeddingType { kFloat32, kFloat16 };

/// "auto" or a suffix without its first dot: "npz", "tsv.gz" … @throws base::UsageError naming the known ones.
EmbeddingFormat parse_embedding_format(std::string_view text);
/// "float32", "float16". @throws base::UsageError naming the known ones.
EmbeddingType parse_embedding_type(std::string_view text);

struct EmbeddingWriterOptions {
  std::int64_t width = 0;  ///< Values in a row, at least 1.
  EmbeddingType type = EmbeddingType::kFloat32;
  bool force = false;           ///< Replace existing files.
  std::string metadata = "{}";  ///< JSON, UTF-8; in .npy and .tsv there is no place for it.
};

struct EmbeddingRow {
  std::int64_t record = 0;        ///< As add_record() returned it.
  std::int64_t start = 0;         ///< First base in its record, 0-based.
  std::int64_t end = 0;           ///< One past the last base.
  char strand = '+';              ///< '+', '-', or '.' for both.
  std::span<const float> values;  ///< [width]; NaN is written as NaN.
};

/// Rows are written in the order given, in constant memory. Nothing appears under the file's name before close().
/// One thread at a time.
class EmbeddingWriter {
 public:
  static constexpr std::int64_t kUnknownLength = -1;

  virtual ~EmbeddingWriter() = default;
  EmbeddingWriter(const EmbeddingWriter&) = delete;
  EmbeddingWriter& operator=(const EmbeddingWriter&) = delete;

  /// Names a record and gives its index. A length in bases that is not known yet is told by set_record_length() before
  /// close(). Records without rows are kept.
  std::int64_t add_record(std::string_view name, std::int64_t length = kUnknownLength);
  void set_record_length(std::int64_t record, std::int64_t length);

  /// @throws base::IoError, e.g. on a full disk; base::Error if the row's width, record, range or strand is impossible.
  void write(const EmbeddingRow& row);

  /// Makes the file whole and gives it its name. @throws base::IoError: then nothing was left under that name;
  /// base::Error if a record's length was never told.
  void close();

  std::int64_t rows() const { return rows_; }
  std::int64_t records() const { return table_.count(); }
  /// Finite values that were too large for float16 and became infinite.
  std::int64_t overflowed() const { return overflowed_; }

 protected:
  explicit EmbeddingWriter(EmbeddingWriterOptions options);
  const EmbeddingWriterOptions& options() const { return options_; }
  const RecordTable& table() const { return table_; }

 private:
  /// `elements`: the row's values in the type of the options.
  virtual void write_row(const EmbeddingRow& row, std::span<const std::byte> elements) = 0;
  virtual void finish() = 0;
  void require_open() const;
  void require_possible(const EmbeddingRow& row) const;
  std::span<const std::byte> encode(std::span<const float> values);

  EmbeddingWriterOptions options_;
  RecordTable table_;
  std::int64_t unknown_lengths_ = 0;
  std::int64_t rows_ = 0;
  std::int64_t overflowed_ = 0;
  std::vector<std::uint16_t> halves_;  // one row
  bool closed_ = false;
};

/// `path` "-" is standard output (tsv). kAuto goes by the suffix.
/// @throws base::UsageError if the suffix is none of the known ones, or if standard output can't take the format;
///         base::IoError if a file exists without `force`, or its folder is missing.
std::unique_ptr<EmbeddingWriter> open_embedding_writer(const std::filesystem::path& path, EmbeddingFormat format,
                                                       EmbeddingWriterOptions options);

}  // namespace dnamamba::outputs
