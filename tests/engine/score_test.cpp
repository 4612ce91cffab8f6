// What `score` says of a base depends on the record, the model and the strand; not on how the work was cut up.
#include "core/engine/score.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>

#include "core/base/error.h"
#include "core/engine/run_settings.h"
#include "core/train/validation.h"
#include "tests/engine/engine_models.h"
#include "tests/support/throws.h"

namespace dnamamba::engine {
namespace {

using test::Sequence;
using test::TempDir;
using ::testing::AllOf;
using ::testing::AssertionFailure;
using ::testing::AssertionResult;
using ::testing::AssertionSuccess;
using ::testing::HasSubstr;
using tokens::Strand;

using Bits = std::map<std::string, std::vector<float>>;

/// Keeps the values of each record in memory.
class KeptTrack : public outputs::TrackWriter {
 public:
  void begin_record(std::string_view name, std::int64_t length) override {
    open_ = name;
    lengths[open_] = length;
    bits[open_] = {};
  }
  void append(std::span<const float> values) override {
    bits[open_].insert(bits[open_].end(), values.begin(), values.end());
  }
  void close() override {}

  Bits bits;
  std::map<std::string, std::int64_t> lengths;

 private:
  std::string open_;
};

/// Norm-wise over the record; NaN where NaN is expected, and nowhere else.
AssertionResult same_bits(const Bits& actual, const Bits& expected, double tolerance) {
  if (actual.size() != expected.size()) return AssertionFailure() << actual.size() << " records";
  for (const auto& [name, values] : expected) {
    if (actual.count(name) == 0 || actual.at(name).size() != values.size())
      return AssertionFailure() << "record " << name << " is not " << values.size() << " long";
    double difference = 0, norm = 0;
    for (std::size_t i = 0; i < values.size(); ++i) {
      const double a = actual.at(name)[i], e = values[i];
      if (std::isnan(a) != std::isnan(e))
        return AssertionFailure() << name << ", base " << i << " is " << a << ", expected " << e;
      if (std::isnan(a)) continue;
      difference += (a - e) * (a - e);
      norm += e * e;
    }
    if (!(std::sqrt(difference) <= tolerance * std::sqrt(norm)))
      return AssertionFailure() << name << ": the difference is " << std::sqrt(difference / norm);
  }
  return AssertionSuccess();
}

class Score : public ::testing::Test {
 protected:
  // One thread: these models are so small that more only wait for one another.
  void SetUp() override { set_threads(1); }

  Bits score_sequences(const model::Model& model, ScoreOptions options, const std::vector<Sequence>& sequences) {
    options.inputs = {file_ = test::write_fasta(folder_, "sequences.fa", sequences)};
    KeptTrack track;
    counts_ = score(options, model, track, [](std::int64_t, double) {});
    for (const auto& [name, values] : track.bits)
      EXPECT_EQ(static_cast<std::int64_t>(values.size()), track.lengths.at(name)) << name;
    return track.bits;
  }

  // Short ones, N at ends and inside, soft-masked bases, nothing but N.
  std::vector<Sequence> mixed_records() {
    std::vector<Sequence> records;
    for (const std::int64_t length : {0, 1, 2, 3, 149, 150, 600}) {
      std::string bases = test::random_bases(random_, length);
      if (length > 100) {
        std::fill(bases.begin() + length / 3, bases.begin() + length / 2, 'N');
        std::fill(bases.begin(), bases.begin() + 5, 'N');
        std::transform(bases.begin() + 80, bases.begin() + 90, bases.begin() + 80,
                       [](char c) { return static_cast<char>(std::tolower(c)); });
      }
      records.push_back({"r" + std::to_string(length), bases});
    }
    records.push_back({"only_n", std::string(40, 'N')});
    return records;
  }

