// dnamamba embed as users and scripts meet it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <csignal>
#include <filesystem>
#include <thread>

#include "tests/cli/tiny_model.h"
#include "tests/support/background_program.h"
#include "tests/support/compress.h"
#include "tests/support/python.h"
#include "tests/support/report.h"
#include "tests/support/throws.h"

namespace dnamamba::test {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::StartsWith;

const std::string kGenome = PROJECT_FOLDER "/tests/data/genomes/Mycoplasmoides_genitalium.fa.gz";

std::string random_fasta(const std::string& name, int length) {
  std::string text = ">" + name + "\n";
  std::uint32_t state = 1;
  for (int i = 0; i < length; ++i) {
    state = state * 1664525u + 1013904223u;
    text += "ACGT"[state >> 30];
    if (i % 70 == 69) text += '\n';
  }
  return text + "\n";
}

class EmbedCommand : public ::testing::Test {
 protected:
  ProgramResult embed(std::vector<std::string> arguments, const ProgramInput& input = {}) const {
    arguments.insert(arguments.begin(), {"embed", "-q", "-t", "1", "-m", tiny_model()});
    return dnamamba(arguments, input);
  }
  // One line that says `what`, the status, nothing on stdout, and no file beside those that were there.
  void expect_refusal(const ProgramResult& result, int status, const std::string& what) const {
    EXPECT_EQ(result.status, status) << what;
    EXPECT_THAT(result.out, IsEmpty());
    EXPECT_THAT(result.err, AllOf(StartsWith("dnamamba embed: "), HasSubstr(what), EndsWith("\n")));
    EXPECT_EQ(std::count(result.err.begin(), result.err.end(), '\n'), 1) << result.err;
    EXPECT_FALSE(fs::exists(out_));
  }

