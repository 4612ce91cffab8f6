// dnamamba info: numbers about sequence files that other programs agree with.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "tests/cli/tiny_model.h"
#include "tests/support/compress.h"

namespace dnamamba::test {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::StartsWith;

TEST(InfoCommand, CountsRecordsBasesAndKinds) {
  const TempDir folder;
  const std::string file = folder.write("s.fa", ">a one\nACGTNN\nggcc\n>b\nRYAAT\n>empty\n");
  const ProgramResult result = dnamamba({"info", file});
  EXPECT_EQ(result.status, 0);
  EXPECT_EQ(result.out, file +
                            "\n  format       FASTA\n  records      3\n  bases        15\n  longest      10\n"
                            "  shortest     0\n  GC           54.55 %\n  N            2\n  soft-masked  4\n"
                            "  other        2\n");
  EXPECT_EQ(dnamamba({"info", "-q", "--records", file}).out,
            "#record\tlength\tgc\tn\tsoft_masked\na\t10\t75.00\t2\t4\nb\t5\t0.00\t0\t0\nempty\t0\t0.00\t0\t0\n");
}

TEST(InfoCommand, FindsDamageToTheEndOfTheFile) {
  const TempDir folder;
  const std::string zipped = gzipped(">a\n" + std::string(200'000, 'A') + "\n");
  const ProgramResult cut = dnamamba({"info", "-q", folder.write("cut.fa.gz", zipped.substr(0, zipped.size() - 9))});
  EXPECT_EQ(cut.status, 1);
  EXPECT_THAT(cut.out, IsEmpty());
  EXPECT_THAT(cut.err, AllOf(StartsWith("dnamamba info: "), HasSubstr("cut.fa.gz: ends at byte")));
  EXPECT_EQ(dnamamba({"info"}).status, 2);
  EXPECT_EQ(dnamamba({"info", folder.file("absent")}).status, 1);
}

TEST(InfoCommand, ReadsStandardInputAndShowsModels) {
  const ProgramResult piped =
      dnamamba({"info", "-q", "-"}, {.standard_input = "@r\nACG\n+\nIII\n", .environment = {}, .standard_output = {}});
  EXPECT_THAT(piped.out, AllOf(HasSubstr("format       FASTQ"), HasSubstr("bases        3")));
  EXPECT_EQ(dnamamba({"info", tiny_model()}).out, dnamamba({"models", "show", tiny_model()}).out);
}

TEST(InfoCommand, AgreesWithSamtoolsOnTheLengthsOfRecords) {
  if (run_program("/bin/sh", {"-c", "command -v samtools"}).status != 0) GTEST_SKIP() << "no samtools";
  const TempDir folder;
  const std::string fasta = folder.file("s.fa");
  const ProgramResult made =
      run_program("/bin/sh", {"-c", R"(zcat "$1" | sed 's/^>.*/>chromosome/' >"$2" &&
                                       printf '>b x\nACGT\nAC\n>c\nNNN\n' >>"$2" && samtools faidx "$2" && cut -f 1,2 "$2.fai")",
                              "sh", PROJECT_FOLDER "/tests/data/genomes/Mycoplasmoides_genitalium.fa.gz", fasta});
  ASSERT_EQ(made.status, 0) << made.err;
  const ProgramResult ours = shell(R"("$1" info -q --records "$2" | tail -n +2 | cut -f 1,2)", {fasta});
  EXPECT_EQ(ours.out, made.out);
  EXPECT_THAT(ours.out, StartsWith("chromosome\t580076\n"));
}

TEST(InfoCommand, WritesTheBasesThatAreReadOfRegionsAndAlignments) {
  const TempDir folder;
  const std::string fasta = folder.write("s.fa", ">a one\nACGTNN\nggcc\n>b\nRYAAT\n");
  EXPECT_EQ(dnamamba({"info", "--bases", fasta}).out, ">a one\nACGTNNggcc\n>b\nRYAAT\n");
  EXPECT_EQ(dnamamba({"info", "--bases", "-r", "b:2-3", "-r", "a:6", fasta}).out, ">a:6-10\nNggcc\n>b:2-3\nYA\n");
  EXPECT_EQ(dnamamba({"info", "--bases", "-R", folder.write("p.bed", "a\t1\t3\n"), fasta}).out, ">a:2-3\nCG\n");
  const std::string sam = folder.write("s.sam",
                                       "@SQ\tSN:a\tLN:10\nx\t81\ta\t2\t9\t4M\t*\t0\t0\tAACG\t*\n"
                                       "y\t1024\ta\t2\t9\t2M\t*\t0\t0\tTT\t*\n");
  EXPECT_EQ(dnamamba({"info", "--bases", sam}).out, ">x/1\nCGTT\n");
  EXPECT_EQ(dnamamba({"info", "--bases", "--exclude-flags", "0", "-r", "a:5", sam}).out, ">x/1\nCGTT\n");
  EXPECT_EQ(dnamamba({"info", "--bases", "--exclude-flags", "REVERSE", sam}).out, ">y\nTT\n");
  EXPECT_THAT(dnamamba({"info", sam}).out, AllOf(HasSubstr("SAM"), HasSubstr("left out     1 ")));
  for (const std::vector<std::string>& wrong :
       {std::vector<std::string>{"-r", "a:0-1"}, {"--exclude-flags", "NONE"}, {"--min-mapq", "x"}}) {
    std::vector<std::string> words = {"info", sam};
    words.insert(words.end(), wrong.begin(), wrong.end());
    EXPECT_EQ(dnamamba(words).status, 2) << wrong[0];
  }
}

}  // namespace
}  // namespace dnamamba::test
