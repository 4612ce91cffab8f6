// dnamamba score as users and scripts meet it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <random>
#include <sstream>

#include "tests/cli/tiny_model.h"
#include "tests/support/python.h"
#include "tests/support/throws.h"

namespace dnamamba::test {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::StartsWith;

std::string random_bases(int length) {
  std::mt19937 random(3);
  std::string bases;
  for (int i = 0; i < length; ++i) bases += "ACGT"[random() % 4];
  return bases;
}

class ScoreCommand : public ::testing::Test {
 protected:
  ProgramResult score(std::vector<std::string> arguments) const {
    arguments.insert(arguments.begin(), {"score", "-q", "-t", "1", "-m", tiny_model()});
    return dnamamba(arguments);
  }
  // One line that says `what`, the status, nothing on stdout, and no output.
  void expect_refusal(const std::vector<std::string>& arguments, int status, const std::string& what) const {
    const ProgramResult result = score(arguments);
    EXPECT_EQ(result.status, status) << what;
    EXPECT_THAT(result.out, IsEmpty());
    EXPECT_THAT(result.err, AllOf(StartsWith("dnamamba score: "), HasSubstr(what), EndsWith("\n")));
    EXPECT_EQ(std::count(result.err.begin(), result.err.end(), '\n'), 1) << result.err;
    EXPECT_FALSE(fs::exists(out_));
  }

  const TempDir folder_;
  const std::string out_ = folder_.file("out.bw");
  const std::string good_ =
      folder_.write("good.fa", ">chr2 x\n" + random_bases(2000) + "NNNACGT\n>chr1\n" + random_bases(70) + "\n>e\n");
};

TEST_F(ScoreCommand, ALineOfEachRecordGoesToStandardOutput) {
  const ProgramResult result = score({good_});
  EXPECT_EQ(result.status, 0) << result.err;
  std::istringstream lines(result.out);
  std::string line;
  std::getline(lines, line);
  EXPECT_EQ(line, "#record\tstart\tend\tscored\tbits_per_base");
  std::getline(lines, line);
  EXPECT_THAT(line, StartsWith("chr2\t0\t2007\t2003\t"));
  std::getline(lines, line);
  EXPECT_THAT(line, StartsWith("chr1\t0\t70\t69\t"));
  std::getline(lines, line);
  EXPECT_EQ(line, "e\t0\t0\t0\tnan");
  EXPECT_FALSE(std::getline(lines, line));
}

TEST_F(ScoreCommand, SaysWhatPretrainSaysOnValidation) {
  const ProgramResult trained =
      dnamamba({"pretrain", good_, "--validation", good_, "-o", folder_.file("m"), "--d-model", "16", "--layers", "1",
                "--steps", "1", "--batch", "64", "--context", "32"});
  ASSERT_EQ(trained.status, 0) << trained.err;
  const std::size_t at = trained.err.find(" bits per base on " + good_);
  ASSERT_NE(at, std::string::npos) << trained.err;
  const std::string bits = trained.err.substr(at - 6, 6);  // four digits
  const ProgramResult scored = dnamamba({"score", "-m", folder_.file("m"), good_});
  EXPECT_THAT(scored.err, HasSubstr(" " + bits + " bits per base, 2072 bases of 2077 scored, 3 records"));
}

TEST_F(ScoreCommand, EveryFormatHasTheSameValues) {
  DNAMAMBA_REQUIRE_PYTHON("pyBigWig, numpy");
  for (const char* name : {"a.bw", "a.bedGraph", "a.bedGraph.gz"})
    ASSERT_EQ(score({good_, "--strand", "both", "-o", folder_.file(name)}).status, 0) << name;
  for (const char* name : {"a.tsv", "a.tsv.gz"})
    ASSERT_EQ(score({good_, "--strand", "both", "-w", "100", "-o", folder_.file(name)}).status, 0) << name;
  const auto result = run_python(R"(
import gzip, sys, numpy as np, pyBigWig
folder = sys.argv[1]
bw = pyBigWig.open(folder + "/a.bw")
assert bw.chroms() == {"chr2": 2007, "chr1": 70, "e": 0}
x = {name: np.array(bw.values(name, 0, n)) for name, n in bw.chroms().items() if n}
assert np.flatnonzero(np.isnan(x["chr2"])).tolist() == [2000, 2001, 2002] and not np.isnan(x["chr1"]).any()
text = open(folder + "/a.bedGraph").read()
assert gzip.open(folder + "/a.bedGraph.gz", "rt").read() == text
y = {name: np.full(len(v), np.nan) for name, v in x.items()}
for line in text.splitlines():
    name, start, end, value = line.split("\t")
    y[name][int(start) : int(end)] = float(value)
for name in x: np.testing.assert_allclose(y[name], x[name], rtol=1e-6)
text = open(folder + "/a.tsv").read()
assert gzip.open(folder + "/a.tsv.gz", "rt").read() == text
rows = [line.split("\t") for line in text.splitlines()[1:]]
assert len(rows) == 22
for name, start, end, scored, mean in rows:
    part = x[name][int(start) : int(end)]
    assert int(scored) == np.isfinite(part).sum() and abs(float(mean) - np.nanmean(part)) < 1e-5
)",
                                 {folder_.path().string()});
  EXPECT_EQ(result.status, 0) << result.output;
}

TEST_F(ScoreCommand, RegionsAreRecordsOfATable) {
  EXPECT_THAT(score({good_, "-r", "chr2:101-300"}).out, HasSubstr("chr2:101-300\t0\t200\t199\t"));
}

TEST_F(ScoreCommand, SaysInOneLineWhatCanNotBeDone) {
  expect_refusal({}, 2, "no input");
  expect_refusal({good_, "-o", folder_.file("a.wig")}, 2, "'.wig'");
  expect_refusal({good_, "-o", out_, "-r", "chr1"}, 2, "leave out -r");
  expect_refusal({good_, "-o", out_, "-w", "10"}, 2, "--window is for .tsv");
  expect_refusal({good_, "-o", out_, "--invalid", "drop"}, 2, "--invalid drop moves");
  expect_refusal({good_, "-o", out_, "--strand", "none"}, 2, "'none' is not one of forward|reverse|both");
  expect_refusal({folder_.file("absent.fa"), "-o", out_}, 1, "absent.fa: can't open");
  expect_refusal({folder_.write("gap.fa", ">a\nAC-T\n"), "-o", out_}, 1, "gap.fa: record a, position 2");
  expect_refusal({folder_.write("twice.fa", ">a\nACGT\n>a\nACGT\n"), "-o", out_}, 1,
                 "out.bw: record 2 is called 'a' as one before it");
  folder_.write("old.bw", "old");
  expect_refusal({good_, "-o", folder_.file("old.bw")}, 1, "--force");
}

}  // namespace
}  // namespace dnamamba::test
