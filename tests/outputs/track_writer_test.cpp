#include "core/outputs/track_writer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include "core/base/error.h"
#include "core/files/byte_source.h"
#include "core/outputs/bigwig_writer.h"
#include "tests/support/file_size_limit.h"
#include "tests/support/python.h"
#include "tests/support/resident_memory.h"
#include "tests/support/temp_dir.h"
#include "tests/support/throws.h"

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

constexpr const char* kNames[] = {"a.bw", "b.bedGraph", "c.bedGraph.gz", "d.tsv", "e.tsv.gz"};  // one of each format
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

struct Record {
  std::string name;
  std::vector<float> values;
};

void write(const std::string& path, const std::vector<Record>& records, const TrackWriterOptions& options = {}) {
  const auto writer = open_track_writer(path, options);
  for (const auto& [name, values] : records) {
    writer->begin_record(name, static_cast<std::int64_t>(values.size()));
    writer->append(values);
  }
  writer->close();
}

// Records in no order, without values, empty, with gaps everywhere, and longer than a block and most zoom levels.
std::vector<Record> awkward_records() {
  std::mt19937 random(5);
  std::vector<Record> records{{"chr2", {}}, {"empty", {}}, {"chr10", {1, 2, 3}}, {"n", {kNan, kNan}}, {"chr1", {}}};
  for (int i = 0; i < 150'000; ++i) records[0].values.push_back(static_cast<float>(random() % 1000) / 100);
  for (int i = 4000; i < 4200; ++i) records[0].values[i] = kNan;
  for (int i = 90'000; i < 140'000; ++i) records[0].values[i] = kNan;
  records[0].values.front() = kNan;
  for (int i = 0; i < 500; ++i) records[4].values.push_back(i % 3 == 0 ? kNan : -0.5f * static_cast<float>(i));
  records.push_back({std::string(10'000, 'x'), {7.5f}});
  return records;
}

std::string text_of(const std::vector<Record>& records) {
  std::string text;
  for (const auto& [name, values] : records) {
    text += name + "\t";
    for (const float value : values) text += (std::isnan(value) ? "nan" : std::to_string(value)) + " ";
    text += "\n";
  }
  return text;
}

TEST(TrackWriter, BigWigIsReadByPyBigWig) {
  DNAMAMBA_REQUIRE_PYTHON("pyBigWig, numpy");
  const TempDir folder;
  write(folder.file("a.bw"), awkward_records());
  folder.write("expected", text_of(awkward_records()));
  const auto result = test::run_python(R"(
import sys, numpy as np, pyBigWig
folder = sys.argv[1]
bw = pyBigWig.open(folder + "/a.bw")
assert bw.isBigWig()
everything = []
for line in open(folder + "/expected"):
    name, values = line.rstrip("\n").split("\t")
    x = np.array(values.split(), dtype=np.float32)
    assert bw.chroms(name) == len(x), name
    everything.append(x)
    if len(x) == 0: continue
    assert np.allclose(bw.values(name, 0, len(x), numpy=True), x, atol=1e-6, equal_nan=True), name
    for start, end in (0, len(x)), (len(x) // 3, len(x) // 2 + 1), (len(x) - 1, len(x)):
        part = x[start:end]
        for bins in 1, 2, 5:
            if bins > len(part): continue
            exact = bw.stats(name, start, end, nBins=bins, exact=True)
            for value, piece in zip(exact, np.array_split(part, bins) if len(part) % bins == 0 else []):
                piece = piece[~np.isnan(piece)]
                assert (value is None) == (len(piece) == 0), (name, start, end, bins)
                assert value is None or abs(value - piece.mean()) < 1e-4
x = np.concatenate(everything).astype(np.float64)
x = x[~np.isnan(x)]
h = bw.header()
assert h["nBasesCovered"] == len(x) and h["nLevels"] == 8, h
assert h["minVal"] == int(x.min()) and h["maxVal"] == int(x.max())
assert abs(h["sumData"] - x.sum()) < 1.5 and abs(h["sumSquared"] / (x * x).sum() - 1) < 1e-6, (h, x.sum())
assert len(bw.chroms()) == 6
# From the zoom levels: bins of a few summaries each give the mean of their values, as nearly as summaries can.
x = everything[0]
for bins in 10, 100, 1000:
    width = len(x) // bins
    means = bw.stats("chr2", 0, len(x), nBins=bins)
    most = bw.stats("chr2", 0, len(x), type="max", nBins=bins)
    covered = bw.stats("chr2", 0, len(x), type="coverage", nBins=bins)
    for i in range(bins):
        piece = x[i * width : (i + 1) * width]
        known = piece[~np.isnan(piece)]
        if len(known) < width: continue
        assert abs(means[i] - known.mean()) < 0.3 and abs(covered[i] - 1) < 0.02, (bins, i, means[i], known.mean())
        assert most[i] >= known.max() - 1e-5
)",
                                       {folder.path().string()});
  EXPECT_EQ(result.status, 0) << result.output;
}

TEST(TrackWriter, BigWigHoldsManyRecordsAndNone) {
  DNAMAMBA_REQUIRE_PYTHON("pyBigWig");
  const TempDir folder;
  std::vector<Record> records;
  for (int i = 0; i < 70'000; ++i)
    records.push_back({base::concat("contig_", (i * 7919) % 70'000), {static_cast<float>(i), kNan}});
  write(folder.file("many.bw"), records);
  write(folder.file("no_values.bw"), {{"a", {kNan, kNan}}});
  const auto result = test::run_python(R"(
import sys, pyBigWig
folder = sys.argv[1]
bw = pyBigWig.open(folder + "/many.bw")
assert len(bw.chroms()) == 70_000 and set(bw.chroms().values()) == {2}
for i in (0, 1, 255, 256, 65535, 65536, 69_999):
    assert bw.intervals("contig_%d" % (i * 7919 % 70_000)) == ((0, 1, float(i)),), i
bw = pyBigWig.open(folder + "/no_values.bw")
assert bw.chroms() == {"a": 2} and bw.header()["nBasesCovered"] == 0
assert bw.intervals("a") is None
)",
                                       {folder.path().string()});
  EXPECT_EQ(result.status, 0) << result.output;
}

TEST(TrackWriter, BigWigRefusesWhatItCanNotTellApart) {
  const TempDir folder;
  const auto writer = open_track_writer(folder.file("a.bw"), {});
  writer->begin_record("chr1", 0);
  EXPECT_THAT(error_text<base::Error>([&] { writer->begin_record("chr1", 5); }),
              AllOf(HasSubstr("a.bw: record 2"), HasSubstr("'chr1'"), HasSubstr(".bedGraph.gz")));
  const std::int64_t longest = BigWigWriter::kLongestRecord;
  EXPECT_THAT(error_text<base::Error>([&] { writer->begin_record("long", longest + 1); }),
              AllOf(HasSubstr("record long has 4294967296 bases"), HasSubstr("at most 4294967295")));
  writer->begin_record("chr2", longest);
  EXPECT_THROW(writer->close(), base::Error) << "values are missing";
  EXPECT_THAT(error_text<IoError>([] { BigWigWriter("/dev/null", true); }), HasSubstr("needs a file"));
}

TEST(TrackWriter, ValuesInPiecesGiveTheSameBytes) {
  const TempDir folder;
  const auto records = awkward_records();
  for (const std::string name : kNames) {
    write(folder.file("whole_" + name), records, {.window = 70});
    const auto writer = open_track_writer(folder.file(name), {.window = 70});
    for (const Record& record : records) {
      writer->begin_record(record.name, static_cast<std::int64_t>(record.values.size()));
      const std::span<const float> values(record.values);
      for (std::size_t at = 0; at < values.size(); at += 997)
        writer->append(values.subspan(at, std::min<std::size_t>(997, values.size() - at)));
    }
    writer->close();
    EXPECT_TRUE(content_of(folder.file(name)) == content_of(folder.file("whole_" + name))) << name;
  }
}

TEST(TrackWriter, BedGraphHasALineForEachRunOfAValue) {
  const TempDir folder;
  write(folder.file("a.bedgraph"), {{"r", {kNan, 0.1f, 0.1f, 2, kNan, kNan, 2}}, {"empty", {}}, {"s", {2}}});
  EXPECT_EQ(content_of(folder.file("a.bedgraph")), "r\t1\t3\t0.1\nr\t3\t4\t2\nr\t6\t7\t2\ns\t0\t1\t2\n");
}

TEST(TrackWriter, TsvHasTheMeanOfEachWindow) {
  const TempDir folder;
  const std::vector<Record> records{{"r", {kNan, 1, 2, 4, 5}}, {"empty", {}}, {"n", {kNan, kNan, kNan}}};
  write(folder.file("a.tsv"), records, {.quantity = "bits"});
  EXPECT_EQ(content_of(folder.file("a.tsv")),
            "#record\tstart\tend\tscored\tbits\nr\t0\t5\t4\t3\nempty\t0\t0\t0\tnan\nn\t0\t3\t0\tnan\n");
  write(folder.file("b.tsv"), records, {.window = 2, .quantity = "bits"});
  EXPECT_EQ(content_of(folder.file("b.tsv")),
            "#record\tstart\tend\tscored\tbits\nr\t0\t2\t1\t1\nr\t2\t4\t2\t3\nr\t4\t5\t1\t5\n"
            "n\t0\t2\t0\tnan\nn\t2\t3\t0\tnan\n");
}

TEST(TrackWriter, CompressedTextHasTheSameLines) {
  const TempDir folder;
  for (const std::string name : {"a.bedGraph", "a.tsv"}) {
    write(folder.file(name), awkward_records(), {.window = 3});
    write(folder.file(name + ".gz"), awkward_records(), {.window = 3});
    files::ByteSource source(folder.file(name + ".gz"));
    std::string text;
    std::vector<char> piece(1 << 16);
    while (const std::size_t got = source.read(piece.data(), piece.size())) text.append(piece.data(), got);
    EXPECT_TRUE(text == content_of(folder.file(name))) << name;
  }
}

TEST(TrackWriter, TheFormatGoesByTheSuffix) {
  EXPECT_EQ(track_format_of("-"), TrackFormat::kTsv);
  EXPECT_EQ(track_format_of("x/A.BigWig"), TrackFormat::kBigWig);
  EXPECT_EQ(track_format_of("a.tsv.gz"), TrackFormat::kTsvGz);
  for (const char* name : {"a.wig", "bw", "a.gz"})
    EXPECT_THAT(error_text<UsageError>([&] { track_format_of(name); }), AllOf(HasSubstr(name), HasSubstr(".bw, ")));
}

TEST(TrackWriter, WithoutCloseNothingIsLeftAndExistingFilesNeedForce) {
  const TempDir folder;
  for (const char* name : kNames) {
    const auto writer = open_track_writer(folder.file(name), {});
    writer->begin_record("r", 1);
    writer->append(std::vector<float>{1});
  }
  EXPECT_TRUE(fs::is_empty(folder.path()));
  for (const char* name : kNames) {
    const std::string old = folder.write(name, "old");
    EXPECT_THAT(error_text<IoError>([&] { write(old, {{"r", {1}}}); }), HasSubstr("--force"));
    EXPECT_EQ(content_of(old), "old");
    write(old, {{"r", {1}}}, {.force = true});
    EXPECT_NE(content_of(old), "old");
  }
}

TEST(TrackWriter, ADiskThatIsFullAtAnyByteIsAnErrorAndLeavesNothing) {
  for (const char* name : kNames) {
    const TempDir folder;
    const std::string path = folder.file(name);
    write(path, awkward_records(), {.window = 50});
    const auto size = static_cast<std::int64_t>(fs::file_size(path));
    fs::remove(path);
    for (std::int64_t bytes = 0; bytes < size; bytes += size / 5) {
      const test::FileSizeLimit limit(static_cast<rlim_t>(bytes));
      EXPECT_THAT(error_text<IoError>([&] { write(path, awkward_records(), {.window = 50}); }),
                  AllOf(HasSubstr(path), HasSubstr("write to another disk")));
      EXPECT_TRUE(fs::is_empty(folder.path())) << name << " " << bytes;
    }
  }
}

TEST(TrackWriter, MemoryDoesNotGrowWithTheBases) {
  const TempDir folder;
  for (const char* name : kNames) {
    const auto writer = open_track_writer(folder.file(name), {.window = 10});
    writer->begin_record("r", 10'000'000);
    std::mt19937 random(7);
    std::vector<float> values(50'000);
    for (float& value : values) value = static_cast<float>(random() % 4096);
    const auto append = [&](int times) {
      for (int i = 0; i < times; ++i) writer->append(values);
    };
    append(5);
    const std::int64_t before = test::resident_kilobytes();
    append(12);  // half a million values
    EXPECT_LT(test::resident_kilobytes() - before, 4'000) << name;
  }
}

}  // namespace
}  // namespace dnamamba::outputs
