// The data of a run: what is held out is never trained on, and files and stores give the same.
#include "core/train/training_data.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <set>
#include <string>

#include "core/base/error.h"
#include "core/io/sequence_reader.h"
#include "core/tokens/token_store_writer.h"
#include "tests/support/temp_dir.h"
#include "tests/support/tensors.h"
#include "tests/support/throws.h"

namespace dnamamba::train {
namespace {

using test::error_text;
using test::RandomTensors;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

const tokens::Alphabet& alphabet() {
  static const tokens::Alphabet kAlphabet = tokens::Alphabet::built_in("dnamamba");
  return kAlphabet;
}

// Sequences of A that note which parts of them are read.
class Noting : public TrainingFile {
 public:
  Noting(std::string path, std::vector<std::pair<std::string, std::int64_t>> sequences)
      : TrainingFile(path, {path}), sequences_(std::move(sequences)) {}
  [[nodiscard]] std::int64_t sequences() const override { return static_cast<std::int64_t>(sequences_.size()); }
  [[nodiscard]] std::string_view name(std::int64_t sequence) const override { return sequences_[sequence].first; }
  [[nodiscard]] std::int64_t length(std::int64_t sequence) const override { return sequences_[sequence].second; }
  [[nodiscard]] Segment read(std::int64_t sequence, std::int64_t begin, std::int64_t count) const override {
    parts_read.push_back({sequence, begin, begin + count});
    return {std::vector<std::uint8_t>(count, alphabet().bases()[0]), std::vector<std::uint8_t>(count)};
  }

  mutable std::vector<Piece> parts_read;

