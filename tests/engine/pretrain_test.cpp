// `pretrain` as a whole: what comes out does not depend on interruptions or on how a context was cut.
#include "core/engine/pretrain.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/from_blob.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <numbers>
#include <random>

#include "core/base/error.h"
#include "core/engine/run_settings.h"
#include "core/files/safetensors.h"
#include "core/heads/language_head.h"
#include "tests/engine/engine_models.h"
#include "tests/support/damage.h"
#include "tests/support/report.h"
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
    options.data.inputs = {training_};
    options.data.validation = {held_out_};
    options.output = folder_.file(output);
    options.data.context = 48;
    options.data.batch = 200;
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
  EXPECT_THAT(refusal([](PretrainOptions& o) { o.data.context = 24; }), HasSubstr("context = 48, not 24"));
  EXPECT_THAT(refusal([](PretrainOptions& o) { o.data.seed = 2; }), HasSubstr("seed"));
  EXPECT_THAT(refusal([](PretrainOptions& o) { o.data.inputs.push_back(o.data.inputs[0]); }), HasSubstr("inputs"));
  EXPECT_THAT(refusal([](PretrainOptions& o) { o.data.reverse_complement = false; }), HasSubstr("reverse_complement"));
  EXPECT_THAT(refusal([](PretrainOptions& o) { o.data.sample_by = train::SampleBy::kSequence; }),
              HasSubstr("sample_by"));
  EXPECT_THAT(refusal([](PretrainOptions& o) { o.data.weights["train.fa"] = 2; }), HasSubstr("weights"));
  EXPECT_THAT(refusal([](PretrainOptions& o) { o.data.context_start = 8; }), HasSubstr("context_start"));
  EXPECT_THAT(refusal([](PretrainOptions& o) { o.data.soft_mask_weight = 0.5; }), HasSubstr("soft_mask_weight"));
  EXPECT_THAT(refusal([](PretrainOptions& o) { o.data.hold_out.regions.push_back(io::parse_region("y")); }),
              HasSubstr("hold_out"));
  EXPECT_THAT(refusal([](PretrainOptions& o) { o.data.hold_out.fraction = 0.5; }), HasSubstr("hold_out_fraction"));
  model::Model wider = new_model();
  wider.config = model::mamba1_config(24, 2);
  wider.parameters = model::initialise_parameters(wider.config, 5);
  EXPECT_THAT(error_text<base::Error>([&] { pretrain(first, wider, ignore); }), HasSubstr("model"));
}

// Stopped after each of the first three steps, of which the last two are kept.
PretrainOptions stopped_after_three_steps(PretrainOptions options, const std::string& folder) {
  options.checkpoint.folder = folder;
  options.time_limit = 1e-9;
  for (int i = 0; i < 3; ++i) pretrain(options, new_model(), ignore);
  return options;
}

std::vector<std::string> names_in(const std::string& folder) {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(folder)) names.push_back(entry.path().filename().string());
  std::sort(names.begin(), names.end());
  return names;
}

