#include "core/outputs/embedding_writer.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <bit>
#include <cmath>
#include <csignal>
#include <cstring>
#include <limits>
#include <random>
#include <sstream>
#include <thread>

#include "core/base/error.h"
#include "core/files/byte_source.h"
#include "core/files/npz.h"
#include "core/files/safetensors.h"
#include "core/outputs/float16.h"
#include "tests/support/file_size_limit.h"
#include "tests/support/python.h"
#include "tests/support/resident_memory.h"
#include "tests/support/temp_dir.h"
#include "tests/support/throws.h"

// Freed memory that the sanitizer keeps from being used again would look like memory that grows with the rows.
extern "C" const char* __asan_default_options();
extern "C" const char* __asan_default_options() {
  return "quarantine_size_mb=4";
}

// HDF5 keeps the memory of a file that it could not write to the end.
extern "C" const char* __lsan_default_suppressions();
extern "C" const char* __lsan_default_suppressions() {
  return "leak:libhdf5";
}

namespace dnamamba::outputs {
namespace {

namespace fs = std::filesystem;
using base::IoError;
using base::UsageError;
using test::content_of;
using test::error_text;
using test::TempDir;
using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr const char* kNames[] = {"a.npz",
                                  "b.npy",
                                  "c.tsv",
                                  "d.tsv.gz",
                                  "e.safetensors",
                                  "f.h5ad"
#ifdef DNAMAMBA_PARQUET
                                  ,
                                  "g.parquet"
#endif
};  // one of each format that this build has
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

EmbeddingWriterOptions options_of(std::int64_t width, EmbeddingType type = EmbeddingType::kFloat32) {
  EmbeddingWriterOptions options;
  options.width = width;
  options.type = type;
  options.metadata = R"({"model":"small"})";
  return options;
}

// Two records with rows, one without, written to `path`.
std::int64_t write_sample(const std::string& path, EmbeddingType type = EmbeddingType::kFloat32,
                          EmbeddingFormat format = EmbeddingFormat::kAuto) {
  const auto writer = open_embedding_writer(path, format, options_of(3, type));
  const std::int64_t first = writer->add_record("chr1");
  const float a[] = {0.1f, -2.5f, 1e-8f};
  const float b[] = {kNan, kNan, kNan};
  const float c[] = {70000.0f, 3.4028235e38f, 1.0f};
  writer->write({first, 0, 1000, '+', a});
  writer->write({first, 1000, std::int64_t{5} << 32, '-', b});
  writer->set_record_length(first, std::int64_t{5} << 32);
  writer->add_record("empty", 0);
  const std::int64_t third = writer->add_record("plasmid", 12);
  writer->write({third, 3, 12, '.', c});
  EXPECT_EQ(writer->rows(), 3);
  EXPECT_EQ(writer->records(), 3);
  writer->close();
  return writer->overflowed();
}

template <typename T>
std::vector<T> values_of(const files::StoredTensor& tensor) {
  std::vector<T> values(static_cast<std::size_t>(tensor.size) / sizeof(T));
  std::memcpy(values.data(), tensor.elements.get(), static_cast<std::size_t>(tensor.size));
  return values;
}

template <typename T>
std::vector<T> values_of(const files::NpyArray& array) {
  std::vector<T> values(array.elements.size() / sizeof(T));
  std::memcpy(values.data(), array.elements.data(), array.elements.size());
  return values;
}

TEST(EmbeddingWriter, NpzHoldsRowsAndTheirPlaces) {
  const TempDir folder;
  EXPECT_EQ(write_sample(folder.file("a.npz")), 0);
  const auto arrays = files::read_npz(folder.file("a.npz"));
  EXPECT_EQ(arrays.at("embeddings").header.shape, (std::vector<std::int64_t>{3, 3}));
  const auto values = values_of<float>(arrays.at("embeddings"));
  EXPECT_EQ(values[1], -2.5f);
  EXPECT_TRUE(std::isnan(values[3]));
  EXPECT_EQ(values[7], 3.4028235e38f);
  EXPECT_EQ(values_of<std::int64_t>(arrays.at("record")), (std::vector<std::int64_t>{0, 0, 2}));
  EXPECT_EQ(values_of<std::int64_t>(arrays.at("start")), (std::vector<std::int64_t>{0, 1000, 3}));
  EXPECT_EQ(values_of<std::int64_t>(arrays.at("end")), (std::vector<std::int64_t>{1000, std::int64_t{5} << 32, 12}));
  EXPECT_EQ(values_of<char>(arrays.at("strand")), (std::vector<char>{'+', '-', '.'}));
  EXPECT_EQ(values_of<std::int64_t>(arrays.at("record_lengths")),
            (std::vector<std::int64_t>{std::int64_t{5} << 32, 0, 12}));
  EXPECT_EQ(values_of<std::int64_t>(arrays.at("record_name_offsets")), (std::vector<std::int64_t>{0, 4, 9, 16}));
}

TEST(EmbeddingWriter, NumpyReadsAllOfIt) {
  DNAMAMBA_REQUIRE_PYTHON("numpy");
  const TempDir folder;
  write_sample(folder.file("a.npz"));
  write_sample(folder.file("h.npz"), EmbeddingType::kFloat16);
  write_sample(folder.file("b.npy"));
  write_sample(folder.file("c.tsv"));
  const auto result = test::run_python(R"(
import json, sys, numpy as np
folder = sys.argv[1]
z = np.load(folder + "/a.npz")
b, o = z["record_names"].tobytes(), z["record_name_offsets"]
names = [b[i:j].decode() for i, j in zip(o, o[1:])]
assert names == ["chr1", "empty", "plasmid"]
assert json.loads(z["metadata"].tobytes()) == {"model": "small"}
assert z["embeddings"].dtype == np.float32 and z["strand"].tolist() == [b"+", b"-", b"."]
assert z["end"].tolist() == [1000, 5 << 32, 12] and np.isnan(z["embeddings"][1]).all()
with np.errstate(over="ignore"):
    assert np.array_equal(np.load(folder + "/h.npz")["embeddings"], z["embeddings"].astype(np.float16), equal_nan=True)
assert np.array_equal(np.load(folder + "/b.npy", mmap_mode="r"), z["embeddings"], equal_nan=True)
t = np.loadtxt(folder + "/c.tsv", usecols=(4, 5, 6), skiprows=1, dtype=np.float32)
assert np.array_equal(t, z["embeddings"], equal_nan=True)
)",
                                       {folder.path().string()});
  EXPECT_EQ(result.status, 0) << result.output;
}

TEST(EmbeddingWriter, CompressedTsvHasTheSameLinesAndTheMarkOfItsEnd) {
  DNAMAMBA_REQUIRE_PYTHON("numpy");
  const TempDir folder;
  write_sample(folder.file("a.tsv"));
  write_sample(folder.file("b.tsv.gz"));
  write_sample(folder.file("c"), EmbeddingType::kFloat32, EmbeddingFormat::kTsvGz);
  EXPECT_EQ(content_of(folder.file("b.tsv.gz")), content_of(folder.file("c")));
  const auto result = test::run_python(R"(
import gzip, sys
folder = sys.argv[1]
assert gzip.open(folder + "/b.tsv.gz").read() == open(folder + "/a.tsv", "rb").read()
marked = bytes.fromhex("1f8b08040000000000ff0600424302001b0003000000000000000000")
assert open(folder + "/b.tsv.gz", "rb").read().endswith(marked)
)",
                                       {folder.path().string()});
  EXPECT_EQ(result.status, 0) << result.output;
}

