// Which segments are drawn for training, and what is counted in validation.
#include <ATen/core/grad_mode.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/log_softmax.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <memory>
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

std::shared_ptr<const TrainingFile> file_of(const std::string& path, std::vector<TrainingSequence> sequences) {
  return std::make_shared<SequencesInMemory>(path, std::move(sequences));
}

// Draws from all of `files`.
struct Draws {
  Draws(TrainingFiles drawn, const SegmentSampler::Options& options)
      : files(std::move(drawn)), divided(divide(files, {}, 1)), sampler(files, divided, alphabet(), options) {}
  Tokens draw(std::int64_t step, std::int64_t place) const { return sampler.draw(step, place).tokens; }

  TrainingFiles files;
  std::vector<DividedFile> divided;
  SegmentSampler sampler;
};

// Where `part` begins in `whole`, or -1.
std::int64_t place_in(const Tokens& whole, const Tokens& part) {
  const auto found = std::search(whole.begin(), whole.end(), part.begin(), part.end());
  return found == whole.end() ? -1 : found - whole.begin();
}

TEST(SegmentSampler, DrawsTheSameForTheSameSeedStepAndPlace) {
  RandomTensors random(1);
  const TrainingFiles files{file_of("a", {{"x", random_bases(random, 5000)}})};
  const Draws one(files, {.context = 50, .seed = 3}), again(files, {.context = 50, .seed = 3}),
      other(files, {.context = 50, .seed = 4});
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
  const TrainingFiles files{file_of("a", {{"x", sequence}})};
  const Draws both(files, {.context = 20}), forward(files, {.context = 20, .reverse_complement = false});
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

// How often each of these letters begins a segment.
std::map<std::uint8_t, double> shares(const TrainingFiles& files, SegmentSampler::Options options) {
  options.reverse_complement = false;
  const Draws draws(files, options);
  std::map<std::uint8_t, double> share;
  for (std::int64_t i = 0; i < 4000; ++i) share[draws.draw(i, 1).front()] += 1.0 / 4000;
  return share;
}

TEST(SegmentSampler, DrawsByLengthByFileOrBySequenceTimesWeights) {
  const auto [A, C, G, T] = alphabet().bases();
  const TrainingFiles files{file_of("long", {{"a", Tokens(3000, A)}, {"none", {}}, {"c", Tokens(6000, C)}}),
                            file_of("empty", {}), file_of("short", {{"g", Tokens(1000, G)}})};
  const auto expect = [&](const SegmentSampler::Options& options, double a, double c, double g) {
    std::map<std::uint8_t, double> share = shares(files, options);
    EXPECT_NEAR(share[A], a, 0.04);
    EXPECT_NEAR(share[C], c, 0.04);
    EXPECT_NEAR(share[G], g, 0.04);
  };
  expect({.context = 10, .by = SampleBy::kLength}, 0.3, 0.6, 0.1);
  expect({.context = 10, .by = SampleBy::kFile}, 1 / 6.0, 1 / 3.0, 0.5);
  expect({.context = 10, .by = SampleBy::kSequence}, 0.25, 0.25, 0.5);
  expect({.context = 10, .by = SampleBy::kLength, .weights = {1, 1, 9}}, 1 / 6.0, 1 / 3.0, 0.5);
  expect({.context = 10, .by = SampleBy::kSequence, .weights = {1, 5, 3}}, 0.125, 0.125, 0.75);
  expect({.context = 0, .by = SampleBy::kLength}, 1 / 3.0, 1 / 3.0, 1 / 3.0);
}

TEST(SegmentSampler, GivesShortSequencesWholeAndLeavesOutThoseOfOneBase) {
  RandomTensors random(3);
  const Tokens five = random_bases(random, 5);
  const TrainingFiles files{file_of("a", {{"one", Tokens(1, alphabet().bases()[0])}, {"five", five}, {"none", {}}})};
  for (const std::int64_t context : {0, 4, 5, 100}) {
    const Draws draws(files, {.context = context, .reverse_complement = false});
    for (std::int64_t i = 0; i < 50; ++i) EXPECT_EQ(draws.draw(i, 0), five);
  }
  const TrainingFiles nothing{file_of("a", {{"one", Tokens(1, alphabet().bases()[0])}})};
  EXPECT_THAT(test::error_text<base::Error>([&] { Draws(nothing, {}); }), HasSubstr("2 bases"));
}

TEST(SegmentSampler, DrawsTheSoftMaskWithItsBases) {
  RandomTensors random(9);
  const Tokens sequence = random_bases(random, 300);
  const TrainingFiles files{file_of("a", {{"x", sequence, {{0, 3}, {20, 21}, {50, 170}, {299, 300}}}})};
  const Draws draws(files, {.context = 30});
  for (std::int64_t i = 0; i < 300; ++i) {
    const Segment segment = draws.sampler.draw(i, 0);
    ASSERT_EQ(segment.soft_masked.size(), segment.tokens.size());
    const std::int64_t forward = place_in(sequence, segment.tokens);
    const std::int64_t place = forward >= 0 ? forward : place_in(sequence, reverse_complement_of(segment.tokens));
    ASSERT_GE(place, 0);
    for (std::int64_t j = 0; j < 31; ++j) {
      const std::int64_t at = forward >= 0 ? place + j : place + 30 - j;
      EXPECT_EQ(segment.soft_masked[j], at < 3 || at == 20 || (at >= 50 && at < 170) || at == 299);
    }
  }
}

TEST(OpenTrainingFiles, KeepsEveryRecordApartAndItsSoftMask) {
  const test::TempDir folder;
  const std::string path = folder.write("x.fa", ">a\nACgt\nnN\n>b\n>c\ntT\n");
  const TrainingFiles files = open_training_files(path, tokens::Tokenizer(alphabet()));
  ASSERT_EQ(files.size(), 1U);
  const TrainingFile& file = *files[0];
  ASSERT_EQ(file.sequences(), 3);
  EXPECT_EQ(file.length(0), 6);
  EXPECT_EQ(file.read(0, 5, 1).tokens[0], alphabet().ambiguous());
  EXPECT_THAT(file.read(0, 0, 6).soft_masked, ::testing::ElementsAre(0, 0, 1, 1, 1, 0));
  EXPECT_THAT(file.read(0, 3, 2).soft_masked, ::testing::ElementsAre(1, 1));
  EXPECT_THAT(file.read(2, 0, 2).soft_masked, ::testing::ElementsAre(1, 0));
  EXPECT_EQ(file.length(1), 0);
  EXPECT_EQ(file.name(2), "c");
  EXPECT_EQ(file.tokens(), 8);
  EXPECT_TRUE(file.is_called(path));
  EXPECT_FALSE(file.is_called("x.fa"));
}

// Bits per base by the book: each piece of `context` predictions from its own first base on, one softmax a base.
LossSum plain_validation(const model::Backbone& backbone, const std::vector<TrainingSequence>& sequences,
                         std::int64_t context) {
  LossSum sum;
  for (const TrainingSequence& sequence : sequences) {
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
  std::vector<TrainingSequence> sequences{{"long", random_bases(random, 101)},
                                          {"one", random_bases(random, 1)},
                                          {"none", {}},
                                          {"two", random_bases(random, 2)},
                                          {"middle", random_bases(random, 40)}};
  auto& tokens = sequences[0].tokens;
  std::fill(tokens.begin() + 30, tokens.begin() + 37, alphabet().ambiguous());
  const at::NoGradGuard no_graph;
  for (const std::int64_t context : {0, 1, 7, 10, 100, 1000}) {
    const LossSum expected = plain_validation(backbone, sequences, context);
    EXPECT_EQ(expected.weight, 100 - 7 + 1 + 39);
    for (const std::int64_t segment : {1, 5, 64, 16384}) {
      SCOPED_TRACE("context " + std::to_string(context) + ", segment " + std::to_string(segment));
      const LossSum sum = validate(backbone, all_of(file_of("a", sequences)), alphabet(), {context, segment});
      EXPECT_EQ(sum.weight, expected.weight);
      EXPECT_NEAR(sum.loss, expected.loss, 1e-10 * expected.loss);
      EXPECT_NEAR(bits_per_base(sum), expected.loss / std::log(2.0) / expected.weight, 1e-10);
    }
  }
}

TEST(Validate, TakesPiecesForSequencesOfTheirOwn) {
  const model::ModelConfig config = model::mamba1_config(12, 1, 4);
  const model::Parameters parameters = test::random_parameters(config, 2, at::kDouble);
  const model::Backbone backbone(config, parameters);
  RandomTensors random(5);
  const Tokens whole = random_bases(random, 90);
  const ValidationSet set{"pieces", file_of("a", {{"x", whole}}), {{0, 5, 40}, {0, 60, 61}, {0, 70, 90}}};
  const std::vector<TrainingSequence> alone{{"", {whole.begin() + 5, whole.begin() + 40}},
                                            {"", {whole.begin() + 70, whole.begin() + 90}}};
  const at::NoGradGuard no_graph;
  for (const std::int64_t context : {0, 7}) {
    const LossSum expected = plain_validation(backbone, alone, context);
    const LossSum sum = validate(backbone, set, alphabet(), {context, 16});
    EXPECT_EQ(sum.weight, 34 + 19);
    EXPECT_NEAR(sum.loss, expected.loss, 1e-10 * expected.loss);
  }
}

TEST(Validate, SortsLossesByTheirContextWhateverTheSegment) {
  const model::ModelConfig config = model::mamba1_config(12, 1, 4);
  const model::Parameters parameters = model::initialise_parameters(config, 2);
  const model::Backbone backbone(config, parameters);
  RandomTensors random(4);
  const ValidationSet set = all_of(file_of("a", {{"x", random_bases(random, 41)}, {"y", random_bases(random, 12)}}));
  for (const std::int64_t context : {0, 8})
    for (const std::int64_t segment : {1, 6, 1000}) {
      LossByContext sums;
      const LossSum sum = validate(backbone, set, alphabet(), {context, segment}, &sums);
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
  const ValidationSet set = all_of(file_of("a", {{"n", Tokens(9, alphabet().ambiguous())}}));
  const LossSum sum = validate(model::Backbone(config, parameters), set, alphabet(), {});
  EXPECT_EQ(sum.weight, 0);
  EXPECT_TRUE(std::isnan(bits_per_base(sum)));
}

}  // namespace
}  // namespace dnamamba::train
