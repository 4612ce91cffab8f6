// `pretrain` as a whole: what comes out does not depend on interruptions or on how a context was cut.
#include "core/engine/pretrain.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/from_blob.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <numbers>

#include "core/base/error.h"
#include "core/engine/run_settings.h"
#include "core/heads/language_head.h"
#include "tests/engine/engine_models.h"
#include "tests/support/throws.h"

namespace dnamamba::engine {
namespace {

namespace fs = std::filesystem;
using test::content_of;
using test::error_text;
using test::Sequence;
using test::TempDir;
using ::testing::AllOf;
using ::testing::HasSubstr;

void ignore(const PretrainReport& /*report*/) {}

// Fresh weights, as a run begins with.
model::Model new_model() {
  model::Model model;
  model.alphabet = tokens::Alphabet::built_in("dnamamba");
  model.config = model::mamba1_config(16, 2);
  model.parameters = model::initialise_parameters(model.config, 5);
  return model;
}

class Pretrain : public ::testing::Test {
 protected:
  // One thread: these models are so small that more only wait for one another.
  void SetUp() override { set_threads(1); }

  PretrainOptions options(const std::string& output) const {
    PretrainOptions options;
    options.inputs = {training_};
    options.validation = {held_out_};
    options.output = folder_.file(output);
    options.context = 48;
    options.batch = 200;
    options.micro_batch = 100;
    options.segment = 1'000;
    options.schedule.steps = 6;
    options.schedule.rate = 1e-2;
    return options;
  }

