// dnamamba pretrain as users and scripts meet it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <csignal>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <random>
#include <sstream>
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
  expect(command("x", {"--decay", "1.5"}), 2, "--decay is a part");
  expect(command("x", {"--spike-factor", "0"}), 2, "--spike-factor must be positive");
  expect(command("x", {"--last-good"}), 2, "--last-good needs --checkpoint");
  expect(command("x", {"--log", sequences_}), 1, sequences_ + ": exists; --force");
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
  while (!fs::exists(folder_.file("run/step-000020")) &&
         std::chrono::steady_clock::now() - begun < std::chrono::seconds(20))
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  program.send(SIGINT);
  EXPECT_EQ(program.wait().status, 1);
  EXPECT_THAT(content_of(folder_.file("err")), AllOf(HasSubstr("the same command goes on from it"),
                                                     HasSubstr("\ndnamamba pretrain: stopped by SIGINT")));
  EXPECT_TRUE(fs::exists(folder_.file("run/step-000020/index.json")));
  EXPECT_FALSE(fs::exists(folder_.file("pieces")));
  ASSERT_EQ(dnamamba(words).status, 0);
  EXPECT_EQ(content_of(folder_.file("pieces/model.safetensors")), content_of(folder_.file("whole/model.safetensors")));
  EXPECT_FALSE(fs::exists(folder_.file("run")));
}

TEST_F(PretrainCommand, StoppedInAValidationItIsSavedAndValidatesWhenItGoesOn) {
  const std::string held_out = folder_.write("h.fa", ">h\n" + repeated("ACGGTCATTACG", 50'000) + "\n");
  const std::vector<std::string> settings{"--steps", "2", "-q", "--validation", held_out};
  ASSERT_EQ(dnamamba(command("whole", settings)).status, 0);
  std::vector<std::string> words = command("pieces", settings);
  words.insert(words.end(), {"--checkpoint", folder_.file("run"), "--log", folder_.file("log.jsonl")});
  BackgroundProgram program(DNAMAMBA_PROGRAM, words, folder_.file("err"));
  const auto begun = std::chrono::steady_clock::now();
  while (content_of(folder_.file("log.jsonl")).find("\"step\":2,") == std::string::npos &&
         std::chrono::steady_clock::now() - begun < std::chrono::seconds(20))
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  program.send(SIGTERM);
  EXPECT_EQ(program.wait().status, 1);
  EXPECT_THAT(content_of(folder_.file("err")), HasSubstr("step 2 is saved in "));
  ASSERT_EQ(dnamamba(words).status, 0);
  EXPECT_EQ(content_of(folder_.file("pieces/README.md")), content_of(folder_.file("whole/README.md")));
}

// A network as small as they come, and a checkpoint every other step: many of the kills fall into a save.
TEST_F(PretrainCommand, KilledTwentyTimesAtAnyMomentItEndsInTheSameBytes) {
  const auto words = [&](const std::string& output) {
    return std::vector<std::string>{"pretrain",  sequences_,
                                    "-o",        folder_.file(output),
                                    "--d-model", "8",
                                    "--layers",  "1",
                                    "--steps",   "600",
                                    "--context", "32",
                                    "--batch",   "32",
                                    "-t",        "1",
                                    "-q",        "--validation",
                                    sequences_,  "--validate-every",
                                    "7"};
  };
  ASSERT_EQ(dnamamba(words("whole")).status, 0);
  std::vector<std::string> pieces = words("pieces");
  pieces.insert(pieces.end(), {"--checkpoint", folder_.file("run"), "--save-every", "2", "--log",
                               folder_.file("log.jsonl"), "--report", folder_.file("report.html")});
  std::mt19937 random(20);
  std::uniform_int_distribution<int> moment(0, 150);  // milliseconds
  int killed = 0;
  for (int i = 0; i < 20; ++i) {
    const auto before = fs::last_write_time(folder_.write("mark", ""));
    BackgroundProgram program(DNAMAMBA_PROGRAM, pieces, folder_.file("err"));
    const auto begun = std::chrono::steady_clock::now();
    const auto at_work = [&] {  // at each start it cleans the folder and writes its log anew
      return fs::exists(folder_.file("log.jsonl")) && fs::last_write_time(folder_.file("log.jsonl")) > before;
    };
    while (!at_work() && std::chrono::steady_clock::now() - begun < std::chrono::seconds(20))
      std::this_thread::sleep_for(std::chrono::milliseconds(2));
    std::this_thread::sleep_for(std::chrono::milliseconds(moment(random)));
    program.send(SIGKILL);
    killed += program.wait().status == 128 + SIGKILL ? 1 : 0;
  }
  EXPECT_EQ(killed, 20) << content_of(folder_.file("err"));
  EXPECT_FALSE(fs::exists(folder_.file("pieces")));
  EXPECT_FALSE(fs::is_empty(folder_.file("run"))) << "there is something to go on from";
  const ProgramResult last = dnamamba(pieces);
  ASSERT_EQ(last.status, 0) << last.err;
  for (const char* file : {"model.safetensors", "README.md"})
    EXPECT_EQ(content_of(folder_.file("pieces/" + std::string(file))),
              content_of(folder_.file("whole/" + std::string(file))));
  EXPECT_FALSE(fs::exists(folder_.file("run")));
  std::istringstream log(content_of(folder_.file("log.jsonl")));
  std::vector<std::int64_t> steps;
  for (std::string line; std::getline(log, line);)
    if (const auto entry = nlohmann::json::parse(line); entry.contains("rate")) steps.push_back(entry["step"]);
  ASSERT_EQ(steps.size(), 600U);
  for (std::int64_t step = 0; step < 600; ++step) EXPECT_EQ(steps[step], step + 1);
}

}  // namespace
}  // namespace dnamamba::test