TEST_F(Pretrain, ADamagedCheckpointIsRefusedByNameAndTheOneBeforeServesWhenAsked) {
  pretrain(options("whole"), new_model(), ignore);
  const PretrainOptions first = stopped_after_three_steps(options("model"), folder_.file("checkpoint"));
  ASSERT_THAT(names_in(folder_.file("checkpoint")), ::testing::ElementsAre("step-000002", "step-000003"));
  fs::copy(folder_.file("checkpoint"), folder_.file("kept"), fs::copy_options::recursive);
  std::mt19937 random(3);
  for (const char* name : {"index.json", "shard-00001.safetensors"})
    for (const bool missing : {false, true}) {
      SCOPED_TRACE(std::string(name) + (missing ? " is missing" : " has a wrong bit"));
      fs::remove_all(folder_.file("checkpoint"));
      fs::copy(folder_.file("kept"), folder_.file("checkpoint"), fs::copy_options::recursive);
      const std::string file = folder_.file("checkpoint/step-000003/" + std::string(name));
      const std::string damaged = test::with_flipped_bit(content_of(file), random);
      fs::remove(file);
      if (!missing) folder_.write("checkpoint/step-000003/" + std::string(name), damaged);
      EXPECT_THAT(error_text<base::IoError>([&] { pretrain(first, new_model(), ignore); }),
                  AllOf(HasSubstr(file), HasSubstr(missing ? "missing" : "damaged"), HasSubstr("--last-good"),
                        HasSubstr("step-000002")));
      PretrainOptions on = first;
      on.time_limit = 0;
      on.force = true;
      on.checkpoint.last_good = true;
      std::vector<std::int64_t> steps;
      pretrain(on, new_model(), [&](const PretrainReport& report) { steps.push_back(report.step); });
      EXPECT_THAT(steps, ::testing::ElementsAre(3, 4, 5, 6));
      EXPECT_EQ(content_of(folder_.file("model/model.safetensors")),
                content_of(folder_.file("whole/model.safetensors")));
      EXPECT_FALSE(fs::exists(folder_.file("checkpoint")));
      fs::remove_all(folder_.file("model"));
    }
}

TEST_F(Pretrain, WithoutAWholeCheckpointNothingIsBegunAnewUnasked) {
  PretrainOptions first = stopped_after_three_steps(options("model"), folder_.file("checkpoint"));
  for (const char* step : {"2", "3"})
    fs::remove(folder_.file("checkpoint/step-00000" + std::string(step) + "/index.json"));
  first.checkpoint.last_good = true;
  EXPECT_THAT(error_text<base::IoError>([&] { pretrain(first, new_model(), ignore); }),
              AllOf(HasSubstr("step-000002/index.json"), HasSubstr("begin anew")));
}

TEST_F(Pretrain, WhatAKilledSaveLeftBehindIsRemovedAndNothingElse) {
  PretrainOptions first = stopped_after_three_steps(options("model"), folder_.file("checkpoint"));
  fs::create_directory(folder_.file("checkpoint/.step-000004.tmp-77-abc"));
  folder_.write("checkpoint/.step-000004.tmp-77-abc/shard-00001.safetensors", "half");
  folder_.write("checkpoint/notes.txt", "mine");
  first.checkpoint.keep = 1;
  pretrain(first, new_model(), ignore);
  EXPECT_THAT(names_in(folder_.file("checkpoint")), ::testing::ElementsAre("notes.txt", "step-000004"));
  first.time_limit = 0;
  pretrain(first, new_model(), ignore);
  EXPECT_THAT(names_in(folder_.file("checkpoint")), ::testing::ElementsAre("notes.txt"));
}

TEST_F(Pretrain, TwoRunsDoNotShareACheckpoint) {
  const CheckpointFolder one({.folder = folder_.file("checkpoint")});
  PretrainOptions other = options("model");
  other.checkpoint.folder = folder_.file("checkpoint");
  EXPECT_THAT(error_text<base::IoError>([&] { pretrain(other, new_model(), ignore); }),
              HasSubstr("another process trains into it"));
}

TEST_F(Pretrain, SkippedStepsChangeNothingAndAreCounted) {
  model::Model broken = new_model();
  at::Tensor& weight = broken.parameters.at("backbone.norm_f.weight");
  weight = weight.mul(std::numeric_limits<double>::infinity());
  PretrainOptions skipping = options("model");
  skipping.data.validation.clear();
  skipping.guard.on_nan = train::OnTrouble::kSkip;
  skipping.records.log = folder_.file("log.jsonl");
  const auto begun = model::to_stored(broken.parameters.at("backbone.embedding.weight"));
  std::vector<std::string> reasons;
  const PretrainResult result =
      pretrain(skipping, broken, [&](const PretrainReport& report) { reasons.push_back(report.skipped); });
  const auto ended = files::read_safetensors(folder_.file("model/model.safetensors")).tensors;
  EXPECT_TRUE(std::ranges::equal(ended.at("backbone.embedding.weight").bytes(), begun.bytes()));
  EXPECT_EQ(result.skipped, 6);
  EXPECT_EQ(result.tokens, 0);
  ASSERT_EQ(reasons.size(), 6U);
  EXPECT_THAT(reasons[0], AllOf(HasSubstr("the loss is not finite"), HasSubstr("most of all by " + training_ + ": ")));
  EXPECT_THAT(content_of(folder_.file("log.jsonl")), HasSubstr("\"skipped\":\"the loss is not finite"));
}