  const TempDir folder_;
  test::RandomTensors random_{11};
  const std::vector<Sequence> held_out_sequences_{
      {"a", test::random_bases(random_, 150) + "NNNNN" + test::random_bases(random_, 30)},
      {"b", "A"},
      {"c", test::random_bases(random_, 77)}};
  const std::string training_ = test::write_fasta(
      folder_, "train.fa", {{"x", test::random_bases(random_, 700) + "NN"}, {"y", test::random_bases(random_, 20)}});
  const std::string held_out_ = test::write_fasta(folder_, "held_out.fa", held_out_sequences_);
};

TEST_F(Pretrain, StoppedAfterEveryStepAndGoneOnWithGivesTheBitsOfAnUndisturbedRun) {
  PretrainOptions whole = options("whole");
  whole.validate_every = 2;
  const PretrainResult expected = pretrain(whole, new_model(), ignore);
  EXPECT_TRUE(expected.complete);

  PretrainOptions pieces = whole;
  pieces.output = folder_.file("pieces");
  pieces.checkpoint.folder = folder_.file("checkpoint");
  pieces.time_limit = 1e-9;
  PretrainResult result;
  for (std::int64_t step = 1; step <= 6; ++step) {
    result = pretrain(pieces, new_model(), ignore);
    ASSERT_EQ(result.steps, step);
    EXPECT_EQ(result.complete, step == 6);
    EXPECT_EQ(fs::exists(pieces.output), step == 6);
    EXPECT_EQ(fs::exists(pieces.checkpoint.folder), step < 6);
  }
  for (const char* file : {"model.safetensors", "README.md", "config.json"})
    EXPECT_EQ(content_of(folder_.file("pieces/" + std::string(file))),
              content_of(folder_.file("whole/" + std::string(file))))
        << file;
  EXPECT_EQ(result.tokens, expected.tokens);
  EXPECT_EQ(result.validation, expected.validation);
}

TEST_F(Pretrain, ACheckpointEveryFewStepsServesAsWell) {
  PretrainOptions saving = options("whole");
  saving.checkpoint.folder = folder_.file("checkpoint");
  saving.checkpoint.save_every = 4;
  const fs::path kept = folder_.path() / "kept";
  pretrain(saving, new_model(), [&](const PretrainReport& report) {
    if (report.step == 5) fs::copy(saving.checkpoint.folder, kept, fs::copy_options::recursive);
  });
  fs::copy(kept, saving.checkpoint.folder, fs::copy_options::recursive);
  saving.output = folder_.file("again");
  std::vector<std::int64_t> steps;
  pretrain(saving, new_model(), [&](const PretrainReport& report) { steps.push_back(report.step); });
  EXPECT_THAT(steps, ::testing::ElementsAre(5, 6));
  EXPECT_EQ(content_of(folder_.file("again/model.safetensors")), content_of(folder_.file("whole/model.safetensors")));
}

TEST_F(Pretrain, ACheckpointOfOtherSettingsIsRefusedByTheirName) {
  PretrainOptions first = options("model");
  first.checkpoint.folder = folder_.file("checkpoint");
  first.time_limit = 1e-9;
  pretrain(first, new_model(), ignore);
  const auto refusal = [&](auto change) {
    PretrainOptions changed = first;
    change(changed);
    return error_text<base::Error>([&] { pretrain(changed, new_model(), ignore); });
  };
  EXPECT_THAT(refusal([](PretrainOptions& o) { o.schedule.rate = 0.5; }), AllOf(HasSubstr("rate = 0.01, not 0.5")));
  EXPECT_THAT(refusal([](PretrainOptions& o) { o.context = 24; }), HasSubstr("context = 48, not 24"));
  EXPECT_THAT(refusal([](PretrainOptions& o) { o.seed = 2; }), HasSubstr("seed"));
  EXPECT_THAT(refusal([](PretrainOptions& o) { o.inputs.push_back(o.inputs[0]); }), HasSubstr("inputs"));
  EXPECT_THAT(refusal([](PretrainOptions& o) { o.reverse_complement = false; }), HasSubstr("reverse_complement"));
  model::Model wider = new_model();
  wider.config = model::mamba1_config(24, 2);
  wider.parameters = model::initialise_parameters(wider.config, 5);
  EXPECT_THAT(error_text<base::Error>([&] { pretrain(first, wider, ignore); }), HasSubstr("model"));
}

TEST_F(Pretrain, ADamagedCheckpointIsRefused) {
  PretrainOptions first = options("model");
  first.checkpoint.folder = folder_.file("checkpoint");
  first.time_limit = 1e-9;
  pretrain(first, new_model(), ignore);
  for (const std::string file : {"checkpoint/optimiser.safetensors", "checkpoint/model/model.safetensors"}) {
    const std::string whole = content_of(folder_.file(file));
    std::string damaged = whole;
    damaged.back() = static_cast<char>(damaged.back() ^ 1);
    folder_.write(file, damaged);
    EXPECT_THAT(error_text<base::Error>([&] { pretrain(first, new_model(), ignore); }), HasSubstr("checksum"));
    folder_.write(file, whole);
  }
  folder_.write("checkpoint/run.json", "{");
  EXPECT_THAT(error_text<base::IoError>([&] { pretrain(first, new_model(), ignore); }), HasSubstr("damaged"));
}

TEST_F(Pretrain, ContextsStreamedInSegmentsTrainTheSameWeights) {
  PretrainOptions whole = options("whole");
  whole.schedule.steps = 3;
  PretrainOptions streamed = whole;
  streamed.output = folder_.file("streamed");
  streamed.segment = 7;
  const PretrainResult a = pretrain(whole, new_model(), ignore), b = pretrain(streamed, new_model(), ignore);
  EXPECT_NEAR(a.validation.at(held_out_), b.validation.at(held_out_), 1e-4);
  const auto expected = model::load_model(whole.output).parameters, begun = new_model().parameters;
  for (const auto& [name, tensor] : model::load_model(streamed.output).parameters) {
    // Of the way that the weights went: they themselves hardly change in 3 steps.
    const at::Tensor way = tensor.sub(begun.at(name)), expected_way = expected.at(name).sub(begun.at(name));
    EXPECT_LT(test::relative_error(way, expected_way), 1e-3) << name;
  }
}

TEST_F(Pretrain, MicroBatchesMakeNoDifferenceButRounding) {
  PretrainOptions whole = options("whole");
  whole.schedule.steps = 3;
  whole.micro_batch = 10'000;
  PretrainOptions parts = whole;
  parts.output = folder_.file("parts");
  parts.micro_batch = 1;
  EXPECT_NEAR(pretrain(whole, new_model(), ignore).validation.at(held_out_),
              pretrain(parts, new_model(), ignore).validation.at(held_out_), 1e-4);
}

TEST_F(Pretrain, ValidationIsTheMeanSurpriseOfEveryBaseButTheFirst) {
  const PretrainResult result = pretrain(options("model"), new_model(), ignore);
  const model::Model model = model::load_model(folder_.file("model"));
  const model::Backbone backbone(model.config, model.parameters);
  const at::NoGradGuard no_graph;
  double nats = 0;
  std::int64_t counted = 0;
  for (const Sequence& sequence : held_out_sequences_) {
    std::vector<std::uint8_t> ids;
    for (const char base : sequence.bases) ids.push_back(model.alphabet->id_of(base));
    const auto length = static_cast<std::int64_t>(ids.size());
    const auto out = backbone.advance({.tokens = at::from_blob(ids.data(), {length}, at::kByte), .offsets = {}});
    const at::Tensor surprise = heads::next_token_logits(backbone, out.hidden).to(at::kDouble).log_softmax(1).neg();
    for (std::int64_t i = 1; i < length; ++i) {
      if (sequence.bases[i] == 'N') continue;
      nats += surprise[i - 1][ids[i]].item<double>();
      ++counted;
    }
  }
  EXPECT_EQ(counted, 150 - 1 + 30 + 76);
  EXPECT_NEAR(result.validation.at(held_out_), nats / std::numbers::ln2 / static_cast<double>(counted), 1e-5);
}

TEST_F(Pretrain, LearnsWhatRepeats) {
  std::string repeat;
  for (int i = 0; i < 200; ++i) repeat += "GATTACA";
  PretrainOptions options = this->options("model");
  options.inputs = {test::write_fasta(folder_, "repeat.fa", {{"r", repeat}})};
  options.validation = options.inputs;
  options.reverse_complement = false;
  options.schedule.steps = 60;
  std::vector<double> bits;
  const PretrainResult result =
      pretrain(options, new_model(), [&](const PretrainReport& report) { bits.push_back(report.bits_per_base); });
  ASSERT_EQ(bits.size(), 60u);
  EXPECT_GT(bits.front(), 2.0);
  EXPECT_LT(bits.back(), 0.5);
  EXPECT_LT(result.validation.at(options.validation[0]), 0.5);
}

TEST_F(Pretrain, AnExistingFolderIsKeptUnlessForced) {
  PretrainOptions options = this->options("model");
  options.schedule.steps = 1;
  pretrain(options, new_model(), ignore);
  const std::string before = content_of(folder_.file("model/model.safetensors"));
  options.seed = 2;
  EXPECT_THAT(error_text<base::IoError>([&] { pretrain(options, new_model(), ignore); }),
              AllOf(HasSubstr(options.output), HasSubstr("--force")));
  EXPECT_EQ(content_of(folder_.file("model/model.safetensors")), before);
  options.force = true;
  pretrain(options, new_model(), ignore);
  EXPECT_NE(content_of(folder_.file("model/model.safetensors")), before);
}

TEST_F(Pretrain, ALossThatIsNotFiniteEndsTheRunAndNamesTheStep) {
  model::Model model = new_model();
  at::Tensor& weight = model.parameters.at("backbone.norm_f.weight");
  weight = weight.mul(std::numeric_limits<double>::infinity());
  EXPECT_THAT(error_text<base::Error>([&] { pretrain(options("model"), model, ignore); }), HasSubstr("step 1: "));
  EXPECT_FALSE(fs::exists(folder_.file("model")));
}

TEST_F(Pretrain, InputWithoutTwoBasesIsAnError) {
  PretrainOptions options = this->options("model");
  options.inputs = {folder_.write("short.fa", ">a\nA\n>b\nC\n")};
  EXPECT_THAT(error_text<base::Error>([&] { pretrain(options, new_model(), ignore); }), HasSubstr("2 bases"));
}

}  // namespace
}  // namespace dnamamba::engine
