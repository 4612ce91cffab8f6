// Parquet by Apache Arrow, as a module of its own.
#include <arrow/array/builder_binary.h>
#include <arrow/array/builder_dict.h>
#include <arrow/array/builder_nested.h>
#include <arrow/array/builder_primitive.h>
#include <arrow/buffer_builder.h>
#include <arrow/io/interfaces.h>
#include <arrow/table.h>
#include <arrow/util/key_value_metadata.h>
#include <parquet/arrow/writer.h>

#include <algorithm>
#include <exception>
#include <utility>

#include "core/base/error.h"
#include "core/files/atomic_file.h"
#include "core/outputs/embedding_formats.h"
#include "core/outputs/unique_names.h"

namespace dnamamba::outputs {
namespace {

constexpr std::int64_t kGroupBytes = std::int64_t{8} << 20;  // of embeddings, in a row group
constexpr std::int64_t kGroupRows = std::int64_t{1} << 17;   // at most

// An AtomicFile as Arrow wants it. What a write throws is kept, as it says more than a Status.
class Sink : public arrow::io::OutputStream {
 public:
  explicit Sink(files::AtomicFile& file) : file_(file) {}

  arrow::Status Write(const void* bytes, std::int64_t size) override {
    try {
      file_.append({static_cast<const std::byte*>(bytes), static_cast<std::size_t>(size)});
      return arrow::Status::OK();
    } catch (const std::exception& error) {
      if (!failure_) failure_ = std::current_exception();
      return arrow::Status::IOError(error.what());
    }
  }
  arrow::Result<std::int64_t> Tell() const override { return file_.size(); }
  arrow::Status Close() override { return arrow::Status::OK(); }
  bool closed() const override { return false; }

  /// @throws what a write threw, or base::Error with Arrow's words.
  void check(const arrow::Status& status) const {
    if (status.ok()) return;
    if (failure_) std::rethrow_exception(failure_);
    throw base::Error(base::concat(file_.target().string(), ": Arrow says: ", status.message()));
  }

 private:
  files::AtomicFile& file_;
  std::exception_ptr failure_;
};

std::shared_ptr<arrow::Schema> schema_of(const EmbeddingWriterOptions& options) {
  const auto element = options.type == EmbeddingType::kFloat16 ? arrow::float16() : arrow::float32();
  const auto names = arrow::dictionary(arrow::int32(), arrow::utf8());
  return arrow::schema({arrow::field("record", names, false), arrow::field("record_index", arrow::int64(), false),
                        arrow::field("record_length", arrow::int64()), arrow::field("start", arrow::int64(), false),
                        arrow::field("end", arrow::int64(), false), arrow::field("strand", names, false),
                        arrow::field("embedding",
                                     arrow::fixed_size_list(arrow::field("element", element, false),
                                                            static_cast<std::int32_t>(options.width)),
                                     false)},
                       arrow::key_value_metadata({"metadata"}, {options.metadata}));
}

std::shared_ptr<parquet::WriterProperties> properties() {
  parquet::WriterProperties::Builder builder;
  builder.compression(parquet::Compression::ZSTD)->compression_level(1);
  return builder.disable_dictionary("embedding.list.element")->build();  // hardly two of its numbers are alike
}

// Rows wait until they fill a row group.
class ParquetEmbeddings : public EmbeddingWriter {
 public:
  ParquetEmbeddings(const std::filesystem::path& path, EmbeddingWriterOptions wanted)
      : EmbeddingWriter(std::move(wanted)),
        file_(path, options().force),
        sink_(std::make_shared<Sink>(file_)),
        schema_(schema_of(options())) {
    const auto stored = parquet::ArrowWriterProperties::Builder().store_schema()->build();
    auto writer = parquet::arrow::FileWriter::Open(*schema_, arrow::default_memory_pool(), sink_, properties(), stored);
    sink_->check(writer.status());
    writer_ = std::move(*writer);
  }

 private:
  void write_row(const EmbeddingRow& row, std::span<const std::byte> elements) override {
    if (row.record != record_) {
      record_ = row.record;
      name_ = utf8_of(table().name(record_));
    }
    sink_->check(names_.Append(name_));
    sink_->check(indexes_.Append(row.record));
    const std::int64_t length = table().length(row.record);
    sink_->check(length == kUnknownLength ? lengths_.AppendNull() : lengths_.Append(length));
    sink_->check(starts_.Append(row.start));
    sink_->check(ends_.Append(row.end));
    sink_->check(strands_.Append(std::string_view(&row.strand, 1)));
    sink_->check(elements_.Append(elements.data(), static_cast<std::int64_t>(elements.size())));
    if (++waiting_ == kGroupRows || elements_.length() >= kGroupBytes) write_group();
  }

  void finish() override {
    if (waiting_ > 0) write_group();
    sink_->check(writer_->Close());
    file_.commit();
  }

  void write_group() {
    std::vector<std::shared_ptr<arrow::Array>> columns;
    for (arrow::ArrayBuilder* builder :
         std::initializer_list<arrow::ArrayBuilder*>{&names_, &indexes_, &lengths_, &starts_, &ends_, &strands_})
      sink_->check(builder->Finish(&columns.emplace_back()));
    columns.push_back(embeddings());
    names_.ResetFull();  // the dictionary too: it is a row group's own
    strands_.ResetFull();
    sink_->check(writer_->WriteTable(*arrow::Table::Make(schema_, columns, waiting_), waiting_));
    waiting_ = 0;
  }

  std::shared_ptr<arrow::Array> embeddings() {
    std::shared_ptr<arrow::Buffer> bytes;
    sink_->check(elements_.Finish(&bytes));
    const auto& type = static_cast<const arrow::FixedSizeListType&>(*schema_->field(schema_->num_fields() - 1)->type());
    const auto values =
        arrow::MakeArray(arrow::ArrayData::Make(type.value_type(), waiting_ * options().width, {nullptr, bytes}, 0));
    return arrow::MakeArray(arrow::ArrayData::Make(schema_->field(schema_->num_fields() - 1)->type(), waiting_,
                                                   {nullptr}, {values->data()}, 0));
  }

  files::AtomicFile file_;
  std::shared_ptr<Sink> sink_;
  std::shared_ptr<arrow::Schema> schema_;
  std::unique_ptr<parquet::arrow::FileWriter> writer_;
  std::int64_t record_ = -1;  // of name_: rows of a record mostly follow one another
  std::string name_;
  std::int64_t waiting_ = 0;  // rows
  arrow::StringDictionary32Builder names_;
  arrow::Int64Builder indexes_;
  arrow::Int64Builder lengths_;
  arrow::Int64Builder starts_;
  arrow::Int64Builder ends_;
  arrow::StringDictionary32Builder strands_;
  arrow::BufferBuilder elements_;
};

}  // namespace

extern "C" EmbeddingWriter* dnamamba_open_parquet_embeddings(const std::filesystem::path& path,
                                                             EmbeddingWriterOptions options) {
  return std::make_unique<ParquetEmbeddings>(path, std::move(options)).release();
}

}  // namespace dnamamba::outputs