TEST(EmbeddingWriter, ManyBlocksOfCompressedTsvReadBack) {
  const TempDir folder;
  std::string text;
  {
    const auto writer = open_embedding_writer(folder.file("a.tsv.gz"), EmbeddingFormat::kAuto, options_of(10));
    const auto plain = open_embedding_writer(folder.file("a.tsv"), EmbeddingFormat::kAuto, options_of(10));
    for (EmbeddingWriter* one : {writer.get(), plain.get()}) {
      one->add_record("r", 20'000);
      for (int i = 0; i < 20'000; ++i) {
        const std::vector<float> values(10, 1.0f / static_cast<float>(i + 1));
        one->write({0, i, i + 1, '+', values});
      }
      one->close();
    }
  }
  files::ByteSource source(folder.file("a.tsv.gz"));
  std::vector<char> piece(1 << 16);
  while (const std::size_t got = source.read(piece.data(), piece.size())) text.append(piece.data(), got);
  EXPECT_EQ(text, content_of(folder.file("a.tsv")));
}

TEST(EmbeddingWriter, SafetensorsHoldsRowsAndTheirPlaces) {
  const TempDir folder;
  write_sample(folder.file("a.safetensors"));
  const auto content = files::read_safetensors(folder.file("a.safetensors"));
  EXPECT_EQ(content.metadata.at("metadata"), R"({"model":"small"})");
  const auto& tensors = content.tensors;
  EXPECT_EQ(tensors.at("embeddings").shape, (std::vector<std::int64_t>{3, 3}));
  const auto values = values_of<float>(tensors.at("embeddings"));
  EXPECT_EQ(values[1], -2.5f);
  EXPECT_TRUE(std::isnan(values[3]));
  EXPECT_EQ(values[7], 3.4028235e38f);
  EXPECT_EQ(values_of<std::int64_t>(tensors.at("record")), (std::vector<std::int64_t>{0, 0, 2}));
  EXPECT_EQ(values_of<std::int64_t>(tensors.at("start")), (std::vector<std::int64_t>{0, 1000, 3}));
  EXPECT_EQ(values_of<std::int64_t>(tensors.at("end")), (std::vector<std::int64_t>{1000, std::int64_t{5} << 32, 12}));
  EXPECT_EQ(values_of<char>(tensors.at("strand")), (std::vector<char>{'+', '-', '.'}));
  EXPECT_EQ(values_of<std::int64_t>(tensors.at("record_lengths")),
            (std::vector<std::int64_t>{std::int64_t{5} << 32, 0, 12}));
  EXPECT_EQ(values_of<std::int64_t>(tensors.at("record_name_offsets")), (std::vector<std::int64_t>{0, 4, 9, 16}));
  const auto names = values_of<char>(tensors.at("record_names"));
  EXPECT_EQ(std::string(names.data(), 16), "chr1emptyplasmid");
}

// PyTorch refuses tensors that do not begin at a multiple of their element's size.
TEST(EmbeddingWriter, TensorsAreAlignedWhateverTheRows) {
  const TempDir folder;
  for (int rows = 0; rows < 9; ++rows) {
    const std::string path = folder.file(base::concat(rows, ".safetensors"));
    const auto writer = open_embedding_writer(path, EmbeddingFormat::kAuto, options_of(1, EmbeddingType::kFloat16));
    writer->add_record(std::string(static_cast<std::size_t>(rows), 'n'), rows);
    const float value[] = {1};
    for (int i = 0; i < rows; ++i) writer->write({0, i, i + 1, '+', value});
    writer->close();
    const auto header = files::read_safetensors_header(path);
    for (const auto& [name, entry] : header.entries)
      EXPECT_EQ(entry.offset % files::element_size(entry.type), 0) << name << ", rows " << rows;
  }
}

TEST(EmbeddingWriter, SafetensorsOfPythonReadsAllOfIt) {
  DNAMAMBA_REQUIRE_PYTHON("safetensors, numpy, torch");
  const TempDir folder;
  write_sample(folder.file("a.safetensors"));
  write_sample(folder.file("h.safetensors"), EmbeddingType::kFloat16);
  write_sample(folder.file("a.npz"));
  open_embedding_writer(folder.file("empty.safetensors"), EmbeddingFormat::kAuto, options_of(4))->close();
  const auto result = test::run_python(R"(
import json, sys, numpy as np, torch
from safetensors import safe_open
from safetensors.torch import load_file
folder = sys.argv[1]
z = np.load(folder + "/a.npz")
with safe_open(folder + "/a.safetensors", "np") as f:
    assert json.loads(f.metadata()["metadata"]) == {"model": "small"}
    for name in ("embeddings", "record", "start", "end", "record_name_offsets", "record_lengths"):
        t = f.get_tensor(name)
        assert t.dtype == z[name].dtype and np.array_equal(t, z[name], equal_nan=name == "embeddings"), name
    assert f.get_tensor("strand").tobytes() == b"+-."
    b, o = f.get_tensor("record_names").tobytes(), f.get_tensor("record_name_offsets")
    assert [b[i:j].decode() for i, j in zip(o, o[1:])] == ["chr1", "empty", "plasmid"]
    assert np.isnan(f.get_slice("embeddings")[1:2]).all()
half = load_file(folder + "/h.safetensors")
assert half["embeddings"].dtype == torch.float16 and half["end"].tolist() == [1000, 5 << 32, 12]
empty = load_file(folder + "/empty.safetensors")
assert empty["embeddings"].shape == (0, 4) and empty["record_name_offsets"].tolist() == [0]
)",
                                       {folder.path().string()});
  EXPECT_EQ(result.status, 0) << result.output;
}

