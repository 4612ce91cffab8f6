// Rows of `embed` depend on the record, the model and what was asked for; not on how the work was cut up.
#include "core/engine/embed.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/from_blob.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>

#include "core/base/error.h"
#include "core/engine/run_settings.h"
#include "core/model/backbone.h"
#include "tests/engine/engine_models.h"
#include "tests/support/throws.h"

namespace dnamamba::engine {
namespace {

using heads::Pool;
using test::Sequence;
using test::TempDir;
using ::testing::AssertionFailure;
using ::testing::AssertionResult;
using ::testing::AssertionSuccess;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using tokens::Range;
using tokens::Strand;

struct Row {
  Range place;
  std::vector<float> values;
};
using Rows = std::vector<Row>;

/// Keeps the rows of each record in memory.
class KeptRows : public outputs::EmbeddingWriter {
 public:
  explicit KeptRows(std::int64_t width)
      : EmbeddingWriter({.width = width, .type = outputs::EmbeddingType::kFloat32, .force = false, .metadata = "{}"}) {}

  std::map<std::string, Rows> by_name() const {
    std::map<std::string, Rows> all;
    for (std::int64_t i = 0; i < table().count(); ++i) all[table().name(i)];
    for (const auto& [record, row] : rows_kept_) all[table().name(record)].push_back(row);
    return all;
  }
  std::vector<std::string> names() const {
    std::vector<std::string> all;
    for (std::int64_t i = 0; i < table().count(); ++i) all.push_back(table().name(i));
    return all;
  }

 private:
  void write_row(const outputs::EmbeddingRow& row, std::span<const std::byte> /*elements*/) override {
    rows_kept_.push_back({row.record, {{row.start, row.end}, {row.values.begin(), row.values.end()}}});
  }
  void finish() override {}

  std::vector<std::pair<std::int64_t, Row>> rows_kept_;
};

/// Norm-wise over the record; NaN where NaN is expected, and nowhere else.
AssertionResult same_rows(const Rows& actual, const Rows& expected, double tolerance) {
  if (actual.size() != expected.size())
    return AssertionFailure() << actual.size() << " rows, " << expected.size() << " expected";
  double difference = 0, norm = 0;
  for (std::size_t r = 0; r < actual.size(); ++r) {
    if (actual[r].place != expected[r].place)
      return AssertionFailure() << "row " << r << " ends at " << actual[r].place.last << ", expected "
                                << expected[r].place.last;
    for (std::size_t d = 0; d < actual[r].values.size(); ++d) {
      const double a = actual[r].values[d], e = expected[r].values[d];
      if (std::isnan(a) != std::isnan(e)) return AssertionFailure() << "row " << r << " is " << a << ", expected " << e;
      if (std::isnan(a)) continue;
      difference += (a - e) * (a - e);
      norm += e * e;
    }
  }
  if (std::sqrt(difference) <= tolerance * std::sqrt(norm)) return AssertionSuccess();
  return AssertionFailure() << "norm of the difference is " << std::sqrt(difference / norm) << " of the rows'";
}

AssertionResult same_records(const std::map<std::string, Rows>& actual, const std::map<std::string, Rows>& expected,
                             double tolerance) {
  if (actual.size() != expected.size()) return AssertionFailure() << actual.size() << " records";
  for (const auto& [name, rows] : expected) {
    if (actual.count(name) == 0) return AssertionFailure() << "no record " << name;
    if (const auto result = same_rows(actual.at(name), rows, tolerance); !result)
      return AssertionFailure() << "record " << name << ": " << result.message();
  }
  return AssertionSuccess();
}

class Embed : public ::testing::Test {
 protected:
  // One thread: these models are so small that more only wait for one another.
  void SetUp() override { set_threads(1); }

  std::map<std::string, Rows> embed_files(const model::Model& model, const EmbedOptions& options) {
    KeptRows writer(model.config.d_model);
    counts_ = embed(options, model, writer, [](std::int64_t, double) {});
    names_ = writer.names();
    return writer.by_name();
  }
  std::map<std::string, Rows> embed_sequences(const model::Model& model, EmbedOptions options,
                                              const std::vector<Sequence>& sequences) {
    options.inputs = {test::write_fasta(folder_, "sequences.fa", sequences)};
    return embed_files(model, options);
  }

