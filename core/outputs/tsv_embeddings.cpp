#include <utility>

#include "core/outputs/embedding_formats.h"
#include "core/outputs/float16.h"
#include "core/outputs/row_text.h"
#include "core/outputs/text_output.h"

namespace dnamamba::outputs {
namespace {

class TsvEmbeddings : public EmbeddingWriter {
 public:
  TsvEmbeddings(const std::filesystem::path& path, EmbeddingWriterOptions wanted, Compression compression)
      : EmbeddingWriter(std::move(wanted)), file_(path, options().force, compression), text_(table()) {
    line_ = kRowColumns;
    for (std::int64_t i = 0; i < options().width; ++i) line_ += "\te" + std::to_string(i);
    line_ += '\n';
    file_.append(line_);
  }

 private:
  void write_row(const EmbeddingRow& row, std::span<const std::byte>) override {
    const bool half = options().type == EmbeddingType::kFloat16;
    text_.put(row, line_);
    for (const float value : row.values) {
      line_ += '\t';
      put_number(half ? float_of_half(half_of(value)) : value, line_);
    }
    line_ += '\n';
    file_.append(line_);
  }

  void finish() override { file_.commit(); }

  TextOutput file_;
  RowText text_;
  std::string line_;
};

}  // namespace

std::unique_ptr<EmbeddingWriter> open_tsv_embeddings(const std::filesystem::path& path,
                                                     EmbeddingWriterOptions options) {
  return std::make_unique<TsvEmbeddings>(path, std::move(options), Compression::kNone);
}

std::unique_ptr<EmbeddingWriter> open_tsv_gz_embeddings(const std::filesystem::path& path,
                                                        EmbeddingWriterOptions options) {
  return std::make_unique<TsvEmbeddings>(path, std::move(options), Compression::kBgzf);
}

}  // namespace dnamamba::outputs