// What a reader of .h5ad could stumble over: rows beyond a chunk, names that repeat, are long or are no UTF-8.
void write_awkward_sample(const std::string& path) {
  const auto writer = open_embedding_writer(path, EmbeddingFormat::kAuto, options_of(5));
  for (const std::string& name : {std::string("read"), std::string(10'000, 'x'), std::string("read"),
                                  std::string("read#2"), std::string("\xe9t\xe9"), std::string()})
    writer->add_record(name, 7);
  for (int i = 0; i < 5000; ++i) {
    const std::vector<float> values(5, static_cast<float>(i));
    writer->write({i % 6, i, i + 7, '-', values});
  }
  writer->close();
}

TEST(EmbeddingWriter, AnndataReadsAllOfIt) {
  DNAMAMBA_REQUIRE_PYTHON("anndata, h5py");
  const TempDir folder;
  write_sample(folder.file("a.h5ad"));
  EXPECT_EQ(write_sample(folder.file("h.h5ad"), EmbeddingType::kFloat16), 2);
  write_sample(folder.file("a.npz"));
  write_awkward_sample(folder.file("awkward.h5ad"));
  open_embedding_writer(folder.file("empty.h5ad"), EmbeddingFormat::kAuto, options_of(4))->close();
  const auto result = test::run_python(R"(
import json, sys, warnings, anndata, numpy as np
warnings.simplefilter("error")
folder = sys.argv[1]
z = np.load(folder + "/a.npz")

def check_sample(a):
    assert a.shape == (3, 3) and np.array_equal(a.X, z["embeddings"].astype(a.X.dtype), equal_nan=True)
    assert a.obs["record"].tolist() == ["chr1", "chr1", "plasmid"]
    assert a.obs["record"].cat.categories.tolist() == ["chr1", "empty", "plasmid"]
    assert a.obs["record"].cat.codes.tolist() == z["record"].tolist()
    for name in "start", "end":
        assert a.obs[name].dtype == np.int64 and a.obs[name].tolist() == z[name].tolist()
    assert a.obs["strand"].tolist() == ["+", "-", "."] and not a.obs["strand"].cat.ordered
    assert a.obs_names.tolist() == ["0", "1", "2"] and a.var_names.tolist() == ["e0", "e1", "e2"]
    assert json.loads(a.uns["metadata"]) == {"model": "small"}
    records = a.uns["records"]
    assert records.index.tolist() == ["chr1", "empty", "plasmid"]
    assert records["length"].tolist() == z["record_lengths"].tolist()

a = anndata.read_h5ad(folder + "/a.h5ad")
assert a.X.dtype == np.float32
check_sample(a)
check_sample(anndata.read_h5ad(folder + "/a.h5ad", backed="r").to_memory())
a.write_h5ad(folder + "/again.h5ad")
check_sample(anndata.read_h5ad(folder + "/again.h5ad"))
with np.errstate(over="ignore"):
    half = anndata.read_h5ad(folder + "/h.h5ad")
    assert half.X.dtype == np.float16
    check_sample(half)

a = anndata.read_h5ad(folder + "/awkward.h5ad")
names = ["read", "x" * 10000, "read#2", "read#2#3", "\ufffdt\ufffd", ""]
assert a.obs["record"].cat.categories.tolist() == names, a.obs["record"].cat.categories
assert a.obs["record"].cat.codes.tolist() == [i % 6 for i in range(5000)]
assert a.uns["records"].index.tolist() == ["read", names[1], "read", "read#2", "\ufffdt\ufffd", ""]
assert np.array_equal(a.X, np.repeat(np.arange(5000, dtype=np.float32), 5).reshape(5000, 5))
assert np.array_equal(a.obs["end"], np.arange(7, 5007)) and set(a.obs["strand"]) == {"-"}
assert a.obs_names.tolist() == [str(i) for i in range(5000)]

a = anndata.read_h5ad(folder + "/empty.h5ad")
assert a.shape == (0, 4) and len(a.uns["records"]) == 0 and a.obs["record"].tolist() == []
)",
                                       {folder.path().string()});
  EXPECT_EQ(result.status, 0) << result.output;
}