  // Every length at which something changes, runs of N at ends and inside, soft-masked bases, and nothing but N.
  std::vector<Sequence> mixed_records() {
    std::vector<Sequence> records;
    for (const std::int64_t length : {0, 1, 3, 999, 10'001, 25'000}) {
      std::string bases = test::random_bases(random_, length);
      if (length > 900) {
        std::fill(bases.begin() + length / 3, bases.begin() + length / 2, 'N');
        std::fill(bases.begin(), bases.begin() + 5, 'N');
        std::transform(bases.begin() + 50, bases.begin() + 90, bases.begin() + 50,
                       [](char c) { return static_cast<char>(std::tolower(c)); });
      }
      records.push_back({"r" + std::to_string(length), bases});
    }
    records.push_back({"only_n", std::string(500, 'N')});
    return records;
  }

  const TempDir folder_;
  test::RandomTensors random_{3};
  EmbedCounts counts_;              // of the last run
  std::vector<std::string> names_;  // its records, in order
};

// ---- what a row is, plainly: the whole strand at once, then the pool over the window's positions

std::vector<std::uint8_t> ids_of(const std::string& bases, const tokens::Alphabet& alphabet) {
  std::vector<std::uint8_t> ids;
  for (const char base : bases) ids.push_back(alphabet.id_of(base));
  return ids;
}

// Vectors of the positions as the strand's reader sees them, [length][width] in the order of the forward strand.
std::vector<std::vector<double>> hidden_of(const model::Model& model, const std::string& bases, bool reverse,
                                           std::int64_t layer) {
  const at::NoGradGuard no_graph;
  std::vector<std::uint8_t> ids = ids_of(reverse ? test::complement_of(bases) : bases, *model.alphabet);
  const auto out =
      model::Backbone(model.config, model.parameters)
          .advance({.tokens = at::from_blob(ids.data(), {static_cast<std::int64_t>(ids.size())}, at::kByte),
                    .offsets = {},
                    .layer = layer});
  const at::Tensor hidden = out.hidden.to(at::kDouble).contiguous();
  std::vector<std::vector<double>> rows;
  for (std::int64_t i = 0; i < hidden.size(0); ++i) {
    const double* row = hidden.const_data_ptr<double>() + i * hidden.size(1);
    rows.emplace_back(row, row + hidden.size(1));
  }
  if (reverse) std::reverse(rows.begin(), rows.end());
  return rows;
}

std::vector<double> pooled(Pool pool, const std::vector<std::vector<double>>& hidden, const std::string& bases,
                           Range window, bool reverse) {
  const std::size_t width = hidden.front().size();
  std::vector<double> value(width, 0);
  if (pool == Pool::kNone) return hidden[window.first];
  std::int64_t count = 0;
  for (std::int64_t i = 0; i < window.size(); ++i) {
    const std::int64_t position = reverse ? window.last - 1 - i : window.first + i;
    if (bases[position] == 'N') continue;
    const auto& row = hidden[position];
    for (std::size_t d = 0; d < width; ++d) {
      if (pool == Pool::kMean) value[d] += row[d];
      if (pool == Pool::kMax) value[d] = count == 0 ? row[d] : std::max(value[d], row[d]);
      if (pool == Pool::kLast) value[d] = row[d];
    }
    ++count;
  }
  for (double& v : value) {
    if (count == 0) v = std::numeric_limits<double>::quiet_NaN();
    if (pool == Pool::kMean) v /= static_cast<double>(count);
  }
  return value;
}

Rows plain_rows(const model::Model& model, const std::string& bases, const EmbedPlan& plan, std::int64_t layer = -1) {
  Rows rows;
  if (bases.empty()) return rows;
  const auto forward = hidden_of(model, bases, false, layer), reverse = hidden_of(model, bases, true, layer);
  const std::int64_t length = static_cast<std::int64_t>(bases.size());
  const std::int64_t window = plan.pool == Pool::kNone ? 1 : plan.window.value_or(length > 10'000 ? 1'000 : length);
  const std::int64_t stride = plan.pool == Pool::kNone ? 1 : plan.stride.value_or(window);
  for (std::int64_t first = 0; first < length; first += stride) {
    const Range place{first, std::min(first + window, length)};
    const auto plus = pooled(plan.pool, forward, bases, place, false);
    const auto minus = pooled(plan.pool, reverse, bases, place, true);
    Row row{place, {}};
    for (std::size_t d = 0; d < plus.size(); ++d)
      row.values.push_back(static_cast<float>(plan.strand == Strand::kForward   ? plus[d]
                                              : plan.strand == Strand::kReverse ? minus[d]
                                                                                : (plus[d] + minus[d]) / 2));
    rows.push_back(row);
    if (place.last == length) break;
  }
  return rows;
}

// ---- the invariants

TEST_F(Embed, RowsDoNotDependOnHowManyTokensAreComputedAtATime) {
  const auto records = mixed_records();
  for (const at::ScalarType dtype : {at::kFloat, at::kDouble}) {
    const model::Model model = test::small_model(dtype);
    EmbedOptions options;
    options.segment = 1'000'000;
    const auto whole = embed_sequences(model, options, records);
    EXPECT_EQ(whole.at("r25000").size(), 25u);
    for (const std::int64_t segment : {7, 64, 1000}) {
      options.segment = segment;
      EXPECT_TRUE(same_records(embed_sequences(model, options, records), whole, test::tolerance(dtype)))
          << "segment " << segment << (dtype == at::kDouble ? ", fp64" : ", fp32");
    }
  }
}

TEST_F(Embed, RowsDoNotDependOnTheRecordsAround) {
  auto records = mixed_records();
  for (const at::ScalarType dtype : {at::kFloat, at::kDouble}) {
    const model::Model model = test::small_model(dtype);
    EmbedOptions options;
    options.segment = 700;
    const auto together = embed_sequences(model, options, records);
    EXPECT_THAT(names_, ElementsAre("r0", "r1", "r3", "r999", "r10001", "r25000", "only_n"));
    for (const Sequence& record : records) {
      const auto alone = embed_sequences(model, options, {record});
      EXPECT_TRUE(same_rows(alone.at(record.name), together.at(record.name), test::tolerance(dtype))) << record.name;
    }
    std::vector<Sequence> reversed(records.rbegin(), records.rend());
    EXPECT_TRUE(same_records(embed_sequences(model, options, reversed), together, test::tolerance(dtype)));
    EXPECT_THAT(names_, ElementsAre("only_n", "r25000", "r10001", "r999", "r3", "r1", "r0"));
  }
}

TEST_F(Embed, RowsDoNotDependOnTheNumberOfThreads) {
  const model::Model model = test::small_model();
  const auto records = mixed_records();
  const auto one = embed_sequences(model, {}, records);
  set_threads(3);
  EXPECT_TRUE(same_records(embed_sequences(model, {}, records), one, 1e-6));
}

TEST_F(Embed, TwoRunsGiveTheSameBits) {
  const model::Model model = test::small_model();
  const auto records = mixed_records();
  EmbedOptions options;
  options.segment = 1000;
  EXPECT_TRUE(same_records(embed_sequences(model, options, records), embed_sequences(model, options, records), 0));
}

// ---- what a row stands for

TEST_F(Embed, RowsAreThePoolOverTheVectorsOfTheWholeStrand) {
  const model::Model model = test::small_model();
  std::string bases = test::random_bases(random_, 1'234);
  std::fill(bases.begin() + 290, bases.begin() + 405, 'N');  // the whole of a window, and parts of its neighbours
  std::fill(bases.end() - 3, bases.end(), 'N');
  for (const Pool pool : {Pool::kMean, Pool::kMax, Pool::kLast, Pool::kNone})
    for (const Strand strand : {Strand::kForward, Strand::kReverse, Strand::kBoth}) {
      EmbedOptions options;
      options.plan.pool = pool;
      options.plan.strand = strand;
      if (pool != Pool::kNone) options.plan.window = 100;
      options.segment = 333;
      const auto rows = embed_sequences(model, options, {{"r", bases}});
      EXPECT_TRUE(same_rows(rows.at("r"), plain_rows(model, bases, options.plan), 1e-5))
          << "pool " << static_cast<int>(pool) << ", strand " << static_cast<int>(strand);
      EXPECT_EQ(counts_.ambiguous_rows, pool == Pool::kNone ? 0 : 1);
    }
}

TEST_F(Embed, WindowsMayOverlapOrLeaveBasesOut) {
  const model::Model model = test::small_model();
  const std::string bases = test::random_bases(random_, 1'234);
  for (const auto& [window, stride] : {std::pair<std::int64_t, std::int64_t>{100, 30}, {30, 100}, {5'000, 1}, {1, 1}}) {
    EmbedOptions options;
    options.plan.window = window;
    options.plan.stride = stride;
    options.segment = 77;
    EXPECT_TRUE(same_rows(embed_sequences(model, options, {{"r", bases}}).at("r"),
                          plain_rows(model, bases, options.plan), 1e-5))
        << "window " << window << ", stride " << stride;
  }
}

TEST_F(Embed, LongRecordsGiveARowAThousandBasesAndShorterOnesOne) {
  const model::Model model = test::small_model();
  const std::string bases = test::random_bases(random_, 10'001);
  const auto rows = embed_sequences(model, {}, {{"long", bases}, {"short", bases.substr(1)}});
  EXPECT_TRUE(same_rows(rows.at("long"), plain_rows(model, bases, {}), 1e-5));
  EXPECT_TRUE(same_rows(rows.at("short"), plain_rows(model, bases.substr(1), {}), 1e-5));
  EXPECT_EQ(rows.at("long").size(), 11u);
  EXPECT_EQ(rows.at("short").size(), 1u);
}

TEST_F(Embed, BothStrandsAreTheMeanOfForwardAndReverse) {
  const model::Model model = test::small_model();
  const auto records = mixed_records();
  EmbedOptions options;
  options.plan.strand = Strand::kForward;
  auto mean = embed_sequences(model, options, records);
  options.plan.strand = Strand::kReverse;
  for (const auto& [name, rows] : embed_sequences(model, options, records))
    for (std::size_t r = 0; r < rows.size(); ++r)
      for (std::size_t d = 0; d < rows[r].values.size(); ++d) {
        float& value = mean.at(name)[r].values[d];
        value = (value + rows[r].values[d]) / 2;
      }
  options.plan.strand = Strand::kBoth;
  EXPECT_TRUE(same_records(embed_sequences(model, options, records), mean, 1e-6));
}

TEST_F(Embed, TheOtherStrandHasTheSameRowsFromTheOtherEnd) {
  const model::Model model = test::small_model();
  std::string bases = test::random_bases(random_, 73 * 41);
  std::fill(bases.begin() + 300, bases.begin() + 460, 'N');
  for (const Pool pool : {Pool::kMean, Pool::kMax, Pool::kLast}) {
    EmbedOptions options;
    options.plan.pool = pool;
    options.plan.window = 73;
    options.segment = 500;
    auto rows = embed_sequences(model, options, {{"r", bases}, {"c", test::complement_of(bases)}});
    Rows& other = rows.at("c");
    std::reverse(other.begin(), other.end());
    for (Row& row : other)
      row.place = {static_cast<std::int64_t>(bases.size()) - row.place.last,
                   static_cast<std::int64_t>(bases.size()) - row.place.first};
    EXPECT_TRUE(same_rows(other, rows.at("r"), 1e-5)) << "pool " << static_cast<int>(pool);
  }
}

TEST_F(Embed, WithTheContextOfTheWindowEachWindowIsARecordOfItsOwn) {
  const model::Model model = test::small_model();
  const std::string bases = test::random_bases(random_, 1'010);
  EmbedOptions options;
  options.plan.context = Context::kWindow;
  options.plan.window = 100;
  options.plan.stride = 70;
  options.segment = 64;
  const Rows rows = embed_sequences(model, options, {{"r", bases}}).at("r");
  EXPECT_EQ(rows.size(), 14u);
  for (const Row& row : rows) {
    const auto alone = embed_sequences(model, {}, {{"w", bases.substr(row.place.first, row.place.size())}}).at("w");
    EXPECT_TRUE(same_rows({{alone.front().place, row.values}}, alone, 1e-5)) << "window at " << row.place.first;
  }
  options.plan.context = Context::kRecord;
  const Rows in_record = embed_sequences(model, options, {{"r", bases}}).at("r");
  EXPECT_FALSE(same_rows(in_record, rows, 1e-3));
}

TEST_F(Embed, LayersAreCountedFromTheEmbedding) {
  const model::Model model = test::small_model();
  const std::string bases = test::random_bases(random_, 500);
  for (const std::int64_t layer : {0, 1, 2, -1}) {
    EmbedOptions options;
    options.plan.window = 90;
    options.layer = layer;
    options.segment = 64;
    EXPECT_TRUE(same_rows(embed_sequences(model, options, {{"r", bases}}).at("r"),
                          plain_rows(model, bases, options.plan, layer), 1e-5))
        << "layer " << layer;
  }
  // Layer 0 knows no neighbours: a window's mean is that of its letters' vectors.
  EmbedOptions options;
  options.layer = 0;
  options.plan.strand = Strand::kForward;
  const Rows rows = embed_sequences(model, options, {{"a", "AAAA"}}).at("a");
  const at::Tensor letter = model.parameters.at("backbone.embedding.weight")[model.alphabet->id_of('A')].contiguous();
  for (std::int64_t d = 0; d < letter.size(0); ++d)
    EXPECT_FLOAT_EQ(rows.front().values[d], letter.const_data_ptr<float>()[d]);
}

// ---- input

TEST_F(Embed, CountsRecordsBasesRowsAndRowsOfNOnly) {
  const model::Model model = test::small_model();
  const auto rows = embed_sequences(model, {}, mixed_records());
  EXPECT_EQ(counts_.records, 7);
  EXPECT_EQ(counts_.bases, 1 + 3 + 999 + 10'001 + 25'000 + 500);
  EXPECT_EQ(counts_.rows, 3 + 11 + 25 + 1);
  // Windows inside the N of a third to a half of the long ones, and the record of N.
  EXPECT_EQ(counts_.ambiguous_rows, 1 + 3 + 1);
  EXPECT_TRUE(rows.at("r0").empty());
  for (const float value : rows.at("only_n").front().values) EXPECT_TRUE(std::isnan(value));
}

TEST_F(Embed, LowerCaseIsTheSameBase) {
  const model::Model model = test::small_model();
  const auto rows = embed_sequences(model, {}, {{"upper", "ACGTTGCANNA"}, {"lower", "acgttGCANna"}});
  EXPECT_TRUE(same_rows(rows.at("lower"), rows.at("upper"), 1e-6));
}

TEST_F(Embed, ManyShortRecordsStayInTheOrderOfTheInput) {
  const model::Model model = test::small_model();
  std::vector<Sequence> reads;
  for (int i = 0; i < 2'000; ++i)
    reads.push_back({"read" + std::to_string(i), test::random_bases(random_, random_.between(0, 30))});
  EmbedOptions options;
  options.segment = 512;
  const auto rows = embed_sequences(model, options, reads);
  ASSERT_EQ(names_.size(), reads.size());
  for (std::size_t i = 0; i < reads.size(); ++i) {
    EXPECT_EQ(names_[i], reads[i].name);
    if (i % 100 != 0) continue;
    EXPECT_TRUE(same_rows(rows.at(reads[i].name), plain_rows(model, reads[i].bases, options.plan), 1e-5)) << i;
  }
}

TEST_F(Embed, ReadsSeveralFilesOneAfterTheOther) {
  const model::Model model = test::small_model();
  const std::string a = test::random_bases(random_, 300), b = test::random_bases(random_, 2'000);
  EmbedOptions options;
  options.inputs = {test::write_fasta(folder_, "1.fa", {{"a", a}}), folder_.write("2.fq", "@q\nACGT\n+\nIIII\n"),
                    test::write_fasta(folder_, "3.fa", {{"b", b}, {"c", a}})};
  options.segment = 150;
  const auto rows = embed_files(model, options);
  EXPECT_THAT(names_, ElementsAre("a", "q", "b", "c"));
  EXPECT_TRUE(same_rows(rows.at("b"), plain_rows(model, b, options.plan), 1e-5));
  EXPECT_TRUE(same_rows(rows.at("c"), rows.at("a"), 1e-5));
  EXPECT_EQ(counts_.bases, 2'604);
}

TEST_F(Embed, ABadSecondFileEndsTheJobAndLeavesNoOutput) {
  const model::Model model = test::small_model();
  EmbedOptions options;
  options.inputs = {test::write_fasta(folder_, "good.fa", {{"a", test::random_bases(random_, 50'000)}}),
                    folder_.write("bad.fa", ">b\nACGT\nAC!T\n")};
  options.segment = 1'000;
  const TempDir out;
  {
    const auto writer = outputs::open_embedding_writer(out.file("rows.npz"), outputs::EmbeddingFormat::kAuto,
                                                       {.width = model.config.d_model});
    const std::string text =
        test::error_text<base::IoError>([&] { embed(options, model, *writer, [](std::int64_t, double) {}); });
    EXPECT_THAT(text, HasSubstr("bad.fa: record b, position 6"));
  }
  EXPECT_TRUE(std::filesystem::is_empty(out.path()));
}

TEST_F(Embed, InvalidLettersAreTakenAsNOrDroppedWhereThatWasAsked) {
  const model::Model model = test::small_model();
  EmbedOptions options;
  options.inputs = {folder_.write("gaps.fa", ">b\nAC-GT*A\n")};
  const auto plain = embed_sequences(model, options, {{"n", "ACNGTNA"}, {"d", "ACGTA"}});
  options.inputs = {folder_.file("gaps.fa")};
  options.invalid = tokens::InvalidPolicy::kAmbiguous;
  EXPECT_TRUE(same_rows(embed_files(model, options).at("b"), plain.at("n"), 1e-6));
  EXPECT_EQ(counts_.invalid, 2);
  options.invalid = tokens::InvalidPolicy::kDrop;
  EXPECT_TRUE(same_rows(embed_files(model, options).at("b"), plain.at("d"), 1e-6));
  EXPECT_EQ(counts_.invalid, 2);
}

TEST_F(Embed, AModelWithANaNIsAnErrorAndNotARowOfNaN) {
  model::Model model = test::small_model();
  at::Tensor& weight = model.parameters.at("backbone.norm_f.weight");
  weight = weight.mul(std::numeric_limits<double>::quiet_NaN());
  EmbedOptions options;
  options.inputs = {test::write_fasta(folder_, "s.fa", {{"a", "ACGT"}})};
  EXPECT_THROW(embed_files(model, options), base::Error);
}

TEST_F(Embed, TellsHowFarItIs) {
  const model::Model model = test::small_model();
  EmbedOptions options;
  options.inputs = {test::write_fasta(folder_, "s.fa", {{"a", test::random_bases(random_, 5'000)}})};
  options.segment = 500;
  std::vector<std::int64_t> told;
  double fraction = 0;
  KeptRows writer(model.config.d_model);
  embed(options, model, writer, [&](std::int64_t bases, double part) {
    told.push_back(bases);
    fraction = part;
  });
  ASSERT_GE(told.size(), 10u);
  EXPECT_TRUE(std::is_sorted(told.begin(), told.end()));
  EXPECT_EQ(told.back(), 5'000);
  EXPECT_NEAR(fraction, 1, 1e-9);
}

}  // namespace
}  // namespace dnamamba::engine
