// What is measured is what a model says of these windows after these bases, however the work is cut up.
#include "pipelines/studies/context_length/context_loss.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <set>

#include "core/base/error.h"
#include "core/engine/run_settings.h"
#include "core/model/registry.h"
#include "core/train/validation.h"
#include "tests/support/tensors.h"
#include "tests/support/throws.h"

namespace dnamamba::studies {
namespace {

using Tokens = std::vector<std::uint8_t>;
using test::error_text;
using ::testing::HasSubstr;

const tokens::Alphabet& alphabet() {
  static const tokens::Alphabet kAlphabet = tokens::Alphabet::built_in("dnamamba");
  return kAlphabet;
}

/// One record, "r", in memory.
class Record {
 public:
  explicit Record(Tokens tokens)
      : file_(std::make_shared<train::SequencesInMemory>(
            "f.fa", std::vector<train::TrainingSequence>{{"r", std::move(tokens)}})) {}
  [[nodiscard]] std::vector<WindowSource> sources() const { return {{file_.get(), {0, 0, file_->length(0)}}}; }
  [[nodiscard]] std::shared_ptr<const train::TrainingFile> file() const { return file_; }

 private:
  std::shared_ptr<const train::TrainingFile> file_;
};

Tokens random_tokens(std::int64_t length) {
  test::RandomTensors random(5);
  Tokens tokens(length);
  for (std::uint8_t& token : tokens) token = alphabet().bases()[random.between(0, 3)];
  return tokens;
}

Tokens part(const Tokens& tokens, std::int64_t begin, std::int64_t end) {
  return {tokens.begin() + begin, tokens.begin() + end};
}

constexpr WindowOptions kSmall{.shortest = 16, .longest = 256, .window = 32, .windows = 7, .word = 8};

TEST(ContextWindows, LieEvenlyAndApartBehindTheirLongestContext) {
  const Tokens bases = random_tokens(3000);
  const Record record(bases);
  const ContextWindows windows(record.sources(), alphabet(), kSmall);
  ASSERT_EQ(windows.count(), 7);
  std::vector<std::int64_t> begins;
  for (std::int64_t i = 0; i < 7; ++i) {
    const Tokens read = windows.read(i, 256, Context::kTrue);
    const auto at = std::search(bases.begin(), bases.end(), read.begin(), read.end());
    ASSERT_NE(at, bases.end());
    begins.push_back(at - bases.begin());
  }
  for (std::size_t i = 1; i < begins.size(); ++i) EXPECT_NEAR(begins[i] - begins[i - 1], (3000 - 256) / 7, 32);
  WindowOptions many = kSmall;
  many.windows = 1000;
  EXPECT_EQ(ContextWindows(record.sources(), alphabet(), many).count(), (3000 - 256) / 32);
}

TEST(ContextWindows, ControlsDifferBeyondTheShortestContextOnly) {
  const Tokens bases = random_tokens(3000);
  const Record record(bases);
  const ContextWindows windows(record.sources(), alphabet(), kSmall);
  for (const std::int64_t context : {16, 64, 256})
    for (std::int64_t i = 0; i < windows.count(); ++i) {
      const Tokens truth = windows.read(i, context, Context::kTrue), near = part(truth, context - 16, context + 32);
      ASSERT_EQ(std::ssize(truth), context + 32);
      EXPECT_EQ(truth, part(windows.read(i, 256, Context::kTrue), 256 - context, 256 + 32));
      for (const Context kind : {Context::kShuffled, Context::kElsewhere}) {
        const Tokens other = windows.read(i, context, kind);
        EXPECT_EQ(part(other, context - 16, context + 32), near);
        EXPECT_EQ(other == truth, context == 16) << name_of(kind) << " " << context;
        EXPECT_EQ(other, windows.read(i, context, kind)) << "drawn anew";
      }
    }
}

TEST(ContextWindows, AShuffledContextHasTheSameWordsAndOneFromElsewhereIsInOnePieceThere) {
  const Tokens bases = random_tokens(3000);
  const Record record(bases);
  const ContextWindows windows(record.sources(), alphabet(), kSmall);
  for (std::int64_t i = 0; i < windows.count(); ++i) {
    const Tokens truth = windows.read(i, 256, Context::kTrue), shuffled = windows.read(i, 256, Context::kShuffled);
    std::multiset<Tokens> true_words, words;
    for (std::int64_t at = 0; at < 240; at += 8) {
      true_words.insert(part(truth, at, at + 8));
      words.insert(part(shuffled, at, at + 8));
    }
    EXPECT_EQ(words, true_words);
    const Tokens far = part(windows.read(i, 256, Context::kElsewhere), 0, 240);
    const auto at = std::search(bases.begin(), bases.end(), far.begin(), far.end()) - bases.begin();
    const auto own = std::search(bases.begin(), bases.end(), truth.begin(), truth.end()) - bases.begin();
    EXPECT_LT(at, 3000);
    EXPECT_TRUE(at + 240 <= own || at >= own + 256 + 32) << at << " and " << own;
    // A shorter one is the end of it.
    EXPECT_EQ(part(windows.read(i, 64, Context::kElsewhere), 0, 48), part(far, 192, 240));
  }
}

TEST(ContextWindows, WithMoreThanATenthOfNAreLeftOutAndNothingIsMeasuredOnNone) {
  Tokens bases = random_tokens(3000);
  std::fill(bases.begin() + 1000, bases.begin() + 1200, alphabet().ambiguous());
  const Record record(bases);
  const ContextWindows windows(record.sources(), alphabet(), kSmall);
  EXPECT_GT(windows.left_out(), 0);
  EXPECT_EQ(windows.count() + windows.left_out(), 7);
  for (std::int64_t i = 0; i < windows.count(); ++i)
    for (const Context kind : {Context::kTrue, Context::kElsewhere}) {
      const Tokens read = windows.read(i, 256, kind);
      EXPECT_LE(std::count(read.begin(), read.end(), alphabet().ambiguous()), 25);
    }
  const Record only_n(Tokens(3000, alphabet().ambiguous()));
  EXPECT_THAT(error_text<base::Error>([&] { ContextWindows(only_n.sources(), alphabet(), kSmall); }),
              HasSubstr("all 7 windows have more than a tenth of N"));
}

TEST(ContextWindows, OfShortSequencesAreAnErrorThatNamesTheRemedy) {
  EXPECT_THAT(error_text<base::Error>([] { ContextWindows(Record(random_tokens(287)).sources(), alphabet(), kSmall); }),
              ::testing::AllOf(HasSubstr("the longest has 287 bases"), HasSubstr("a smaller --longest")));
  EXPECT_THAT(error_text<base::Error>([] { ContextWindows(Record(random_tokens(300)).sources(), alphabet(), kSmall); }),
              ::testing::AllOf(HasSubstr("f.fa: record r, base 256: "), HasSubstr("no other 240 bases")));
}

// The model that ships, on the genome of tests/data.
class ContextLosses : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    engine::set_threads(2);
    model_ = new model::Model(model::load_model(std::string(PROJECT_FOLDER) + "/pretrained/dnamamba-tiny"));
    file_ =
        train::open_training_files(std::string(PROJECT_FOLDER) + "/tests/data/genomes/Mycoplasmoides_genitalium.fa.gz",
                                   tokens::Tokenizer(*model_->alphabet))[0];
  }
  static void TearDownTestSuite() {
    delete model_;
    file_.reset();
  }

