// Which segments are drawn for training, and what is counted in validation.
#include <ATen/core/grad_mode.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/log_softmax.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <set>
#include <string>

#include "core/base/error.h"
#include "core/heads/language_head.h"
#include "core/train/segment_sampler.h"
#include "core/train/validation.h"
#include "tests/support/models.h"
#include "tests/support/temp_dir.h"
#include "tests/support/throws.h"

namespace dnamamba::train {
namespace {

using test::RandomTensors;
using ::testing::HasSubstr;
using Tokens = std::vector<std::uint8_t>;

const tokens::Alphabet& alphabet() {
  static const tokens::Alphabet kAlphabet = tokens::Alphabet::built_in("dnamamba");
  return kAlphabet;
}

Tokens random_bases(RandomTensors& random, std::int64_t length) {
  Tokens tokens;
  for (std::int64_t i = 0; i < length; ++i) tokens.push_back(alphabet().bases()[random.between(0, 3)]);
  return tokens;
}

Tokens reverse_complement_of(const Tokens& tokens) {
  Tokens other(tokens.size());
  tokens::reverse_complement(alphabet(), tokens, other);
  return other;
}

// Where `part` begins in `whole`, or -1.
std::int64_t place_in(const Tokens& whole, const Tokens& part) {
  const auto found = std::search(whole.begin(), whole.end(), part.begin(), part.end());
  return found == whole.end() ? -1 : found - whole.begin();
}

TEST(SegmentSampler, DrawsTheSameForTheSameSeedStepAndPlace) {
  RandomTensors random(1);
  const std::vector<TrainingFile> files = {{"a", {{"x", random_bases(random, 5000)}}}};
  const SegmentSampler one(files, alphabet(), {.context = 50, .seed = 3}),
      again(files, alphabet(), {.context = 50, .seed = 3}), other(files, alphabet(), {.context = 50, .seed = 4});
  std::set<std::string> drawn;
  for (std::int64_t step = 19; step >= 0; --step)
    for (std::int64_t place = 0; place < 10; ++place) {
      const Tokens segment = one.draw(step, place);
      EXPECT_EQ(segment.size(), 51U);
      EXPECT_EQ(segment, again.draw(step, place));
      EXPECT_NE(segment, other.draw(step, place));
      drawn.emplace(segment.begin(), segment.end());
    }
  EXPECT_GT(drawn.size(), 190U);
}

TEST(SegmentSampler, DrawsEveryPositionOfBothStrandsAndNothingElse) {
  RandomTensors random(2);
  const Tokens sequence = random_bases(random, 60);
  const std::vector<TrainingFile> files = {{"a", {{"x", sequence}}}};
  const SegmentSampler both(files, alphabet(), {.context = 20}),
      forward(files, alphabet(), {.context = 20, .reverse_complement = false});
  std::set<std::int64_t> places;
  int reversed = 0;
  for (std::int64_t i = 0; i < 2000; ++i) {
    EXPECT_GE(place_in(sequence, forward.draw(i, 0)), 0);
    const Tokens segment = both.draw(i, 0);
    std::int64_t place = place_in(sequence, segment);
    if (place < 0) {
      place = place_in(sequence, reverse_complement_of(segment));
      ++reversed;
    }
    ASSERT_GE(place, 0);
    places.insert(place);
  }
  EXPECT_EQ(places.size(), 40U);  // 0 … 39: the last segment ends with the last base
  EXPECT_EQ(*places.rbegin(), 39);
  EXPECT_NEAR(reversed, 1000, 120);
}

TEST(SegmentSampler, DrawsByLengthOrByFile) {
  const auto [A, C, G, T] = alphabet().bases();
  const std::vector<TrainingFile> files = {
      {"long", {{"a", Tokens(3000, A)}, {"c", Tokens(6000, C)}}}, {"empty", {}}, {"short", {{"g", Tokens(1000, G)}}}};
  for (const SampleBy by : {SampleBy::kLength, SampleBy::kFile}) {
    const SegmentSampler sampler(files, alphabet(), {.context = 10, .by = by, .reverse_complement = false});
    std::map<std::uint8_t, double> share;
    for (std::int64_t i = 0; i < 4000; ++i) share[sampler.draw(i, 1).front()] += 1.0 / 4000;
    const double from_long = by == SampleBy::kLength ? 0.9 : 0.5;
    EXPECT_NEAR(share[A], from_long / 3, 0.04);
    EXPECT_NEAR(share[C], 2 * from_long / 3, 0.04);
    EXPECT_NEAR(share[G], 1 - from_long, 0.04);
  }
}

TEST(SegmentSampler, GivesShortSequencesWholeAndLeavesOutThoseOfOneBase) {
  RandomTensors random(3);
  const std::vector<TrainingFile> files = {
      {"a", {{"one", Tokens(1, alphabet().bases()[0])}, {"five", random_bases(random, 5)}, {"none", {}}}}};
  const SegmentSampler sampler(files, alphabet(), {.context = 100, .reverse_complement = false});
  for (std::int64_t i = 0; i < 50; ++i) EXPECT_EQ(sampler.draw(i, 0), files[0].sequences[1].tokens);
  const std::vector<TrainingFile> nothing = {{"a", {files[0].sequences[0]}}};
  EXPECT_THAT(test::error_text<base::Error>([&] { SegmentSampler(nothing, alphabet(), {}); }), HasSubstr("2 bases"));
}

TEST(ReadTrainingFile, KeepsEveryRecordApart) {
  const test::TempDir folder;
  const std::string path = folder.write("x.fa", ">a\nACGT\nNN\n>b\n>c\nTT\n");
  const TrainingFile file = read_training_file(path, tokens::Tokenizer(alphabet()));
  ASSERT_EQ(file.sequences.size(), 3U);
  EXPECT_EQ(file.sequences[0].tokens.size(), 6U);
  EXPECT_EQ(file.sequences[0].tokens[5], alphabet().ambiguous());
  EXPECT_EQ(file.sequences[1].tokens.size(), 0U);
  EXPECT_EQ(file.sequences[2].name, "c");
  EXPECT_EQ(file.tokens(), 8);
}

// Bits per base by the book: each piece of `context` predictions from its own first base on, one softmax a base.
LossSum plain_validation(const model::Backbone& backbone, const TrainingFile& file, std::int64_t context) {
  LossSum sum;
  for (const TrainingSequence& sequence : file.sequences) {
    const auto length = static_cast<std::int64_t>(sequence.tokens.size());
    const std::int64_t piece = context > 0 ? context : length;
    for (std::int64_t begin = 0; begin + 1 < length; begin += piece) {
      const std::int64_t count = std::min(piece, length - 1 - begin);
      const at::Tensor tokens =
          at::from_blob(const_cast<std::uint8_t*>(sequence.tokens.data()) + begin, {count}, at::kByte);
      const at::Tensor logits =
          heads::next_token_logits(backbone, backbone.advance({.tokens = tokens, .offsets = std::nullopt}).hidden)
              .to(at::kDouble);
      const at::Tensor scores = at::log_softmax(logits, 1);
      for (std::int64_t i = 0; i < count; ++i) {
        const std::uint8_t target = sequence.tokens[begin + i + 1];
        if (target == alphabet().ambiguous()) continue;
        sum.loss -= scores[i][target].item<double>();
        sum.weight += 1;
      }
    }
  }
  return sum;
}

TEST(Validate, CountsEveryBaseButTheFirstOnceForAnyContextAndSegment) {
  const model::ModelConfig config = model::mamba1_config(12, 2, 4);
  const model::Parameters parameters = test::random_parameters(config, 2, at::kDouble);
  const model::Backbone backbone(config, parameters);
  RandomTensors random(4);
  TrainingFile file{"a",
                    {{"long", random_bases(random, 101)},
                     {"one", random_bases(random, 1)},
                     {"none", {}},
                     {"two", random_bases(random, 2)},
                     {"middle", random_bases(random, 40)}}};
  auto& tokens = file.sequences[0].tokens;
  std::fill(tokens.begin() + 30, tokens.begin() + 37, alphabet().ambiguous());
  const at::NoGradGuard no_graph;
  for (const std::int64_t context : {0, 1, 7, 10, 100, 1000}) {
    const LossSum expected = plain_validation(backbone, file, context);
    EXPECT_EQ(expected.weight, 100 - 7 + 1 + 39);
    for (const std::int64_t segment : {1, 5, 64, 16384}) {
      SCOPED_TRACE("context " + std::to_string(context) + ", segment " + std::to_string(segment));
      const LossSum sum = validate(backbone, file, alphabet(), {context, segment});
      EXPECT_EQ(sum.weight, expected.weight);
      EXPECT_NEAR(sum.loss, expected.loss, 1e-10 * expected.loss);
      EXPECT_NEAR(bits_per_base(sum), expected.loss / std::log(2.0) / expected.weight, 1e-10);
    }
  }
}

TEST(Validate, SortsLossesByTheirContextWhateverTheSegment) {
  const model::ModelConfig config = model::mamba1_config(12, 1, 4);
  const model::Parameters parameters = model::initialise_parameters(config, 2);
  const model::Backbone backbone(config, parameters);
  RandomTensors random(4);
  const TrainingFile file{"a", {{"x", random_bases(random, 41)}, {"y", random_bases(random, 12)}}};
  for (const std::int64_t context : {0, 8})
    for (const std::int64_t segment : {1, 6, 1000}) {
      LossByContext sums;
      const LossSum sum = validate(backbone, file, alphabet(), {context, segment}, &sums);
      std::vector<double> weights;
      double loss = 0;
      for (const LossSum& part : sums.parts) {
        weights.push_back(part.weight);
        loss += part.loss;
      }
      while (weights.back() == 0) weights.pop_back();
      // 40 and 11 targets: whole, or in pieces of 8 and one of 3.
      const std::vector<double> whole{2, 4, 8, 8 + 4, 16, 9}, pieces{7, 14, 24, 6};
      EXPECT_EQ(weights, context == 0 ? whole : pieces) << "segment " << segment;
      EXPECT_NEAR(loss, sum.loss, 1e-5 * sum.loss);
    }
}

TEST(Validate, IsNotANumberWhereNothingIsCounted) {
  const model::ModelConfig config = model::mamba1_config(8, 1, 4);
  const model::Parameters parameters = model::initialise_parameters(config, 2);
  const TrainingFile file{"a", {{"n", Tokens(9, alphabet().ambiguous())}}};
  const LossSum sum = validate(model::Backbone(config, parameters), file, alphabet(), {});
  EXPECT_EQ(sum.weight, 0);
  EXPECT_TRUE(std::isnan(bits_per_base(sum)));
}

}  // namespace
}  // namespace dnamamba::train
