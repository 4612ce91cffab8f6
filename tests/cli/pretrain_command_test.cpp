// dnamamba pretrain as users and scripts meet it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <csignal>
#include <filesystem>
#include <thread>

#include "tests/cli/tiny_model.h"
#include "tests/support/background_program.h"
#include "tests/support/throws.h"

namespace dnamamba::test {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

class PretrainCommand : public ::testing::Test {
 protected:
  std::vector<std::string> command(const std::string& output, const std::vector<std::string>& more = {}) const {
    std::vector<std::string> words{"pretrain",  sequences_, "-o",       folder_.file(output),
                                   "--d-model", "16",       "--layers", "1",
                                   "--context", "64",       "--batch",  "128",
                                   "-t",        "1"};
    words.insert(words.end(), more.begin(), more.end());
    return words;
  }
  static std::string repeated(const std::string& unit, int times) {
    std::string text;
    for (int i = 0; i < times; ++i) text += unit;
    return text;
  }

  const TempDir folder_;
  const std::string sequences_ = folder_.write("s.fa", ">s\n" + repeated("ACGGTCATTACG", 40) + "\n");
};

TEST_F(PretrainCommand, MakesAFolderThatEmbedTakesAndSaysHowItWent) {
  const ProgramResult result = dnamamba(command("model", {"--steps", "3", "--validation", sequences_}));
  EXPECT_EQ(result.status, 0) << result.err;
  EXPECT_THAT(result.out, IsEmpty());
  EXPECT_THAT(result.err, AllOf(HasSubstr("step 3 of 3: "), HasSubstr("validation after step 3: "),
                                HasSubstr("the model is in " + folder_.file("model"))));
  EXPECT_EQ(dnamamba({"models", "verify", folder_.file("model")}).status, 0);
  EXPECT_THAT(content_of(folder_.file("model/README.md")), HasSubstr("\"steps\": 3"));
  EXPECT_EQ(dnamamba({"embed", "-q", "-m", folder_.file("model"), sequences_}).status, 0);
}

TEST_F(PretrainCommand, TrainsMamba2InSegmentsToAModelThatEmbedTakes) {
  const ProgramResult result = dnamamba(
      command("model", {"--mixer", "mamba2", "--headdim", "8", "--d-state", "16", "--segment", "20", "--steps", "2"}));
  EXPECT_EQ(result.status, 0) << result.err;
  EXPECT_THAT(result.err, HasSubstr("Mamba-2, 1 layer of 16, 32 channels, 4 heads of 8, 16 states"));
  const ProgramResult vectors =
      dnamamba({"embed", "-q", "-m", folder_.file("model"), "--window", "50", "--segment", "33", sequences_});
  EXPECT_THAT(vectors.out, HasSubstr("s\t450\t480\t.\t")) << vectors.err;
}

TEST_F(PretrainCommand, TheSameSeedGivesTheSameBytesAndAnotherOthers) {
  ASSERT_EQ(dnamamba(command("a", {"--steps", "2", "-q"})).status, 0);
  ASSERT_EQ(dnamamba(command("b", {"--steps", "2", "-q"})).status, 0);
  ASSERT_EQ(dnamamba(command("c", {"--steps", "2", "-q", "--seed", "2"})).status, 0);
  EXPECT_EQ(content_of(folder_.file("a/model.safetensors")), content_of(folder_.file("b/model.safetensors")));
  EXPECT_NE(content_of(folder_.file("a/model.safetensors")), content_of(folder_.file("c/model.safetensors")));
}

TEST_F(PretrainCommand, BeginsWithTheWeightsOfAModelOrAnArchitecture) {
  ASSERT_EQ(dnamamba(command("a", {"--steps", "1", "-q", "-m", tiny_model()})).status, 0);
  EXPECT_THAT(dnamamba({"models", "show", folder_.file("a")}).out, HasSubstr("2 layers of 32"));
  ASSERT_EQ(dnamamba(command("b", {"--steps", "1", "-q", "--architecture", tiny_model() + "/config.json"})).status, 0);
  EXPECT_EQ(content_of(folder_.file("b/config.json")), content_of(tiny_model() + "/config.json"));
}

TEST_F(PretrainCommand, RefusesWhatCanNotBeDone) {
  const auto expect = [&](const std::vector<std::string>& arguments, int status, const std::string& what) {
    const ProgramResult result = dnamamba(arguments);
    EXPECT_EQ(result.status, status) << result.err;
    EXPECT_THAT(result.err, HasSubstr(what));
    EXPECT_THAT(result.out, IsEmpty());
  };
  expect({"pretrain", sequences_}, 2, "-o");
  expect({"pretrain", "-o", folder_.file("x")}, 2, "no input");
  expect(command("x", {"--rate", "0"}), 2, "--rate");
  expect(command("x", {"--rate", "fast"}), 2, "--rate");
  expect(command("x", {"--steps", "0"}), 2, "--steps");
  expect(command("x", {"--clip", "nan"}), 2, "--clip");
  expect(command("x", {"--time-limit", "-5"}), 2, "--time-limit");
  expect(command("x", {"--time-limit", "5"}), 2, "--checkpoint");
  expect(command("x", {"--mixer", "mamba2"}), 2, "--headdim 64 must divide --d-model times --expand, 32");
  expect(command("x", {"--mixer", "mamba7"}), 2, "--mixer");
  expect(command("x", {"--device", "cuda:0"}), 2, "cuda");
  expect(command("x", {"--alphabet", "klingon"}), 1, "klingon");
  expect({"pretrain", folder_.file("absent.fa"), "-o", folder_.file("x")}, 1, "absent.fa: can't open");
  fs::create_directory(folder_.path() / "there");
  expect(command("there"), 1, "--force");
  EXPECT_FALSE(fs::exists(folder_.file("x")));
}

TEST_F(PretrainCommand, StoppedByASignalGoesOnToTheSameBytes) {
  const std::vector<std::string> settings{"--steps", "400", "-q"};
  ASSERT_EQ(dnamamba(command("whole", settings)).status, 0);
  std::vector<std::string> words = command("pieces", settings);
  words.insert(words.end(), {"--checkpoint", folder_.file("run"), "--save-every", "20"});
  BackgroundProgram program(DNAMAMBA_PROGRAM, words, folder_.file("err"));
  const auto begun = std::chrono::steady_clock::now();
  while (!fs::exists(folder_.file("run")) && std::chrono::steady_clock::now() - begun < std::chrono::seconds(20))
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  program.send(SIGINT);
  EXPECT_EQ(program.wait().status, 1);
  EXPECT_THAT(content_of(folder_.file("err")), AllOf(HasSubstr("the same command goes on from it"),
                                                     HasSubstr("\ndnamamba pretrain: stopped by SIGINT")));
  EXPECT_TRUE(fs::exists(folder_.file("run/run.json")));
  EXPECT_FALSE(fs::exists(folder_.file("pieces")));
  ASSERT_EQ(dnamamba(words).status, 0);
  EXPECT_EQ(content_of(folder_.file("pieces/model.safetensors")), content_of(folder_.file("whole/model.safetensors")));
  EXPECT_FALSE(fs::exists(folder_.file("run")));
}

}  // namespace
}  // namespace dnamamba::test