 private:
  std::vector<std::pair<std::string, std::int64_t>> sequences_;
};

HoldOutOptions held_out(const std::vector<std::string>& regions, double fraction = 0, std::int64_t block = 10) {
  HoldOutOptions options{{}, fraction, block};
  for (const std::string& region : regions) options.regions.push_back(io::parse_region(region));
  return options;
}

std::set<std::pair<std::int64_t, std::int64_t>> bases_of(const std::vector<Piece>& pieces) {
  std::set<std::pair<std::int64_t, std::int64_t>> bases;
  for (const Piece& piece : pieces)
    for (std::int64_t i = piece.begin; i < piece.end; ++i) bases.emplace(piece.sequence, i);
  return bases;
}

TEST(Divide, CutsRegionsOutAndMergesThoseThatTouch) {
  const TrainingFiles files{std::make_shared<Noting>(
      "a", std::vector<std::pair<std::string, std::int64_t>>{{"x", 100}, {"y", 50}, {"z", 0}, {"x:3-4", 9}})};
  const auto divided = divide(files, held_out({"x:11-20", "x:21-25", "x:15-17", "x:91-100", "y", "z", "x:3-4"}), 1);
  EXPECT_THAT(divided[0].held_out,
              ElementsAre(Piece{0, 2, 4}, Piece{0, 10, 25}, Piece{0, 90, 100}, Piece{1, 0, 50}, Piece{3, 0, 9}));
  EXPECT_THAT(divided[0].training, ElementsAre(Piece{0, 0, 2}, Piece{0, 4, 10}, Piece{0, 25, 90}));
}

TEST(Divide, HoldsOutTheFractionInWholeBlocksWhateverOtherFilesThereAre) {
  const auto lengths = std::vector<std::pair<std::string, std::int64_t>>{{"x", 100'003}, {"y", 40'000}};
  const auto a = std::make_shared<Noting>("a", lengths);
  const auto b = std::make_shared<Noting>("b", std::vector<std::pair<std::string, std::int64_t>>{{"w", 5'000}});
  const auto alone = divide({a}, held_out({}, 0.1), 7), together = divide({b, a}, held_out({}, 0.1), 7);
  EXPECT_EQ(alone[0].held_out, together[1].held_out);
  EXPECT_NE(alone[0].held_out, divide({a}, held_out({}, 0.1), 8)[0].held_out);
  std::int64_t held = 0;
  for (const Piece& piece : alone[0].held_out) {
    held += piece.length();
    EXPECT_EQ(piece.begin % 10, 0);
    EXPECT_TRUE(piece.end % 10 == 0 || piece.end == lengths[piece.sequence].second);
  }
  EXPECT_NEAR(static_cast<double>(held), 14'000, 1'200);
  EXPECT_EQ(bases_of(alone[0].held_out).size() + bases_of(alone[0].training).size(), 140'003U);
  for (const auto& base : bases_of(alone[0].held_out)) EXPECT_FALSE(bases_of({alone[0].training[0]}).contains(base));
}

TEST(Divide, RefusesWhatHoldsOutNothingOrEverything) {
  const TrainingFiles files{
      std::make_shared<Noting>("a", std::vector<std::pair<std::string, std::int64_t>>{{"x", 100}})};
  const auto refusal = [&](const HoldOutOptions& options) {
    return error_text<base::Error>([&] { divide(files, options, 1); });
  };
  EXPECT_THAT(refusal(held_out({"y"})), HasSubstr("there is no record 'y'"));
  EXPECT_THAT(refusal(held_out({"x:200-300"})), HasSubstr("begins behind the end"));
  EXPECT_THAT(refusal(held_out({"x"})), HasSubstr("all bases are held out"));
  EXPECT_THAT(refusal(held_out({}, 1e-9)), HasSubstr("--hold-out-block"));
  EXPECT_THAT(refusal(held_out({"x:1-5"}, 1e-9)), HasSubstr("--hold-out-block"));
}

TEST(SegmentSampler, NeverReadsAHeldOutBaseAndReadsEveryOther) {
  RandomTensors random(3);
  for (int round = 0; round < 12; ++round) {
    const auto file = std::make_shared<Noting>(
        "a", std::vector<std::pair<std::string, std::int64_t>>{{"x", 400}, {"y", 150}, {"short", 8}});
    std::vector<std::string> regions{"y:100-120"};
    for (int i = 0; i < 6; ++i) {
      const std::int64_t begin = random.between(1, 390);
      regions.push_back("x:" + std::to_string(begin) + "-" + std::to_string(begin + random.between(0, 9)));
    }
    const TrainingFiles files{file};
    const auto divided = divide(files, held_out(regions, 0.1, random.between(5, 40)), round);
    const SegmentSampler sampler(files, divided, alphabet(),
                                 {.context = random.between(0, 60),
                                  .by = static_cast<SampleBy>(round % 3),
                                  .seed = static_cast<std::uint64_t>(round)});
    for (std::int64_t i = 0; i < 6'000; ++i) (void)sampler.draw(i / 10, i % 10);
    const auto drawn = bases_of(file->parts_read), forbidden = bases_of(divided[0].held_out);
    for (const auto& base : drawn) EXPECT_FALSE(forbidden.contains(base)) << base.first << ":" << base.second;
    std::vector<Piece> possible = divided[0].training;
    std::erase_if(possible, [](const Piece& piece) { return piece.length() < 2; });  // no input with a target
    EXPECT_EQ(drawn.size(), bases_of(possible).size());
  }
}

TEST(ContextAt, DoublesAfterEqualNumbersOfSteps) {
  DataOptions options;
  options.context = 1000;
  EXPECT_EQ(context_at(options, 5000, 80, 0), 1000);
  options.context_start = 200;
  options.context_warmup = 0.75;
  const auto at = [&](std::int64_t step) { return context_at(options, 5000, 80, step); };
  EXPECT_THAT((std::vector{at(0), at(19), at(20), at(39), at(40), at(59), at(60), at(79)}),
              ElementsAre(200, 200, 400, 400, 800, 800, 1000, 1000));
  options.context = 0;  // whole records, the longest of 5000
  EXPECT_THAT((std::vector{at(0), at(12), at(59), at(60)}), ElementsAre(200, 400, 3200, 0));
  options.context_warmup = 0;
  EXPECT_EQ(at(0), 0);
}

class TrainingDataOfFiles : public ::testing::Test {
 protected:
  std::string random_bases(std::int64_t length) {
    std::string bases;
    bool lower = false;
    for (std::int64_t i = 0; i < length; ++i) {
      lower ^= random_.between(0, 20) == 0;
      bases += (lower ? "acgtn" : "ACGTN")[random_.between(0, 4)];
    }
    return bases;
  }
  DataOptions options(const std::vector<std::string>& inputs) const {
    DataOptions options;
    options.inputs = inputs;
    options.context = 64;
    options.batch = 512;
    options.soft_mask_weight = 0.1;
    options.seed = 4;
    return options;
  }
  // The two files in one store.
  std::string pack() const {
    const std::string path = folder_.file("both.dnaz");
    files::AtomicFile out(path, true);
    tokens::TokenStoreWriter writer(out, alphabet(), 1);
    const tokens::Tokenizer tokenizer(alphabet());
    for (const std::string& input : {a_, b_}) {
      io::SequenceReader reader(input, {.chunk_length = 1'000});
      while (const auto chunk = reader.next()) {
        std::vector<std::uint8_t> ids, lower_case;
        tokenizer.append(chunk->bases, {}, ids, &lower_case);
        writer.append(ids, lower_case);
        if (chunk->ends_record) writer.end_record(chunk->name);
      }
      writer.end_source(input);
    }
    writer.finish();
    out.commit();
    return path;
  }
  static void expect_same_draws(const DataOptions& one, const DataOptions& other) {
    const tokens::Tokenizer tokenizer(alphabet());
    TrainingData first(one, tokenizer, 40), second(other, tokenizer, 40);
    for (const std::int64_t step : {0, 1, 2, 3, 39, 20, 21, 5}) {
      const auto a = first.draw(step, 200), b = second.draw(step, 200);
      ASSERT_EQ(a.size(), b.size());
      for (std::size_t i = 0; i < a.size(); ++i) {
        EXPECT_EQ(a[i].inputs.tokens, b[i].inputs.tokens);
        EXPECT_EQ(a[i].inputs.offsets, b[i].inputs.offsets);
        EXPECT_EQ(a[i].targets, b[i].targets);
        EXPECT_EQ(a[i].weights, b[i].weights);
      }
    }
    ASSERT_EQ(first.validation().size(), second.validation().size());
    for (std::size_t i = 0; i < first.validation().size(); ++i)
      EXPECT_EQ(first.validation()[i].pieces, second.validation()[i].pieces);
  }

  RandomTensors random_{2};
  const test::TempDir folder_;
  const std::string a_ = folder_.write("a.fa", ">x\n" + random_bases(70'000) + "\n>y\n" + random_bases(31) + "\n");
  const std::string b_ = folder_.write("b.fa", ">z\n>x\n" + random_bases(9'000) + "\n");
};

TEST_F(TrainingDataOfFiles, AStoreDrawsWhatTheFilesDrewThatItWasPackedFrom) {
  const std::string store = pack();
  for (const SampleBy by : {SampleBy::kLength, SampleBy::kFile, SampleBy::kSequence}) {
    DataOptions files = options({a_, b_}), stored = options({store});
    for (DataOptions* each : {&files, &stored}) {
      each->sample_by = by;
      each->weights = {{b_, 2.5}};
      each->hold_out = held_out({"x:101-200"}, 0.2, 1'000);
      each->context_start = by == SampleBy::kFile ? 16 : 0;
      each->context = by == SampleBy::kSequence ? 0 : 64;
    }
    expect_same_draws(files, stored);
  }
}

TEST_F(TrainingDataOfFiles, AStepHasTheTokensOfTheBatchWhateverTheContext) {
  DataOptions options = this->options({a_});
  options.context_start = 8;
  options.context_warmup = 0.5;
  options.sample_by = SampleBy::kSequence;  // half of them have 30 inputs
  TrainingData data(options, tokens::Tokenizer(alphabet()), 40);
  for (std::int64_t step = 0; step < 40; ++step) {
    std::int64_t tokens = 0;
    for (const NextTokenBatch& batch : data.draw(step, 100)) {
      tokens += batch.inputs.token_count();
      EXPECT_LE(batch.longest(), context_at(options, 70'000, 40, step));
      EXPECT_LE(batch.inputs.token_count(), 100);
    }
    EXPECT_LE(tokens, 512);
    EXPECT_GT(tokens, 512 - 64);
  }
}

TEST_F(TrainingDataOfFiles, HeldOutPartsAreValidatedOnBesideFiles) {
  DataOptions options = this->options({a_, b_});
  options.validation = {b_};
  options.hold_out = held_out({"y"});
  const TrainingData data(options, tokens::Tokenizer(alphabet()), 40);
  ASSERT_EQ(data.validation().size(), 2U);
  EXPECT_EQ(data.validation()[0].name, b_);
  EXPECT_EQ(data.validation()[1].name, a_ + " (held out)");
  EXPECT_THAT(data.validation()[1].pieces, ElementsAre(Piece{1, 0, 31}));
}

TEST_F(TrainingDataOfFiles, RefusesWeightsOfUnknownFilesAndStoresOfOtherLetters) {
  DataOptions options = this->options({a_});
  options.weights = {{"c.fa", 2}};
  EXPECT_THAT(error_text<base::UsageError>([&] { TrainingData(options, tokens::Tokenizer(alphabet()), 1); }),
              HasSubstr("'c.fa' is no input"));
  const tokens::Tokenizer plantcad(tokens::Alphabet::built_in("plantcad"));
  EXPECT_THAT(error_text<base::Error>([&] { TrainingData(this->options({pack()}), plantcad, 1); }),
              HasSubstr("both.dnaz: was packed with the alphabet dnamamba, the model's is plantcad"));
}

}  // namespace
}  // namespace dnamamba::train