TEST(EmbeddingWriter, PyarrowReadsAllOfIt) {
#ifndef DNAMAMBA_PARQUET
  GTEST_SKIP() << "this build has no Arrow";
#endif
  DNAMAMBA_REQUIRE_PYTHON("pyarrow, pandas");
  const TempDir folder;
  write_sample(folder.file("a.parquet"));
  EXPECT_EQ(write_sample(folder.file("h.parquet"), EmbeddingType::kFloat16), 2);
  write_sample(folder.file("a.npz"));
  write_awkward_sample(folder.file("awkward.parquet"));
  open_embedding_writer(folder.file("empty.parquet"), EmbeddingFormat::kAuto, options_of(4))->close();
  const auto result = test::run_python(R"(
import json, sys, numpy as np, pyarrow as pa, pyarrow.parquet as pq
folder = sys.argv[1]
z = np.load(folder + "/a.npz")

def values(t):
    e = t["embedding"].combine_chunks()
    return e.flatten().to_numpy(zero_copy_only=False).reshape(len(t), e.type.list_size)

def check_sample(t):
    x = values(t)
    assert np.array_equal(x, z["embeddings"].astype(x.dtype), equal_nan=True), x
    assert t["record"].to_pylist() == ["chr1", "chr1", "plasmid"] and pa.types.is_dictionary(t["record"].type)
    assert t["record_index"].to_pylist() == z["record"].tolist()
    for name in "start", "end":
        assert t[name].type == pa.int64() and t[name].to_pylist() == z[name].tolist()
    assert t["strand"].to_pylist() == ["+", "-", "."]
    assert t["record_length"].to_pylist() == [None, None, 12]  # that of chr1 was told after its rows
    assert json.loads(t.schema.metadata[b"metadata"]) == {"model": "small"}

t = pq.read_table(folder + "/a.parquet")
assert t["embedding"].type == pa.list_(pa.field("element", pa.float32(), nullable=False), 3), t.schema
check_sample(t)
frame = t.to_pandas()
assert frame["start"].tolist() == [0, 1000, 3] and np.stack(frame["embedding"]).shape == (3, 3)
with np.errstate(over="ignore"):
    half = pq.read_table(folder + "/h.parquet")
    assert half["embedding"].type.value_type == pa.float16()
    check_sample(half)

t = pq.read_table(folder + "/awkward.parquet")
names = ["read", "x" * 10000, "read", "read#2", "\ufffdt\ufffd", ""]
assert t["record"].to_pylist() == [names[i % 6] for i in range(5000)]
assert t["record_index"].to_pylist() == [i % 6 for i in range(5000)]
assert set(t["record_length"].to_pylist()) == {7}
assert np.array_equal(values(t), np.repeat(np.arange(5000, dtype=np.float32), 5).reshape(5000, 5))
empty = pq.read_table(folder + "/empty.parquet")
assert len(empty) == 0 and empty["embedding"].type.list_size == 4
)",
                                       {folder.path().string()});
  EXPECT_EQ(result.status, 0) << result.output;
}