TEST_F(Pretrain, SkipsTheSameSpikesWhenItIsStoppedAndGoesOn) {
  PretrainOptions whole = options("whole");
  whole.schedule.steps = 40;
  whole.data.batch = 48;
  whole.data.validation.clear();
  whole.guard = {.on_spike = train::OnTrouble::kSkip, .spike_factor = 1.2};
  const PretrainResult expected = pretrain(whole, new_model(), ignore);
  EXPECT_GT(expected.skipped, 0);
  EXPECT_LT(expected.skipped, 20);
  EXPECT_THAT(content_of(folder_.file("whole/README.md")),
              HasSubstr("\"skipped\": " + std::to_string(expected.skipped)));
  PretrainOptions pieces = whole;
  pieces.output = folder_.file("pieces");
  pieces.checkpoint.folder = folder_.file("checkpoint");
  pieces.time_limit = 1e-9;
  for (int step = 1; step <= 40; ++step) pretrain(pieces, new_model(), ignore);
  for (const char* file : {"model.safetensors", "README.md"})
    EXPECT_EQ(content_of(folder_.file("pieces/" + std::string(file))),
              content_of(folder_.file("whole/" + std::string(file))));
}

TEST_F(Pretrain, StopsAtASpikeWithACheckpointAndNamesStepAndSequence) {
  PretrainOptions stopping = options("model");
  stopping.schedule.steps = 60;
  stopping.checkpoint.folder = folder_.file("checkpoint");
  stopping.guard = {.on_spike = train::OnTrouble::kStop, .spike_factor = 1.05};
  const std::string error = error_text<base::Error>([&] { pretrain(stopping, new_model(), ignore); });
  EXPECT_THAT(error, ::testing::ContainsRegex(
                         "^step [0-9]+: the gradient's norm, .* times the usual .*train.fa: x:[0-9]+-[0-9]+"
                         ".*; .* --on-spike skip"));
  stopping.guard.on_spike = train::OnTrouble::kIgnore;
  EXPECT_TRUE(pretrain(stopping, new_model(), ignore).complete) << "the same command, but for what is done of a spike";
}

TEST_F(Pretrain, TheLogHasEveryStepOnceHoweverOftenTheRunIsStopped) {
  PretrainOptions pieces = options("model");
  pieces.validate_every = 2;
  pieces.checkpoint = {.folder = folder_.file("checkpoint"), .save_every = 2};
  pieces.records.log = folder_.file("log.jsonl");
  pieces.records.report = folder_.file("report.html");
  struct Killed {};
  for (const std::int64_t last : {1, 3, 5})  // without a word, as by SIGKILL; the next goes on from step 0, 2, 4
    EXPECT_THROW(pretrain(pieces, new_model(),
                          [&](const PretrainReport& report) {
                            if (report.step == last) throw Killed();
                          }),
                 Killed);
  std::ofstream(folder_.file("log.jsonl"), std::ios::app) << "{\"step\": 6, \"tok";
  pretrain(pieces, new_model(), ignore);
  std::ifstream log(folder_.file("log.jsonl"));
  std::vector<std::int64_t> steps, validations;
  for (std::string line; std::getline(log, line);) {
    const auto entry = nlohmann::json::parse(line);
    (entry.contains("by_context") ? validations : steps).push_back(entry.at("step").get<std::int64_t>());
  }
  EXPECT_THAT(steps, ::testing::ElementsAre(1, 2, 3, 4, 5, 6));
  EXPECT_THAT(validations, ::testing::ElementsAre(2, 4, 6));
  const test::ReportData page(content_of(folder_.file("report.html")));
  EXPECT_EQ(page.json("totals")["steps"], 6);
  EXPECT_EQ(page.json("history")["spans"].size(), 6U);
  EXPECT_EQ(page.json("history")["validations"].size(), 3U);
}

