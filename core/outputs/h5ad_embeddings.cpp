// AnnData on disk, as https://anndata.readthedocs.io/en/stable/fileformat-prose.html says.
#include <utility>

#include "core/files/hdf5_writer.h"
#include "core/outputs/embedding_formats.h"
#include "core/outputs/unique_names.h"

namespace dnamamba::outputs {
namespace {

using files::Hdf5Numbers;
using files::Hdf5Strings;
using files::TensorType;

constexpr std::string_view kStrands = "+-.";

std::string text_of_number(std::int64_t number, const char* before = "") {
  return before + std::to_string(number);
}

// A file with the groups that every AnnData has.
class AnnDataFile : public files::Hdf5Writer {
 public:
  AnnDataFile(const std::filesystem::path& path, bool force) : Hdf5Writer(path, force) {
    encode("/", "anndata", "0.1.0");
    for (const char* name : {"layers", "obsm", "obsp", "uns", "varm", "varp"}) {
      make_group(name);
      encode(name, "dict", "0.1.0");
    }
    make_frame("obs", "_index", {"record", "start", "end", "strand"});
    make_frame("var", "_index", {});
    make_frame("uns/records", "name", {"length"});
    make_categorical("obs/record");
    make_categorical("obs/strand");
  }

  void encode(const std::string& object, const char* type, const char* version) {
    set_attribute(object, "encoding-type", std::string(type));
    set_attribute(object, "encoding-version", std::string(version));
  }

 private:
  void make_frame(const std::string& path, const std::string& index, const std::vector<std::string>& columns) {
    make_group(path);
    encode(path, "dataframe", "0.2.0");
    set_attribute(path, "_index", index);
    set_attribute(path, "column-order", columns);
  }

  void make_categorical(const std::string& path) {
    make_group(path);
    encode(path, "categorical", "0.2.0");
    set_attribute(path, "ordered", false);
  }
};

class Numbers : public Hdf5Numbers {
 public:
  Numbers(AnnDataFile& file, const std::string& path, TensorType type, const std::vector<std::int64_t>& row_shape = {})
      : Hdf5Numbers(file, path, type, row_shape) {
    file.encode(path, "array", "0.2.0");
  }
};

class Strings : public Hdf5Strings {
 public:
  Strings(AnnDataFile& file, const std::string& path) : Hdf5Strings(file, path) {
    file.encode(path, "string-array", "0.2.0");
  }
};

// What belongs to a row is written with it, what belongs to a record at the end.
class H5adEmbeddings : public EmbeddingWriter {
 public:
  H5adEmbeddings(const std::filesystem::path& path, EmbeddingWriterOptions wanted)
      : EmbeddingWriter(std::move(wanted)),
        file_(path, options().force),
        embeddings_(file_, "X", options().type == EmbeddingType::kFloat16 ? TensorType::kFloat16 : TensorType::kFloat32,
                    {options().width}),
        index_(file_, "obs/_index"),
        record_(file_, "obs/record/codes", TensorType::kInt64),
        start_(file_, "obs/start", TensorType::kInt64),
        end_(file_, "obs/end", TensorType::kInt64),
        strand_(file_, "obs/strand/codes", TensorType::kInt8) {}

 private:
  void write_row(const EmbeddingRow& row, std::span<const std::byte> elements) override {
    embeddings_.append(elements);
    index_.append(text_of_number(rows()));
    record_.append(row.record);
    start_.append(row.start);
    end_.append(row.end);
    strand_.append(static_cast<std::int8_t>(kStrands.find(row.strand)));
  }

  void finish() override {
    embeddings_.close();
    index_.close();
    for (Numbers* column : {&record_, &start_, &end_, &strand_}) column->close();
    write_variables();
    write_categories();
    write_records();
    file_.write_text("uns/metadata", options().metadata);
    file_.encode("uns/metadata", "string", "0.2.0");
    file_.commit();
  }

  void write_variables() {
    Strings names(file_, "var/_index");
    for (std::int64_t i = 0; i < options().width; ++i) names.append(text_of_number(i, "e"));
    names.close();
  }

  // Pandas takes no category twice.
  void write_categories() {
    Strings strands(file_, "obs/strand/categories");
    for (const char strand : kStrands) strands.append(std::string_view(&strand, 1));
    strands.close();
    const UniqueNames unique(table());
    Strings records(file_, "obs/record/categories");
    for (std::int64_t i = 0; i < table().count(); ++i) records.append(unique.name(i));
    records.close();
  }

  void write_records() {
    Strings names(file_, "uns/records/name");
    for (std::int64_t i = 0; i < table().count(); ++i) names.append(utf8_of(table().name(i)));
    names.close();
    Numbers lengths(file_, "uns/records/length", TensorType::kInt64);
    for (std::int64_t i = 0; i < table().count(); ++i) lengths.append(table().length(i));
    lengths.close();
  }

  AnnDataFile file_;
  Numbers embeddings_;
  Strings index_;
  Numbers record_;
  Numbers start_;
  Numbers end_;
  Numbers strand_;
};

}  // namespace

std::unique_ptr<EmbeddingWriter> open_h5ad_embeddings(const std::filesystem::path& path,
                                                      EmbeddingWriterOptions options) {
  return std::make_unique<H5adEmbeddings>(path, std::move(options));
}

}  // namespace dnamamba::outputs