TEST(EmbeddingWriter, ParquetComesInRowGroupsOfBoundedSize) {
#ifndef DNAMAMBA_PARQUET
  GTEST_SKIP() << "this build has no Arrow";
#endif
  DNAMAMBA_REQUIRE_PYTHON("pyarrow");
  const TempDir folder;
  {
    const auto writer = open_embedding_writer(folder.file("a.parquet"), EmbeddingFormat::kAuto, options_of(1000));
    for (const char* name : {"a", "b"}) writer->add_record(name, 20'000);
    std::vector<float> values(1000);
    for (int i = 0; i < 10'000; ++i) {
      values[7] = static_cast<float>(i);
      writer->write({i / 5'000, i, i + 1, '.', values});
    }
    writer->close();
  }
  const auto result = test::run_python(R"(
import sys, pyarrow.parquet as pq
f = pq.ParquetFile(sys.argv[1])
rows = [f.metadata.row_group(i).num_rows for i in range(f.num_row_groups)]
assert len(rows) == 5 and sum(rows) == 10_000 and set(rows[:4]) == {2098}, rows
at = 0
for group in range(len(rows)):
    t = f.read_row_group(group)
    assert t["start"].to_pylist() == list(range(at, at + len(t)))
    assert t["embedding"].combine_chunks().flatten().to_numpy()[7::1000].tolist() == list(range(at, at + len(t)))
    assert set(t["record"].to_pylist()) == {"ab"[i // 5000] for i in (at, at + len(t) - 1)}
    at += len(t)
)",
                                       {folder.file("a.parquet")});
  EXPECT_EQ(result.status, 0) << result.output;
}

#ifndef DNAMAMBA_PARQUET
TEST(EmbeddingWriter, WithoutArrowParquetIsRefusedWithTheRemedy) {
  const TempDir folder;
  EXPECT_THAT(error_text<UsageError>([&] { write_sample(folder.file("a.parquet")); }),
              AllOf(HasSubstr(".parquet needs"), HasSubstr("./do build"), HasSubstr(".npz")));
  EXPECT_TRUE(fs::is_empty(folder.path()));
}
#endif

TEST(EmbeddingWriter, TheSameRowsGiveTheSameBytes) {
  const TempDir folder;
  for (const std::string name : kNames) {
    write_sample(folder.file("1" + name));
    write_sample(folder.file("2" + name));
    EXPECT_EQ(content_of(folder.file("1" + name)), content_of(folder.file("2" + name))) << name;
  }
}

TEST(EmbeddingWriter, H5adNeedsAFile) {
  EXPECT_THAT(error_text<IoError>([] { open_embedding_writer("/dev/null", EmbeddingFormat::kH5ad, options_of(1)); }),
              AllOf(HasSubstr("/dev/null"), HasSubstr("needs a file")));
}

// HDF5 writes its own tables when it likes, at the latest when the file is closed.
TEST(EmbeddingWriter, ADiskThatIsFullAtAnyByteIsAnErrorOfH5adAndLeavesNothing) {
  const TempDir folder;
  write_awkward_sample(folder.file("whole.h5ad"));
  const auto size = static_cast<std::int64_t>(fs::file_size(folder.file("whole.h5ad")));
  const std::string path = folder.file("a.h5ad");
  for (std::int64_t bytes = 0; bytes < size; bytes += size / 97) {
    const test::FileSizeLimit limit(static_cast<rlim_t>(bytes));
    EXPECT_THAT(error_text<IoError>([&] { write_awkward_sample(path); }), AllOf(HasSubstr(path), HasSubstr("ulimit")))
        << bytes;
    EXPECT_EQ(std::distance(fs::directory_iterator(folder.path()), fs::directory_iterator()), 1) << bytes;
  }
  write_awkward_sample(path);
  EXPECT_EQ(content_of(path), content_of(folder.file("whole.h5ad")));
}

TEST(EmbeddingWriter, AFullDiskIsReportedOnceWhicheverThreadWrites) {
  const TempDir folder;
  const test::FileSizeLimit limit(2'000'000);
  ::testing::internal::CaptureStderr();
  const auto writer = open_embedding_writer(folder.file("a.h5ad"), EmbeddingFormat::kAuto, options_of(1000));
  writer->add_record("r", 1'000'000);
  const std::vector<float> values(1000, 1);
  std::string text;
  std::thread([&] {
    text = error_text<IoError>([&] {
      for (int i = 0; i < 1000; ++i) writer->write({0, i, i + 1, '+', values});
      writer->close();
    });
  }).join();
  EXPECT_THAT(text, HasSubstr("a.h5ad"));
  EXPECT_EQ(::testing::internal::GetCapturedStderr(), "") << "HDF5 prints where it is not told otherwise";
}

TEST(EmbeddingWriter, Float16CountsWhatBecameInfinite) {
  const TempDir folder;
  EXPECT_EQ(write_sample(folder.file("a.npz"), EmbeddingType::kFloat16), 2);
  const auto array = files::read_npz(folder.file("a.npz")).at("embeddings");
  EXPECT_EQ(array.header.descr, "<f2");
  const auto halves = values_of<std::uint16_t>(array);
  EXPECT_EQ(halves[0], half_of(0.1f));
  EXPECT_TRUE(std::isnan(float_of_half(halves[3])));
  EXPECT_TRUE(is_infinite_half(halves[6]));
}

TEST(EmbeddingWriter, NpyHasATableOfItsRowsBesideIt) {
  const TempDir folder;
  write_sample(folder.file("a.npy"));
  EXPECT_EQ(files::read_npy(folder.file("a.npy")).header.shape, (std::vector<std::int64_t>{3, 3}));
  EXPECT_EQ(content_of(folder.file("a.tsv")),
            "#record\tstart\tend\tstrand\n"
            "chr1\t0\t1000\t+\n"
            "chr1\t1000\t21474836480\t-\n"
            "plasmid\t3\t12\t.\n");
}

TEST(EmbeddingWriter, TsvHasALineForEachRow) {
  const TempDir folder;
  write_sample(folder.file("a.tsv"));
  EXPECT_EQ(content_of(folder.file("a.tsv")),
            "#record\tstart\tend\tstrand\te0\te1\te2\n"
            "chr1\t0\t1000\t+\t0.1\t-2.5\t1e-08\n"
            "chr1\t1000\t21474836480\t-\tnan\tnan\tnan\n"
            "plasmid\t3\t12\t.\t70000\t3.4028235e+38\t1\n");
  write_sample(folder.file("h.tsv"), EmbeddingType::kFloat16);
  EXPECT_THAT(content_of(folder.file("h.tsv")), HasSubstr("\t0.099975586\t-2.5\t0\n"));
  EXPECT_THAT(content_of(folder.file("h.tsv")), HasSubstr("\tinf\tinf\t1\n"));
}

TEST(EmbeddingWriter, TheFormatGoesByTheSuffixUnlessSaid) {
  const TempDir folder;
  write_sample(folder.file("a"), EmbeddingType::kFloat32, EmbeddingFormat::kTsv);
  EXPECT_THAT(content_of(folder.file("a")), ::testing::StartsWith("#record"));
  for (const char* name : {"a.csv", "b", "c.gz", "d.NPZ"})
    EXPECT_THAT(error_text<UsageError>([&] { write_sample(folder.file(name)); }),
                AllOf(HasSubstr(name), HasSubstr(".npz, .npy, "), HasSubstr(".tsv or .tsv.gz")));
  EXPECT_EQ(parse_embedding_format("npz"), EmbeddingFormat::kNpz);
  EXPECT_THAT(error_text<UsageError>([] { parse_embedding_format("h5"); }), HasSubstr("npz, npy, "));
  EXPECT_THAT(error_text<UsageError>([] { parse_embedding_type("int8"); }), HasSubstr("float32 or float16"));
  EXPECT_THROW(open_embedding_writer("-", EmbeddingFormat::kNpz, options_of(1)), UsageError);
}

TEST(EmbeddingWriter, NoRowsAreAFileToo) {
  const TempDir folder;
  for (const char* name : kNames)
    open_embedding_writer(folder.file(name), EmbeddingFormat::kAuto, options_of(4))->close();
  EXPECT_EQ(files::read_npz(folder.file("a.npz")).at("embeddings").header.shape, (std::vector<std::int64_t>{0, 4}));
  EXPECT_EQ(files::read_npy(folder.file("b.npy")).header.shape, (std::vector<std::int64_t>{0, 4}));
}

TEST(EmbeddingWriter, ExistingFilesNeedForceTheTableBesideNpyToo) {
  const TempDir folder;
  folder.write("a.tsv", "old");
  EXPECT_THAT(error_text<IoError>([&] { write_sample(folder.file("a.npy")); }),
              AllOf(HasSubstr("a.tsv"), HasSubstr("--force")));
  EXPECT_FALSE(fs::exists(folder.file("a.npy")));
  EXPECT_EQ(content_of(folder.file("a.tsv")), "old");
  auto options = options_of(1);
  options.force = true;
  open_embedding_writer(folder.file("a.npy"), EmbeddingFormat::kAuto, options)->close();
  EXPECT_EQ(content_of(folder.file("a.tsv")), "#record\tstart\tend\tstrand\n");
}

TEST(EmbeddingWriter, WithoutCloseNothingIsLeft) {
  const TempDir folder;
  for (const char* name : kNames) {
    const auto writer = open_embedding_writer(folder.file(name), EmbeddingFormat::kAuto, options_of(1));
    const float value[] = {1};
    writer->write({writer->add_record("r", 5), 0, 5, '+', value});
  }
  EXPECT_TRUE(fs::is_empty(folder.path()));
}

// Four of them, of numbers that don't compress.
void write_megabytes(const std::string& path) {
  const auto writer = open_embedding_writer(path, EmbeddingFormat::kAuto, options_of(1000));
  const std::int64_t record = writer->add_record("r", 1'000'000);
  std::mt19937 random(7);
  std::vector<float> values(1000);
  for (int i = 0; i < 1000; ++i) {
    for (float& value : values) value = static_cast<float>(random());
    writer->write({record, i, i + 1, '+', values});
  }
  writer->close();
}

TEST(EmbeddingWriter, AFullDiskIsAnErrorAndLeavesNothing) {
  for (const char* name : kNames) {
    const TempDir folder;
    const test::FileSizeLimit limit(2'000'000);
    EXPECT_THAT(error_text<IoError>([&] { write_megabytes(folder.file(name)); }),
                AllOf(HasSubstr(folder.file(name)), HasSubstr("write to another disk")));
    EXPECT_TRUE(fs::is_empty(folder.path())) << name;
  }
}

TEST(EmbeddingWriter, ImpossibleRowsAreRefused) {
  const TempDir folder;
  const auto writer = open_embedding_writer(folder.file("a.npz"), EmbeddingFormat::kAuto, options_of(2));
  const float values[] = {1, 2, 3};
  const auto two = std::span(values).first(2);
  EXPECT_THROW(writer->write({0, 0, 1, '+', two}), base::Error);
  writer->add_record("r");
  EXPECT_THROW(writer->write({0, 0, 1, '+', values}), base::Error);
  EXPECT_THROW(writer->write({0, 2, 1, '+', two}), base::Error);
  EXPECT_THROW(writer->write({0, 0, 1, '*', two}), base::Error);
  EXPECT_THROW(writer->close(), base::Error) << "the record has no length";
  writer->set_record_length(0, 1);
  writer->write({0, 0, 1, '+', two});
  writer->close();
  EXPECT_THROW(writer->write({0, 0, 1, '+', two}), base::Error);
  EXPECT_EQ(writer->rows(), 1);
}

// Standard output is another descriptor while it lives.
class StandardOutput {
 public:
  explicit StandardOutput(int descriptor) : before_(::dup(STDOUT_FILENO)) { ::dup2(descriptor, STDOUT_FILENO); }
  ~StandardOutput() {
    ::dup2(before_, STDOUT_FILENO);
    ::close(before_);
  }

 private:
  int before_;
};

TEST(EmbeddingWriter, DashIsTsvOnStandardOutput) {
  const TempDir folder;
  write_sample(folder.file("a.tsv"));
  const int out = ::open(folder.file("stdout").c_str(), O_CREAT | O_WRONLY, 0600);
  {
    const StandardOutput redirected(out);
    write_sample("-");
  }
  ::close(out);
  EXPECT_EQ(content_of(folder.file("stdout")), content_of(folder.file("a.tsv")));
}

TEST(EmbeddingWriter, AReaderThatGoesAwayIsAnError) {
  int ends[2];
  ASSERT_EQ(::pipe(ends), 0);
  ::close(ends[0]);
  const auto handler = std::signal(SIGPIPE, SIG_IGN);
  std::string text;
  {
    const StandardOutput redirected(ends[1]);
    text = error_text<IoError>([] { write_sample("-"); });
  }
  std::signal(SIGPIPE, handler);
  ::close(ends[1]);
  EXPECT_THAT(text, AllOf(HasSubstr("standard output"), HasSubstr("went away")));
}

TEST(EmbeddingWriter, MemoryDoesNotGrowWithRows) {
  const TempDir folder;
  for (const char* name : kNames) {
    const auto writer = open_embedding_writer(folder.file(name), EmbeddingFormat::kAuto, options_of(64));
    const std::int64_t record = writer->add_record("r", 1);
    const std::vector<float> values(64, 0.5f);
    const auto write_rows = [&](int rows) {
      for (int i = 0; i < rows; ++i) writer->write({record, i, i + 1, '+', values});
    };
    write_rows(50'000);
    const std::int64_t before = test::resident_kilobytes();
    write_rows(200'000);  // 51 MB of values; their places, 5 MB, stay within the spools' memory
    EXPECT_LT(test::resident_kilobytes() - before, 25'000) << name;
    writer->close();
  }
}

}  // namespace
}  // namespace dnamamba::outputs
