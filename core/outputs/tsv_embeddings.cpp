#include <charconv>
#include <cmath>
#include <optional>
#include <utility>

#include "core/files/atomic_file.h"
#include "core/files/bgzf_writer.h"
#include "core/outputs/embedding_formats.h"
#include "core/outputs/float16.h"
#include "core/outputs/row_text.h"

namespace dnamamba::outputs {
namespace {

// The fewest digits that give the same float32 when read back.
void put_number(float value, std::string& line) {
  if (std::isnan(value)) {
    line += "nan";  // to_chars may write a sign
    return;
  }
  char digits[32];
  line.append(digits, std::to_chars(digits, digits + sizeof(digits), value).ptr);
}

enum class Compression { kNone, kBgzf };

class TsvEmbeddings : public EmbeddingWriter {
 public:
  TsvEmbeddings(const std::filesystem::path& path, EmbeddingWriterOptions wanted, Compression compression)
      : EmbeddingWriter(std::move(wanted)),
        file_(path == "-" ? files::AtomicFile::standard_output() : files::AtomicFile(path, options().force)),
        text_(table()) {
    if (compression == Compression::kBgzf) bgzf_.emplace(file_);
    line_ = kRowColumns;
    for (std::int64_t i = 0; i < options().width; ++i) line_ += "\te" + std::to_string(i);
    line_ += '\n';
    append_line();
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
    append_line();
  }

  void finish() override {
    if (bgzf_) bgzf_->finish();
    file_.commit();
  }

  void append_line() {
    if (bgzf_) {
      bgzf_->append(line_);
    } else {
      file_.append(line_);
    }
  }

  files::AtomicFile file_;
  std::optional<files::BgzfWriter> bgzf_;  // into file_, if compressed
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