  const TempDir folder_;
  const std::string out_ = folder_.file("rows.npz");
  const std::string good_ = folder_.write("good.fa", ">a x\nACGTTGCA\n>b\nGGCATNNACCA\n");
};

// ---- input that can't be believed

TEST_F(EmbedCommand, SaysInOneLineWhatIsWrongWithAFile) {
  expect_refusal(embed({folder_.file("absent.fa"), "-o", out_}), 1, "absent.fa: can't open: No such file");
  expect_refusal(embed({folder_.write("empty.fa", ""), "-o", out_}), 1, "empty.fa: has no records");
  expect_refusal(embed({folder_.path().string(), "-o", out_}), 1, "is a folder");
  expect_refusal(embed({folder_.write("text.fa", "hello\n"), "-o", out_}), 1, "text.fa: line 1");
  const std::string zipped = gzipped(random_fasta("long", 100'000));
  expect_refusal(embed({folder_.write("cut.fa.gz", zipped.substr(0, zipped.size() / 2)), "-o", out_}), 1,
                 "cut.fa.gz: ends at byte");
  const std::string blocks = bgzipped(random_fasta("long", 100'000));
  expect_refusal(embed({folder_.write("cut.bgz", blocks.substr(0, blocks.size() - 28)), "-o", out_}), 1, "cut.bgz: ");
  expect_refusal(embed({good_, folder_.file("absent.fa"), "-o", out_}), 1, "absent.fa: can't open");
}

TEST_F(EmbedCommand, ALetterThatIsNoneIsNamedWithItsPlaceAndTheRemedy) {
  const std::string gaps = folder_.write("gaps.fa", ">a\nACGT\n>scaffold_7 long\nAC\nG-T\n");
  expect_refusal(embed({gaps, "-o", out_}), 1, "gaps.fa: record scaffold_7, position 3");
  EXPECT_THAT(embed({gaps, "-o", out_}).err, AllOf(HasSubstr("'-'"), HasSubstr("--invalid")));
  const ProgramResult taken = embed({gaps, "-o", out_, "--invalid", "n"});
  EXPECT_EQ(taken.status, 0);
  EXPECT_THAT(taken.err, HasSubstr("1 letter"));
}

TEST_F(EmbedCommand, AFailureInTheMiddleLeavesNothingBehind) {
  const std::string bad = folder_.write("bad.fa", random_fasta("a", 50'000) + ">b\nAC!\n");
  const auto files = [&] { return std::distance(fs::directory_iterator(folder_.path()), fs::directory_iterator()); };
  const auto before = files();
  for (const char* name : {"x.npz", "x.npy", "x.tsv", "x.tsv.gz", "x.safetensors", "x.h5ad"})
    EXPECT_EQ(embed({bad, "-o", folder_.file(name)}).status, 1);
  EXPECT_EQ(files(), before);
}

// ---- wrong usage

TEST_F(EmbedCommand, RefusesWhatCanNotBeDoneWithStatusTwo) {
  expect_refusal(embed({"-o", out_}), 2, "no input");
  expect_refusal(embed({good_, "-o", folder_.file("rows.feather")}), 2, "'.feather'");
  expect_refusal(embed({good_, "--format", "npz"}), 2, "standard output");
  expect_refusal(embed({good_, "-o", out_, "--layer", "3"}), 2, "--layer 3: the model has 2 layers");
  expect_refusal(embed({good_, "-o", out_, "--device", "cuda"}), 2, "--device cuda");
  expect_refusal(embed({good_, "-o", out_, "--precision", "bf16"}), 2, "needs a GPU");
  expect_refusal(embed({good_, "-o", out_, "--stride", "5"}), 2, "--stride needs --window");
  expect_refusal(embed({good_, "-o", out_, "--pool", "none", "-w", "5"}), 2, "--pool none");
  expect_refusal(embed({good_, "-o", out_, "--window", "-5"}), 2, "--window: ");
  expect_refusal(embed({good_, "-o", out_, "--pool", "median"}), 2, "'median' is not one of mean|max|last|none");
}

TEST_F(EmbedCommand, AnUnknownModelIsNamedAndOneWithoutLettersNeedsThem) {
  const ProgramResult unknown = dnamamba({"embed", "-q", "-m", "dnamamba-hug", good_, "-o", out_});
  expect_refusal(unknown, 1, "dnamamba-hug");
  const std::string foreign = folder_.file("foreign");
  ASSERT_EQ(dnamamba({"models", "export", tiny_model(), "--to", "mamba-ssm", "-o", foreign}).status, 0);
  fs::remove(foreign + "/alphabet.json");
  fs::remove(foreign + "/SHA256SUMS");
  expect_refusal(dnamamba({"embed", "-q", "-m", foreign, good_, "-o", out_}), 2, "--alphabet");
  EXPECT_EQ(dnamamba({"embed", "-q", "-m", foreign, "--alphabet", "dnamamba", good_, "-o", out_}).status, 0);
}

// ---- output

TEST_F(EmbedCommand, KeepsAnOutputThatIsThereUnlessForced) {
  const std::string there = folder_.write("there.npz", "mine");
  const ProgramResult refused = embed({good_, "-o", there});
  EXPECT_EQ(refused.status, 1);
  EXPECT_THAT(refused.err, AllOf(HasSubstr("there.npz: already exists"), HasSubstr("--force")));
  EXPECT_EQ(content_of(there), "mine");
  EXPECT_EQ(embed({good_, "-o", there, "--force"}).status, 0);
  EXPECT_THAT(content_of(there), StartsWith("PK"));
}

TEST_F(EmbedCommand, WritesATableOnStdoutAndNothingElseThere) {
  const ProgramResult result = embed({good_});
  EXPECT_EQ(result.status, 0) << result.err;
  EXPECT_THAT(result.err, IsEmpty());
  EXPECT_THAT(result.out, StartsWith("#record\tstart\tend\tstrand\te0\te1\t"));
  EXPECT_THAT(result.out, AllOf(HasSubstr("\na\t0\t8\t.\t"), HasSubstr("\nb\t0\t11\t.\t")));
  EXPECT_EQ(std::count(result.out.begin(), result.out.end(), '\n'), 3);
}

TEST_F(EmbedCommand, ReadsStandardInputAndLinesOfWindows) {
  const std::string unix_rows = embed({good_}).out;
  EXPECT_EQ(embed({"-"}, {.standard_input = content_of(good_), .environment = {}, .standard_output = {}}).out,
            unix_rows);
  EXPECT_EQ(embed({folder_.write("crlf.fa", ">a x\r\nACGTTGCA\r\n>b\r\nGGCAT\r\nNNACCA\r\n")}).out, unix_rows);
  EXPECT_EQ(embed({folder_.write("good.fa.gz", gzipped(content_of(good_)))}).out, unix_rows);
}

TEST_F(EmbedCommand, ARecordOfNOnlyIsARowOfNaNAndSaidSo) {
  const ProgramResult result = embed({folder_.write("n.fa", ">n\nNNNNN\n>empty\n>a\nACGT\n")});
  EXPECT_EQ(result.status, 0);
  EXPECT_THAT(result.out, AllOf(HasSubstr("\nn\t0\t5\t.\tnan\tnan"), Not(HasSubstr("\nempty\t"))));
  EXPECT_THAT(result.err, HasSubstr("NaN"));
}

TEST_F(EmbedCommand, AFullDiskIsAFailure) {
  const ProgramResult result =
      embed({good_, "-o", "-"}, {.standard_input = {}, .environment = {}, .standard_output = "/dev/full"});
  EXPECT_EQ(result.status, 1);
  EXPECT_THAT(result.err, AllOf(HasSubstr("standard output"), HasSubstr("No space left")));
}

TEST_F(EmbedCommand, AReaderThatGoesAwayEndsItQuietly) {
  const ProgramResult result = shell(
      R"({ "$1" embed -q -m "$2" -w 5 "$3" 2>"$4"; echo $? >"$5"; } | head -n 1)",
      {tiny_model(), folder_.write("long.fa", random_fasta("long", 60'000)), folder_.file("err"), folder_.file("rc")});
  EXPECT_THAT(result.out, StartsWith("#record"));
  // As any other filter by SIGPIPE; or, where whoever started the tests ignores that signal, with a line that says it.
  if (content_of(folder_.file("rc")) == "141\n") {
    EXPECT_THAT(content_of(folder_.file("err")), IsEmpty());
  } else {
    EXPECT_EQ(content_of(folder_.file("rc")), "1\n");
    EXPECT_EQ(content_of(folder_.file("err")),
              "dnamamba embed: standard output: can't write: Broken pipe; the reader of the pipe went away\n");
  }
}

TEST_F(EmbedCommand, AnOptionsFileGivesWhatTheCommandLineDoesNot) {
  const std::string config = folder_.write("options.ini", "window = 4\nstrand = forward\n");
  EXPECT_THAT(embed({good_, "--config", config}).out, HasSubstr("\na\t4\t8\t+\t"));
  EXPECT_THAT(embed({good_, "--config", config, "-w", "8"}).out, HasSubstr("\na\t0\t8\t+\t"));
}

TEST_F(EmbedCommand, PythonReadsTheSameRowsFromEveryFormat) {
  DNAMAMBA_REQUIRE_PYTHON("numpy, safetensors, anndata");
  const std::string sequences = folder_.write("s.fa", random_fasta("chr one", 12'345) + ">n\nNNN\n>\xc3\xa9\nACGTT\n");
  for (const char* name :
       {"rows.npz", "rows.npy", "rows.tsv", "rows.tsv.gz", "rows.safetensors", "rows.h5ad", "short.npz", "short.h5ad",
#ifdef DNAMAMBA_PARQUET
        "rows.parquet"
#endif
       }) {
    const ProgramResult result =
        embed({sequences, "-o", folder_.file(name), "--dtype", name[0] == 's' ? "float16" : "float32"});
    // rows.npy would write its table over rows.tsv.
    if (name == std::string("rows.npy")) fs::rename(folder_.file("rows.tsv"), folder_.file("table.tsv"));
    ASSERT_EQ(result.status, 0) << result.err;
  }
  const auto result = run_python(R"(
import gzip, json, os, sys
import anndata
import numpy as np
from safetensors.numpy import load_file
folder = sys.argv[1]
z = np.load(folder + "/rows.npz", allow_pickle=False)
rows = z["embeddings"]
assert rows.shape == (13 + 1 + 1, 32) and rows.dtype == np.float32, rows.shape
b, o = z["record_names"].tobytes(), z["record_name_offsets"]
names = [b[i:j].decode() for i, j in zip(o, o[1:])]
assert names == ["chr", "n", "\u00e9"], names
assert z["record_lengths"].tolist() == [12345, 3, 5]
assert z["record"].tolist() == [0] * 13 + [1, 2]
assert z["start"].tolist() == list(range(0, 12345, 1000)) + [0, 0]
assert z["end"].tolist() == list(range(1000, 12345, 1000)) + [12345, 3, 5]
assert set(z["strand"].tolist()) == {b"."}
assert json.loads(z["metadata"].tobytes())["pool"] == "mean"
assert np.isnan(rows[13]).all() and np.isfinite(np.delete(rows, 13, 0)).all()
np.testing.assert_array_equal(np.load(folder + "/rows.npy", allow_pickle=False), rows)
half = np.load(folder + "/short.npz")["embeddings"]
assert half.dtype == np.float16
np.testing.assert_array_equal(half, rows.astype(np.float16))
lines = [line.rstrip("\n").split("\t") for line in open(folder + "/rows.tsv", encoding="utf-8")]
assert lines[0][:5] == ["#record", "start", "end", "strand", "e0"]
np.testing.assert_array_equal(np.array([line[4:] for line in lines[1:]], dtype=np.float32), rows)
table = [line.rstrip("\n").split("\t") for line in open(folder + "/table.tsv", encoding="utf-8")]
assert [line[:4] for line in table] == [line[:4] for line in lines], table[:2]
assert [line[0] for line in lines[1:]] == [names[i] for i in z["record"]]
assert gzip.open(folder + "/rows.tsv.gz").read() == open(folder + "/rows.tsv", "rb").read()
tensors = load_file(folder + "/rows.safetensors")
for name in "embeddings", "record", "start", "end", "record_name_offsets", "record_lengths":
    np.testing.assert_array_equal(tensors[name], z[name])
assert tensors["strand"].tobytes() == z["strand"].tobytes()
a = anndata.read_h5ad(folder + "/rows.h5ad")
np.testing.assert_array_equal(a.X, rows)
assert a.obs["record"].tolist() == [names[i] for i in z["record"]]
assert a.obs["start"].tolist() == z["start"].tolist() and a.obs["end"].tolist() == z["end"].tolist()
assert set(a.obs["strand"]) == {"."}
assert json.loads(a.uns["metadata"])["pool"] == "mean"
assert a.uns["records"]["length"].to_dict() == dict(zip(names, z["record_lengths"]))
np.testing.assert_array_equal(anndata.read_h5ad(folder + "/short.h5ad").X, half)
if os.path.exists(folder + "/rows.parquet"):
    import pyarrow.parquet
    t = pyarrow.parquet.read_table(folder + "/rows.parquet")
    np.testing.assert_array_equal(np.stack(t["embedding"].to_numpy()), rows)
    assert t["record"].to_pylist() == [names[i] for i in z["record"]]
    assert t["record_length"].to_pylist() == z["record_lengths"][z["record"]].tolist()
    for name, column in ("record_index", "record"), ("start", "start"), ("end", "end"):
        assert t[name].to_pylist() == z[column].tolist(), name
    assert json.loads(t.schema.metadata[b"metadata"])["pool"] == "mean"
)",
                                 {folder_.path().string()});
  EXPECT_EQ(result.status, 0) << result.output;
}

TEST_F(EmbedCommand, AFileGetsTheBytesThatStdoutGets) {
  const std::string sequences = folder_.write("s.fa", random_fasta("s", 20'000));
  ASSERT_EQ(embed({sequences, "-o", folder_.file("rows.tsv")}).status, 0);
  const std::string one = content_of(folder_.file("rows.tsv"));
  EXPECT_EQ(embed({sequences}).out, one);
  EXPECT_EQ(embed({sequences, "--format", "tsv", "-o", folder_.file("rows.txt")}).status, 0);
  EXPECT_EQ(content_of(folder_.file("rows.txt")), one);
}

// ---- a report

TEST_F(EmbedCommand, AReportShowsWhatWasEmbedded) {
  const std::string page = folder_.file("page.html");
  const std::string sequences = folder_.write("s.fa", random_fasta("s", 20'000) + ">n\nNNNN\n>none\n>p\nGGCC\n");
  const ProgramResult result = embed({sequences, "-o", out_, "--report", page, "--soft-mask", "keep"});
  EXPECT_EQ(result.status, 0) << result.err;
  const ReportData data(content_of(page));
  EXPECT_EQ(data.json("record_names"), nlohmann::json({"s", "n", "none", "p"}));
  EXPECT_THAT(data.column("record_length"), ::testing::ElementsAre(20'000, 4, 0, 4));
  EXPECT_THAT(data.column("record_windows"), ::testing::ElementsAre(20, 1, 0, 1));
  EXPECT_EQ(data.json("summary")["windows"], 22);
  EXPECT_EQ(data.json("summary")["windows_without_vector"], 1);
  EXPECT_EQ(data.column("window_x").size(), 21U);
  EXPECT_EQ(data.json("throughput")["done"].back(), 20'008);
  EXPECT_THAT(data.json("run")["command"].get<std::string>(),
              AllOf(StartsWith("dnamamba embed -q"), EndsWith("--report " + page + " --soft-mask keep")));
  EXPECT_EQ(data.json("run")["inputs"], nlohmann::json({sequences}));
}

TEST_F(EmbedCommand, AReportGoesWithStdoutAndDoesNotChangeTheRows) {
  const std::string page = folder_.file("page.html");
  const ProgramResult result = embed({good_, "--report", page});
  EXPECT_EQ(result.status, 0) << result.err;
  EXPECT_EQ(result.out, embed({good_}).out);
  EXPECT_THAT(content_of(page), StartsWith("<!doctype html>"));
}

TEST_F(EmbedCommand, AMapDoesNotDependOnThreads) {
  const std::string sequences = folder_.write("s.fa", random_fasta("s", 30'000));
  std::vector<ReportData> pages;
  for (const char* threads : {"1", "2"}) {
    const std::string page = folder_.file(std::string("page") + threads + ".html");
    const ProgramResult result = dnamamba(
        {"embed", "-q", "-m", tiny_model(), "-t", threads, sequences, "-w", "100", "-o", "-", "--report", page});
    ASSERT_EQ(result.status, 0) << result.err;
    pages.emplace_back(content_of(page));
  }
  EXPECT_EQ(pages[0].text("window_x"), pages[1].text("window_x"));
  EXPECT_EQ(pages[0].text("window_y"), pages[1].text("window_y"));
  EXPECT_EQ(pages[0].text("summary"), pages[1].text("summary"));
}

TEST_F(EmbedCommand, AReportThatCanNotBeWrittenLeavesNothing) {
  expect_refusal(embed({good_, "-o", out_, "--report", folder_.write("there.html", "mine")}), 1, "already exists");
  EXPECT_EQ(content_of(folder_.file("there.html")), "mine");
  expect_refusal(embed({good_, "-o", out_, "--report", folder_.file("absent/page.html")}), 1, "absent");
  expect_refusal(embed({good_, "-o", out_, "--report", "/dev/full"}), 1, "/dev/full");
  expect_refusal(embed({good_, "-o", out_, "--report", "-"}), 2, "--report needs the name of a file");
  expect_refusal(embed({good_, "-o", out_, "--report", folder_.path().string() + "/./rows.npz"}), 2, "the same file");
  const std::string bad = folder_.write("bad.fa", ">b\nAC!\n");
  expect_refusal(embed({bad, "-o", out_, "--report", folder_.file("page.html")}), 1, "bad.fa: record b");
  EXPECT_FALSE(fs::exists(folder_.file("page.html")));
}

// ---- stopping

class StoppedEmbed : public EmbedCommand, public ::testing::WithParamInterface<int> {};

TEST_P(StoppedEmbed, LeavesNoFileBehind) {
  const TempDir out;
  BackgroundProgram program(DNAMAMBA_PROGRAM,
                            {"embed", "-q", "-m", tiny_model(), "-", "-o", out.file("rows.npz"), "-w", "10"},
                            folder_.file("err"));
  program.write(random_fasta("a", 100'000));
  const auto begun = std::chrono::steady_clock::now();
  while (fs::is_empty(out.path()) && std::chrono::steady_clock::now() - begun < std::chrono::seconds(20))
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  ASSERT_FALSE(fs::is_empty(out.path())) << "the output was never begun";
  EXPECT_FALSE(fs::exists(out.file("rows.npz")));
  program.send(GetParam());
  EXPECT_EQ(program.wait().status, 1);
  EXPECT_TRUE(fs::is_empty(out.path()));
  EXPECT_THAT(content_of(folder_.file("err")), StartsWith("dnamamba embed: stopped by SIG"));
}

INSTANTIATE_TEST_SUITE_P(BySignal, StoppedEmbed, ::testing::Values(SIGINT, SIGTERM),
                         [](const auto& tested) { return tested.param == SIGINT ? "SIGINT" : "SIGTERM"; });

// ---- a real genome

TEST_F(EmbedCommand, EmbedsABacterialGenome) {
  const ProgramResult result = dnamamba({"embed", "-m", tiny_model(), kGenome, "-o", out_});
  EXPECT_EQ(result.status, 0);
  EXPECT_THAT(result.out, IsEmpty());
  EXPECT_THAT(result.err, AllOf(HasSubstr("581 vectors of 32 from 1 record, 580076 bases in " + out_)));
}

}  // namespace
}  // namespace dnamamba::test
