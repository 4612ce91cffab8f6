#include <utility>

#include "core/files/npz.h"
#include "core/outputs/embedding_formats.h"
#include "core/outputs/row_columns.h"

namespace dnamamba::outputs {
namespace {

// The embeddings go straight into the archive; the small columns wait in spools until they have ended.
class NpzEmbeddings : public EmbeddingWriter {
 public:
  NpzEmbeddings(const std::filesystem::path& path, EmbeddingWriterOptions wanted)
      : EmbeddingWriter(std::move(wanted)), npz_(path, options().force) {
    npz_.begin_array("embeddings", options().type == EmbeddingType::kFloat16 ? "<f2" : "<f4", {options().width});
  }

 private:
  void write_row(const EmbeddingRow& row, std::span<const std::byte> elements) override {
    npz_.append(elements);
    columns_.append(row);
  }

  void finish() override {
    npz_.end_array();
    write_column("record", "<i8", columns_.record);
    write_column("start", "<i8", columns_.start);
    write_column("end", "<i8", columns_.end);
    write_column("strand", "|S1", columns_.strand);
    write_column("record_names", "|u1", table().names());
    write_column("record_name_offsets", "<i8", table().offsets());
    write_column("record_lengths", "<i8", table().lengths());
    npz_.begin_array("metadata", "|u1", {});
    npz_.append(std::as_bytes(std::span(options().metadata)));
    npz_.end_array();
    npz_.commit();
  }

  void write_column(const char* name, const char* descr, const files::Spool& spool) {
    npz_.begin_array(name, descr, {});
    spool.read_all([&](std::span<const std::byte> piece) { npz_.append(piece); });
    npz_.end_array();
  }

  files::NpzWriter npz_;
  RowColumns columns_;
};

}  // namespace

std::unique_ptr<EmbeddingWriter> open_npz_embeddings(const std::filesystem::path& path,
                                                     EmbeddingWriterOptions options) {
  return std::make_unique<NpzEmbeddings>(path, std::move(options));
}

}  // namespace dnamamba::outputs
