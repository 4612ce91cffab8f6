#include <utility>

#include "core/files/safetensors.h"
#include "core/outputs/embedding_formats.h"
#include "core/outputs/row_columns.h"

namespace dnamamba::outputs {
namespace {

using files::TensorType;

// Bytes first: how many there are of `embeddings` is known last, and the integers behind them must be aligned. The
// last names are followed by zeros for that.
std::vector<files::SafetensorsWriter::Part> parts_of(const EmbeddingWriterOptions& options) {
  const bool half = options.type == EmbeddingType::kFloat16;
  return {{"embeddings", half ? TensorType::kFloat16 : TensorType::kFloat32, {options.width}},
          {"strand", TensorType::kUint8, {}},
          {"record_names", TensorType::kUint8, {}},
          {"record", TensorType::kInt64, {}},
          {"start", TensorType::kInt64, {}},
          {"end", TensorType::kInt64, {}},
          {"record_name_offsets", TensorType::kInt64, {}},
          {"record_lengths", TensorType::kInt64, {}}};
}

// The embeddings go straight into the file; the small columns wait in spools until they have ended.
class SafetensorsEmbeddings : public EmbeddingWriter {
 public:
  SafetensorsEmbeddings(const std::filesystem::path& path, EmbeddingWriterOptions wanted)
      : EmbeddingWriter(std::move(wanted)),
        file_(path, options().force, parts_of(options()), {{"metadata", options().metadata}}) {}

 private:
  void write_row(const EmbeddingRow& row, std::span<const std::byte> elements) override {
    file_.append(elements);
    columns_.append(row);
  }

  void finish() override {
    write_part(columns_.strand);
    write_part(table().names());
    const std::string zeros(static_cast<std::size_t>((8 - file_.size() % 8) % 8), '\0');
    file_.append(std::as_bytes(std::span(zeros)));
    write_part(columns_.record);
    write_part(columns_.start);
    write_part(columns_.end);
    write_part(table().offsets());
    write_part(table().lengths());
    file_.commit();
  }

  void write_part(const files::Spool& spool) {
    file_.next_part();
    spool.read_all([&](std::span<const std::byte> piece) { file_.append(piece); });
  }

  files::SafetensorsWriter file_;
  RowColumns columns_;
};

}  // namespace

std::unique_ptr<EmbeddingWriter> open_safetensors_embeddings(const std::filesystem::path& path,
                                                             EmbeddingWriterOptions options) {
  return std::make_unique<SafetensorsEmbeddings>(path, std::move(options));
}

}  // namespace dnamamba::outputs
