#include <utility>

#include "core/files/atomic_file.h"
#include "core/files/npy.h"
#include "core/outputs/embedding_formats.h"
#include "core/outputs/row_text.h"

namespace dnamamba::outputs {
namespace {

std::filesystem::path index_beside(std::filesystem::path path) {
  if (path.extension() == ".npy") return path.replace_extension(".tsv");
  return path += ".tsv";
}

class NpyEmbeddings : public EmbeddingWriter {
 public:
  NpyEmbeddings(const std::filesystem::path& path, EmbeddingWriterOptions wanted)
      : EmbeddingWriter(std::move(wanted)),
        array_(path, options().force, options().type == EmbeddingType::kFloat16 ? "<f2" : "<f4", {options().width}),
        index_(index_beside(path), options().force),
        text_(table()) {
    index_.append(std::string(kRowColumns) + "\n");
  }

 private:
  void write_row(const EmbeddingRow& row, std::span<const std::byte> elements) override {
    array_.append(elements);
    text_.put(row, line_);
    line_ += '\n';
    index_.append(line_);
  }

  void finish() override {
    index_.sync();  // from here on it needs no more space, so that both files appear or neither
    array_.commit();
    index_.commit();
  }

  files::NpyWriter array_;
  files::AtomicFile index_;
  RowText text_;
  std::string line_;
};

}  // namespace

std::unique_ptr<EmbeddingWriter> open_npy_embeddings(const std::filesystem::path& path,
                                                     EmbeddingWriterOptions options) {
  return std::make_unique<NpyEmbeddings>(path, std::move(options));
}

}  // namespace dnamamba::outputs