  ContextWindows windows(const WindowOptions& options, const std::vector<train::Piece>& pieces) const {
    std::vector<WindowSource> sources;
    for (const train::Piece& piece : pieces) sources.push_back({file_.get(), piece});
    return {sources, *model_->alphabet, options};
  }
  std::vector<ContextLoss> measure(const ContextWindows& windows, std::int64_t segment = 8'192) {
    return measure_context_losses(backbone_, windows, *model_->alphabet, segment,
                                  [&](std::int64_t n) { tokens_ += n; });
  }
  /// Of bases [begin, end) after all from `from` on: what validation says of them with the window, less without.
  double validated(std::int64_t from, std::int64_t begin, std::int64_t end) const {
    const auto sum = [&](std::int64_t last) {
      return train::validate(backbone_, {"", file_, {{0, from, last}}}, *model_->alphabet, {}).loss;
    };
    return (sum(end) - sum(begin)) / std::log(2) / static_cast<double>(end - begin);
  }

  inline static model::Model* model_ = nullptr;
  inline static std::shared_ptr<const train::TrainingFile> file_;
  const model::Backbone backbone_{model_->config, model_->parameters, model_->activations};
  std::int64_t tokens_ = 0;
};

TEST_F(ContextLosses, AreThoseOfValidationAfterTheSameBases) {
  // One window, whose longest context is all of the record before it; the second piece holds other contexts alone.
  constexpr std::int64_t kBegin = 16'384, kEnd = kBegin + 1'024;
  const ContextWindows one = windows({.longest = kBegin}, {{0, 0, kEnd}, {0, 20'000, 36'500}});
  ASSERT_EQ(one.count(), 1);
  ASSERT_THAT(one.place_of(0), HasSubstr("base 16384"));
  for (const ContextLoss& loss : measure(one)) {
    if (loss.kind != Context::kTrue) continue;
    EXPECT_EQ(loss.bases, 1'024);
    EXPECT_NEAR(loss.bits_per_base, validated(kBegin - loss.context, kBegin, kEnd), 1e-5) << loss.context;
    EXPECT_TRUE(std::isnan(loss.standard_error));
  }
}

TEST_F(ContextLosses, DoNotDependOnSegments) {
  const ContextWindows two = windows({.longest = 16'384, .windows = 2}, {{0, 0, 200'000}});
  const auto whole = measure(two, 100'000);
  ASSERT_EQ(whole.size(), 9U);
  const auto cut = measure(two, 3'001);
  for (std::size_t i = 0; i < whole.size(); ++i) {
    EXPECT_NEAR(cut[i].bits_per_base, whole[i].bits_per_base, 1e-5);
    EXPECT_NEAR(cut[i].gain, whole[i].gain, 1e-5);
    EXPECT_NEAR(cut[i].standard_error, whole[i].standard_error, 1e-5);
  }
  EXPECT_EQ(tokens_, 2 * 3 * 2 * (1'024 + 4'096 + 16'384 + 3 * 1'023));
}

TEST_F(ContextLosses, OfControlsAreThoseOfTheTruthAtTheShortestContextAlone) {
  const auto losses = measure(windows({.longest = 16'384, .windows = 2}, {{0, 0, 100'000}}));
  std::map<std::int64_t, std::map<Context, double>> bits;
  for (const ContextLoss& loss : losses) {
    bits[loss.context][loss.kind] = loss.bits_per_base;
    EXPECT_EQ(loss.windows, 2);
    EXPECT_EQ(loss.bases, 2 * 1'024);
    EXPECT_NEAR(loss.gain, losses[0].bits_per_base - loss.bits_per_base, 1e-12);
    EXPECT_TRUE(loss.standard_error > 0 && loss.gain_error >= 0);
  }
  EXPECT_EQ(bits[1'024][Context::kShuffled], bits[1'024][Context::kTrue]);
  EXPECT_EQ(bits[1'024][Context::kElsewhere], bits[1'024][Context::kTrue]);
  for (const std::int64_t context : {4'096, 16'384}) {
    EXPECT_NE(bits[context][Context::kShuffled], bits[context][Context::kTrue]);
    EXPECT_NE(bits[context][Context::kElsewhere], bits[context][Context::kTrue]);
    EXPECT_NE(bits[context][Context::kElsewhere], bits[context][Context::kShuffled]);
  }
}

TEST_F(ContextLosses, OfAModelThatAnswersNoNumberAreAnErrorThatNamesThePlace) {
  model::Parameters broken = model_->parameters;
  for (auto& [name, tensor] : broken) tensor = tensor.mul(std::nan(""));
  const model::Backbone backbone(model_->config, broken);
  const ContextWindows two = windows({.shortest = 64, .longest = 64, .window = 64, .windows = 2}, {{0, 0, 1'000}});
  EXPECT_THAT(error_text<base::Error>(
                  [&] { measure_context_losses(backbone, two, *model_->alphabet, 8'192, [](std::int64_t) {}); }),
              HasSubstr(", base 256: the model's answer is not a number"));
}

}  // namespace
}  // namespace dnamamba::studies
