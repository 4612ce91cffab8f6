// dnamamba pack as users and scripts meet it, and what info and pretrain make of its stores.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <csignal>
#include <filesystem>
#include <random>

#include "tests/cli/tiny_model.h"
#include "tests/support/compress.h"
#include "tests/support/throws.h"

namespace dnamamba::test {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

class PackCommand : public ::testing::Test {
 protected:
  std::string random_fasta(const std::string& name, std::size_t length) {
    std::string text = ">" + name + "\n";
    for (std::size_t i = 0; i < length; ++i) text += "ACGTacgtN"[random_() % 9];
    return text + "\n";
  }
  std::vector<std::string> command(const std::string& output, const std::vector<std::string>& more = {}) const {
    std::vector<std::string> words{"pack", a_, b_, "-o", folder_.file(output), "-t", "2"};
    words.insert(words.end(), more.begin(), more.end());
    return words;
  }

  std::mt19937 random_{4};
  const TempDir folder_;
  const std::string a_ = folder_.write("a.fa", ">x of a\nACGTNNggcc\n>empty\n");
  const std::string b_ = folder_.write("b.fq.gz", gzipped("@r/1\nRYaaT\n+\nIIIII\n"));
};

TEST_F(PackCommand, MakesAStoreThatInfoDescribesAndGivesBack) {
  const ProgramResult result = dnamamba(command("s.dnaz"));
  EXPECT_EQ(result.status, 0) << result.err;
  EXPECT_THAT(result.out, IsEmpty());
  EXPECT_THAT(result.err, HasSubstr("s.dnaz: 3 records and 15 bases of 2 files, in "));
  EXPECT_EQ(std::distance(fs::directory_iterator(folder_.path()), fs::directory_iterator()), 3);
  const std::string store = folder_.file("s.dnaz");
  EXPECT_EQ(dnamamba({"info", "-q", store}).out,
            store +
                "\n  format       token store, version 1\n  alphabet     dnamamba\n  files        2\n"
                "  records      3\n  bases        15\n  longest      10\n  shortest     0\n  GC           54.55 %\n"
                "  N            4\n  soft-masked  6\n  other        0\n  packed from  " +
                a_ + " (2 records)\n  packed from  " + b_ + " (1 record)\n");
  EXPECT_EQ(dnamamba({"info", "--bases", store}).out, ">x\nACGTNNggcc\n>empty\n\n>r/1\nNNaaT\n");
  EXPECT_EQ(dnamamba({"info", "-q", "--records", store}).out,
            "#record\tlength\tgc\tn\tsoft_masked\nx\t10\t75.00\t2\t4\nempty\t0\t0.00\t0\t0\nr/1\t5\t0.00\t2\t2\n");
  EXPECT_EQ(dnamamba({"info", "-r", "x:1-2", store}).status, 2);
}

TEST_F(PackCommand, PacksRegionsPipesAndOtherAlphabets) {
  ASSERT_EQ(dnamamba({"pack", "-q", "-r", "x:7-8", "-r", "x:1-3", a_, "-o", folder_.file("r.dnaz")}).status, 0);
  EXPECT_EQ(dnamamba({"info", "--bases", folder_.file("r.dnaz")}).out, ">x:1-3\nACG\n>x:7-8\ngg\n");
  const ProgramInput piped{.standard_input = ">p\nAC-GT\n", .environment = {}, .standard_output = {}};
  const ProgramResult dropped =
      dnamamba({"pack", "-", "--invalid", "drop", "--alphabet", "plantcad", "-o", folder_.file("p.dnaz")}, piped);
  EXPECT_THAT(dropped.err, HasSubstr("1 letter without IUPAC code left out"));
  EXPECT_EQ(dnamamba({"info", "--bases", folder_.file("p.dnaz")}).out, ">p\nACGT\n");
  EXPECT_THAT(dnamamba({"info", folder_.file("p.dnaz")}).out, HasSubstr("alphabet     plantcad"));
}

TEST_F(PackCommand, RefusesWhatCanNotBeDoneAndLeavesNothing) {
  const auto expect = [&](const std::vector<std::string>& arguments, int status, const std::string& what) {
    const ProgramResult result = dnamamba(arguments);
    EXPECT_EQ(result.status, status) << result.err;
    EXPECT_THAT(result.err, HasSubstr(what));
  };
  expect({"pack", a_}, 2, "-o");
  expect({"pack", "-o", folder_.file("x.dnaz")}, 2, "no input");
  expect({"pack", folder_.write("bad.fa", ">b\nAC*T\n"), "-o", folder_.file("x.dnaz")}, 1, "--invalid");
  expect({"pack", folder_.file("absent.fa"), "-o", folder_.file("x.dnaz")}, 1, "absent.fa: can't open");
  expect(command("a.fa"), 1, "--force");
  EXPECT_FALSE(fs::exists(folder_.file("x.dnaz")));
  EXPECT_FALSE(fs::exists(folder_.file("x.dnaz.partial")));
  EXPECT_FALSE(fs::exists(folder_.file("x.dnaz.partial.inputs")));
}

TEST_F(PackCommand, KilledGoesOnToTheBytesOfAnUndisturbedRun) {
  const std::string first = folder_.write("first.fa", random_fasta("one", 300'000));
  const std::string second = folder_.write("second.fa", random_fasta("two", 1'500'000));
  const std::vector<std::string> inputs{first, second, "-o", folder_.file("s.dnaz")};
  ASSERT_EQ(dnamamba({"pack", "-q", first, second, "-o", folder_.file("whole.dnaz")}).status, 0);
  // The kernel kills it where a file would have more than 600 blocks of 512 bytes: among the second one's frames.
  const ProgramResult killed =
      shell(R"(program=$1; shift; ulimit -c 0; ulimit -f 600; exec "$program" pack "$@")", inputs);
  ASSERT_EQ(killed.status, 128 + SIGXFSZ) << killed.err;
  EXPECT_FALSE(fs::exists(folder_.file("s.dnaz")));
  const std::string partial = folder_.file("s.dnaz.partial");
  ASSERT_EQ(fs::file_size(partial), 600U * 512);
  fs::copy_file(partial, folder_.file("t.dnaz.partial"));
  fs::copy_file(partial + ".inputs", folder_.file("t.dnaz.partial.inputs"));
  std::vector<std::string> words{"pack"};
  words.insert(words.end(), inputs.begin(), inputs.end());
  const ProgramResult again = dnamamba(words);
  EXPECT_EQ(again.status, 0) << again.err;
  EXPECT_THAT(again.err, AllOf(HasSubstr("going on from"), HasSubstr("1 of 2 files are packed")));
  EXPECT_EQ(content_of(folder_.file("s.dnaz")), content_of(folder_.file("whole.dnaz")));
  EXPECT_FALSE(fs::exists(partial));
  EXPECT_FALSE(fs::exists(partial + ".inputs"));

  // Other inputs than those of the partial file.
  const ProgramResult other = dnamamba({"pack", a_, "-o", folder_.file("t.dnaz")});
  EXPECT_EQ(other.status, 0);
  EXPECT_THAT(other.err, HasSubstr("packing begins anew"));
  ASSERT_EQ(dnamamba({"pack", "-q", a_, "-o", folder_.file("fresh.dnaz")}).status, 0);
  EXPECT_EQ(content_of(folder_.file("t.dnaz")), content_of(folder_.file("fresh.dnaz")));
}

TEST_F(PackCommand, AStoreTrainsTheModelThatItsFilesTrain) {
  const std::string train = folder_.write("t.fa", random_fasta("t", 3'000) + random_fasta("u", 900));
  ASSERT_EQ(dnamamba({"pack", "-q", train, "-o", folder_.file("t.dnaz")}).status, 0);
  const auto model_of = [&](const std::string& input, const std::string& output) {
    const ProgramResult result = dnamamba({"pretrain",
                                           input,
                                           "-o",
                                           folder_.file(output),
                                           "--d-model",
                                           "16",
                                           "--layers",
                                           "1",
                                           "--context",
                                           "64",
                                           "--context-start",
                                           "16",
                                           "--batch",
                                           "256",
                                           "--steps",
                                           "4",
                                           "--soft-mask-weight",
                                           "0.1",
                                           "--sample-by",
                                           "sequence",
                                           "--hold-out",
                                           "t:1-200",
                                           "--hold-out-fraction",
                                           "0.3",
                                           "--hold-out-block",
                                           "100",
                                           "-t",
                                           "1"});
    EXPECT_EQ(result.status, 0) << result.err;
    EXPECT_THAT(result.err, HasSubstr("bits per base on " + input + " (held out)"));
    return content_of(folder_.file(output + "/model.safetensors"));
  };
  const std::string expected = model_of(train, "files");
  EXPECT_THAT(expected, Not(IsEmpty()));
  EXPECT_EQ(model_of(folder_.file("t.dnaz"), "store"), expected);
}

TEST_F(PackCommand, PretrainSaysWhatIsWrongWithItsData) {
  const auto expect = [&](const std::vector<std::string>& more, int status, const std::string& what) {
    std::vector<std::string> words{"pretrain", a_, "-o", folder_.file("m"), "--steps", "1", "--d-model", "16"};
    words.insert(words.end(), more.begin(), more.end());
    const ProgramResult result = dnamamba(words);
    EXPECT_EQ(result.status, status) << result.err;
    EXPECT_THAT(result.err, HasSubstr(what));
  };
  expect({"--weight", "a.fa"}, 2, "--weight: 'a.fa' is not FILE=X");
  expect({"--context", "all"}, 2, "nor is it whole");
  expect({"--context-start", "2k"}, 2, "--context-start must be less");
  expect({"--hold-out-fraction", "1"}, 2, "--hold-out-fraction");
  expect({"--hold-out", "nowhere"}, 1, "there is no record 'nowhere'");
}

}  // namespace
}  // namespace dnamamba::test