  const TempDir folder_;
  std::string file_;  // of the last run
  test::RandomTensors random_{3};
  ScoreCounts counts_;  // of the last run
};

TEST_F(Score, DoesNotDependOnWhereARecordIsCut) {
  const auto records = mixed_records();
  for (const at::ScalarType dtype : {at::kFloat, at::kDouble}) {
    const model::Model model = test::small_model(dtype);
    for (const Strand strand : {Strand::kForward, Strand::kReverse, Strand::kBoth}) {
      ScoreOptions options;
      options.strand = strand;
      const Bits whole = score_sequences(model, options, records);
      for (const std::int64_t segment : {1, 7, 50}) {
        options.segment = segment;
        // Values are kept as float32, whatever they were computed in.
        EXPECT_TRUE(same_bits(score_sequences(model, options, records), whole, dtype == at::kDouble ? 1e-7 : 1e-5))
            << "segment " << segment;
      }
    }
  }
}

TEST_F(Score, DoesNotDependOnTheRecordsAroundNorOnThreads) {
  auto records = mixed_records();
  const model::Model model = test::small_model();
  ScoreOptions options;
  options.strand = Strand::kBoth;
  options.segment = 70;
  const Bits together = score_sequences(model, options, records);
  for (const Sequence& record : records)
    EXPECT_TRUE(same_bits(score_sequences(model, options, {record}), {*together.find(record.name)}, 1e-5));
  std::reverse(records.begin(), records.end());
  EXPECT_TRUE(same_bits(score_sequences(model, options, records), together, 1e-5));
  set_threads(3);
  EXPECT_TRUE(same_bits(score_sequences(model, options, records), together, 1e-6));
}

TEST_F(Score, TheMeanIsWhatValidationSays) {
  const auto records = mixed_records();
  for (const at::ScalarType dtype : {at::kFloat, at::kDouble}) {
    const model::Model model = test::small_model(dtype);
    const model::Backbone backbone(model.config, model.parameters);
    const double tolerance = dtype == at::kDouble ? 1e-7 : 1e-5;
    for (const Sequence& record : records) {
      const Bits bits = score_sequences(model, {}, {record});
      const auto files = train::open_training_files(file_, tokens::Tokenizer(*model.alphabet));
      const train::LossSum sum = train::validate(backbone, train::all_of(files[0]), *model.alphabet, {});
      EXPECT_EQ(static_cast<double>(counts_.scored), sum.weight) << record.name;
      if (counts_.scored == 0) continue;
      const double mean = counts_.bits / static_cast<double>(counts_.scored);
      EXPECT_NEAR(mean, train::bits_per_base(sum), tolerance * mean) << record.name;
    }
    const Bits bits = score_sequences(model, {}, records);
    EXPECT_EQ(counts_.records, 8);
    EXPECT_EQ(counts_.bases, 1 + 2 + 3 + 149 + 150 + 600 + 40);
  }
}

TEST_F(Score, ABaseWithoutContextAndNHaveNoValueAllOthersHave) {
  const model::Model model = test::small_model();
  const std::vector<Sequence> records{{"r", "ACNNGTa"}};
  const auto known = [](const std::vector<float>& values) {
    std::string text;
    for (const float value : values) text += std::isnan(value) ? '.' : 'x';
    return text;
  };
  ScoreOptions options;
  EXPECT_EQ(known(score_sequences(model, options, records).at("r")), ".x..xxx");
  EXPECT_EQ(counts_.scored, 4);
  options.soft_mask = tokens::SoftMaskPolicy::kAmbiguous;
  EXPECT_EQ(known(score_sequences(model, options, records).at("r")), ".x..xx.");
  options = {};
  options.strand = Strand::kReverse;
  EXPECT_EQ(known(score_sequences(model, options, records).at("r")), "xx..xx.");
  options.strand = Strand::kBoth;
  EXPECT_EQ(known(score_sequences(model, options, records).at("r")), "xx..xxx");
}

TEST_F(Score, TheReverseStrandIsTheReverseComplementReadForward) {
  const model::Model model = test::small_model();
  const std::string bases = test::random_bases(random_, 300);
  ScoreOptions options;
  const auto forward = score_sequences(model, options, {{"r", bases}}).at("r");
  const auto other = score_sequences(model, options, {{"r", test::complement_of(bases)}}).at("r");
  options.strand = Strand::kReverse;
  const auto reverse = score_sequences(model, options, {{"r", bases}}).at("r");
  EXPECT_TRUE(same_bits({{"r", reverse}}, {{"r", {other.rbegin(), other.rend()}}}, 1e-5));
  options.strand = Strand::kBoth;
  const auto both = score_sequences(model, options, {{"r", bases}}).at("r");
  EXPECT_EQ(both.front(), reverse.front());
  EXPECT_EQ(both.back(), forward.back());
  for (std::size_t i = 1; i + 1 < both.size(); ++i) EXPECT_NEAR(both[i], (forward[i] + reverse[i]) / 2, 1e-5) << i;
}

// Of a model that gives every id the same chance, the surprise is known.
TEST_F(Score, AModelThatKnowsNothingIsSurprisedByTheBitsOfAnId) {
  model::Model model = test::small_model();
  for (auto& [name, tensor] : model.parameters)
    if (name.ends_with("embedding.weight") || name.ends_with("lm_head.weight")) tensor.zero_();
  const auto bits = score_sequences(model, {}, {{"r", "ACGTTGCA"}}).at("r");
  for (std::size_t i = 1; i < bits.size(); ++i)
    EXPECT_NEAR(bits[i], std::log2(static_cast<double>(model.config.vocabulary)), 1e-5);
}

TEST_F(Score, AnAnswerThatIsNoNumberIsAnErrorWithItsPlace) {
  model::Model model = test::small_model();
  for (auto& [name, tensor] : model.parameters)
    if (name.ends_with("norm_f.weight")) tensor.fill_(std::numeric_limits<float>::quiet_NaN());
  EXPECT_THAT(test::error_text<base::Error>([&] {
                score_sequences(model, {}, {{"chr7", "ACGT"}});
              }),
              AllOf(HasSubstr("sequences.fa: record chr7, base 1"), HasSubstr("not a number")));
}

TEST_F(Score, AWriterThatFailsEndsTheJobWithItsError) {
  class Failing : public KeptTrack {
   public:
    void append(std::span<const float>) override { throw base::IoError("full"); }
  } track;
  ScoreOptions options;
  options.inputs = {test::write_fasta(folder_, "s.fa", mixed_records())};
  EXPECT_THAT(
      test::error_text<base::IoError>([&] { score(options, test::small_model(), track, [](std::int64_t, double) {}); }),
      HasSubstr("full"));
}

}  // namespace
}  // namespace dnamamba::engine