TEST_F(Pretrain, ALogOrReportThatIsThereIsKeptUnlessForced) {
  PretrainOptions options = this->options("model");
  for (std::string* file : {&options.records.log, &options.records.report}) {
    *file = folder_.write("mine.txt", "mine\n");
    EXPECT_THAT(error_text<base::IoError>([&] { pretrain(options, new_model(), ignore); }),
                AllOf(HasSubstr("mine.txt"), HasSubstr("--force")));
    EXPECT_EQ(content_of(*file), "mine\n");
    file->clear();
  }
  options.records.log = folder_.file("mine.txt");
  options.force = true;
  EXPECT_THAT(error_text<base::IoError>([&] { pretrain(options, new_model(), ignore); }),
              AllOf(HasSubstr("mine.txt: line 1"), HasSubstr("no line of a training log")));
  EXPECT_EQ(content_of(folder_.file("mine.txt")), "mine\n");
}

TEST_F(Pretrain, TruncatedInOneSegmentIsExactAndInMoreIsNot) {
  const auto weights_of = [&](const std::string& name, std::int64_t segment, bool truncated) {
    PretrainOptions options = this->options(name);
    options.schedule.steps = 3;
    options.segment = segment;
    options.truncated = truncated;
    pretrain(options, new_model(), ignore);
    return content_of(folder_.file(name + "/model.safetensors"));
  };
  EXPECT_EQ(weights_of("exact", 1'000, false), weights_of("truncated", 1'000, true));
  EXPECT_NE(weights_of("exact in pieces", 7, false), weights_of("truncated in pieces", 7, true));
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

TEST_F(Pretrain, WholeRecordsAndSoftMaskedBasesTrainInTwoPiecesToTheSameBits) {
  PretrainOptions whole = options("whole");
  whole.data.inputs = {test::write_fasta(folder_, "masked.fa", {{"u", "ACGTacgtaaccNNacGTTGCA"}, {"v", "acgtacgt"}})};
  whole.data.context = 0;
  whole.data.context_start = 5;
  whole.data.context_warmup = 0.5;
  whole.data.soft_mask_weight = 0;  // a step may weigh nothing
  whole.data.batch = 8;
  PretrainOptions pieces = whole;
  pretrain(whole, new_model(), ignore);
  pieces.output = folder_.file("pieces");
  pieces.checkpoint.folder = folder_.file("checkpoint");
  pieces.time_limit = 1e-9;
  for (int i = 0; i < 6; ++i) pretrain(pieces, new_model(), ignore);
  EXPECT_EQ(content_of(folder_.file("pieces/model.safetensors")), content_of(folder_.file("whole/model.safetensors")));
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
  options.data.inputs = {test::write_fasta(folder_, "repeat.fa", {{"r", repeat}})};
  options.data.validation = options.data.inputs;
  options.data.reverse_complement = false;
  options.schedule.steps = 60;
  std::vector<double> bits;
  const PretrainResult result =
      pretrain(options, new_model(), [&](const PretrainReport& report) { bits.push_back(report.bits_per_base); });
  ASSERT_EQ(bits.size(), 60u);
  EXPECT_GT(bits.front(), 2.0);
  EXPECT_LT(bits.back(), 0.5);
  EXPECT_LT(result.validation.at(options.data.validation[0]), 0.5);
}

TEST_F(Pretrain, AnExistingFolderIsKeptUnlessForced) {
  PretrainOptions options = this->options("model");
  options.schedule.steps = 1;
  pretrain(options, new_model(), ignore);
  const std::string before = content_of(folder_.file("model/model.safetensors"));
  options.data.seed = 2;
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
  options.data.inputs = {folder_.write("short.fa", ">a\nA\n>b\nC\n")};
  EXPECT_THAT(error_text<base::Error>([&] { pretrain(options, new_model(), ignore); }), HasSubstr("2 bases"));
}

}  // namespace
}  // namespace dnamamba::engine
