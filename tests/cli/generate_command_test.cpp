// dnamamba generate as users and scripts meet it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <sstream>

#include "tests/cli/tiny_model.h"

namespace dnamamba::test {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::StartsWith;

struct Drawn {
  std::vector<std::string> names, bases;
};

Drawn read_fasta(const std::string& text) {
  Drawn drawn;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    if (line.starts_with(">")) {
      drawn.names.push_back(line.substr(1));
      drawn.bases.emplace_back();
    } else {
      EXPECT_LE(line.size(), 60U);
      drawn.bases.back() += line;
    }
  }
  return drawn;
}

class GenerateCommand : public ::testing::TestWithParam<std::string> {
 protected:
  ProgramResult generate(std::vector<std::string> arguments) const {
    arguments.insert(arguments.begin(), {"generate", "-q", "-m", tiny_model(GetParam())});
    return dnamamba(arguments);
  }
  std::string text(const std::vector<std::string>& arguments) const {
    const ProgramResult result = generate(arguments);
    EXPECT_EQ(result.status, 0) << result.err;
    return result.out;
  }
  void expect_refusal(const std::vector<std::string>& arguments, int status, const std::string& what) const {
    const ProgramResult result = generate(arguments);
    EXPECT_EQ(result.status, status) << what;
    EXPECT_THAT(result.err, AllOf(StartsWith("dnamamba generate: "), HasSubstr(what), EndsWith("\n")));
    EXPECT_EQ(std::count(result.err.begin(), result.err.end(), '\n'), 1) << result.err;
  }

  const TempDir folder_;
  const std::string out_ = folder_.file("out.fa");
  const std::string prompts_ = folder_.write("prompts.fa", ">one x\nACGTTGCATNNACGTA\nACGGT\n>two\nT\n");
};

TEST_P(GenerateCommand, DrawsSequencesOfTheLengthAskedFor) {
  const Drawn drawn = read_fasta(text({"-n", "130", "--number", "3"}));
  EXPECT_THAT(drawn.names, ElementsAre("generated_1", "generated_2", "generated_3"));
  for (const std::string& bases : drawn.bases) {
    EXPECT_EQ(bases.size(), 130U);
    EXPECT_EQ(bases.find_first_not_of("ACGT"), std::string::npos) << bases;
  }
  EXPECT_NE(drawn.bases[0], drawn.bases[1]);
}

TEST_P(GenerateCommand, ContinuesEachPrompt) {
  const Drawn drawn = read_fasta(text({"-n", "60", "--number", "2", prompts_}));
  EXPECT_THAT(drawn.names, ElementsAre("one_1", "one_2", "two_1", "two_2"));
  for (const std::string& bases : drawn.bases) EXPECT_EQ(bases.size(), 60U);
}

TEST_P(GenerateCommand, GivesTheSameAgainOnAnyThreadsAndSegments) {
  const std::string expected = text({"-n", "100", "-t", "1", prompts_});
  EXPECT_EQ(text({"-n", "100", "-t", "1", prompts_}), expected);
  EXPECT_EQ(text({"-n", "100", "-t", "2", prompts_}), expected);
  EXPECT_EQ(text({"-n", "100", "-t", "1", "--segment", "1", prompts_}), expected);
  EXPECT_NE(text({"-n", "100", "-t", "1", "--seed", "2", prompts_}), expected);
}

// What was drawn, read as a prompt, is continued as it would have gone on.
TEST_P(GenerateCommand, GoesOnWithWhatItDrew) {
  const std::string whole = read_fasta(text({"-n", "80", "--temperature", "0", prompts_})).bases.front();
  const std::string longer = folder_.write("longer.fa", ">one\nACGTTGCATNNACGTAACGGT" + whole.substr(0, 30) + "\n");
  EXPECT_EQ(read_fasta(text({"-n", "50", "--temperature", "0", longer})).bases.front(), whole.substr(30));
}

TEST_P(GenerateCommand, OfTheMostProbableBaseAloneIsThatOfTemperatureZero) {
  EXPECT_EQ(text({"-n", "50", "--top-k", "1", prompts_}), text({"-n", "50", "--temperature", "0", prompts_}));
}

TEST_P(GenerateCommand, WithWeightsInBfloat16DrawsToo) {
  EXPECT_EQ(read_fasta(text({"-n", "200", "--weights", "bf16"})).bases.front().size(), 200U);
}

TEST_P(GenerateCommand, WritesAFileWhenItIsWhole) {
  EXPECT_THAT(text({"-n", "10", "-o", out_}), IsEmpty());
  EXPECT_TRUE(fs::exists(out_));
  expect_refusal({"-n", "10", "-o", out_}, 1, "--force");
}

TEST_P(GenerateCommand, RefusesWhatItCannotDo) {
  expect_refusal({"--temperature", "-1"}, 2, "'-1' is not a number from 0 on");
  expect_refusal({"--temperature", "warm"}, 2, "'warm' is not a number from 0 on");
  expect_refusal({"--top-k", "5"}, 2, "5 is not between 1 and 4");
  expect_refusal({"-n", "0"}, 2, "0 is less than 1");
  expect_refusal({"--weights", "int4"}, 2, "'int4' is not one of fp32|bf16");
  expect_refusal({folder_.write("bad.fa", ">r\nAC-T\n")}, 1, "'-'");
  expect_refusal({folder_.write("none.fa", ">r\n")}, 1, "the prompt r has no bases");
}

INSTANTIATE_TEST_SUITE_P(Mixers, GenerateCommand, ::testing::Values("mamba1", "mamba2"),
                         [](const auto& tested) { return tested.param; });

}  // namespace
}  // namespace dnamamba::test
