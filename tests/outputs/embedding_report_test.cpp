// The page of `--report`: what is in it is what was told, and no name can get out of its place.
#include "core/outputs/embedding_report.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <numeric>

#include "core/base/error.h"
#include "tests/outputs/sampled_report.h"
#include "tests/support/file_size_limit.h"
#include "tests/support/report.h"
#include "tests/support/temp_dir.h"
#include "tests/support/throws.h"

namespace dnamamba::outputs {
namespace {

namespace fs = std::filesystem;
using test::content_of;
using test::error_text;
using test::ReportData;
using test::SampledReport;
using test::TempDir;
using ::testing::AllOf;
using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

class EmbeddingReportTest : public ::testing::Test {
 protected:
  ReportData written(const SampledReport& sampled) const {
    test::write_report(path_, sampled);
    return ReportData(content_of(path_));
  }
  // Told of two records, one of them empty, and of three windows; the last one is of N only.
  ReportData two_records() const {
    EmbeddingReport report(path_, false);
    report.add_record("chr1", std::int64_t{5} << 32, {.known = 3000, .gc = 1200}, 3);
    report.add_record("empty", 0, {}, 0);
    report.add_window(2000, {.known = 1000, .gc = 250}, true);
    report.add_window(2000, {.known = 2000, .gc = 950}, true);
    report.add_window(2000, {}, false);
    const WindowMap map{.points = {{.record = 0, .start = 0, .end = 2000, .counts = {1000, 250}, .x = -2, .y = 7},
                                   {.record = 0,
                                    .start = std::int64_t{1} << 33,
                                    .end = (std::int64_t{1} << 33) + 2000,
                                    .counts = {2000, 950},
                                    .x = 6,
                                    .y = 7}},
                        .step = 1,
                        .shares = {0.75, 0.25}};
    report.write({}, {}, map);
    report.commit();
    return ReportData(content_of(path_));
  }

  const TempDir folder_;
  const std::string path_ = folder_.file("report.html");
};

TEST_F(EmbeddingReportTest, HoldsWhatItWasTold) {
  const ReportData data = two_records();
  const auto summary = data.json("summary");
  EXPECT_EQ(summary["records"], 2);
  EXPECT_EQ(summary["bases"], std::int64_t{5} << 32);
  EXPECT_EQ(summary["known"], 3000);
  EXPECT_EQ(summary["gc"], 1200);
  EXPECT_EQ(summary["windows"], 3);
  EXPECT_EQ(summary["windows_without_vector"], 1);
  EXPECT_EQ(summary["windows_with_n"], 2);
  EXPECT_EQ(summary["gc_counts"][25], 1);
  EXPECT_EQ(summary["gc_counts"][47], 1);
  EXPECT_EQ(summary["n_counts"][50], 1);
  EXPECT_EQ(summary["n_counts"][99], 1);
  EXPECT_EQ(summary["lengths"]["zeros"], 1);
  EXPECT_EQ(data.json("record_names"), nlohmann::json({"chr1", "empty"}));
  EXPECT_THAT(data.column("record_length"), ElementsAre(5.0 * 4294967296.0, 0));
  EXPECT_THAT(data.column("record_gc"), ElementsAre(std::round(65534 * 0.4), 65535));
  EXPECT_THAT(data.column("window_start"), ElementsAre(0, 8589934592.0));
  EXPECT_THAT(data.column("window_length"), ElementsAre(2000, 2000));
  EXPECT_THAT(data.column("window_gc"), ElementsAre(std::round(65534 * 0.25), std::round(65534 * 0.475)));
  EXPECT_THAT(data.column("window_n"), ElementsAre(32767, 0));
  EXPECT_THAT(data.column("window_x"), ElementsAre(0, 65534));
  EXPECT_THAT(data.column("window_y"), ElementsAre(0, 0));
  EXPECT_EQ(data.json("axes"), nlohmann::json::parse(R"({"x":[-2.0,6.0],"y":[7.0,7.0]})"));
}

TEST_F(EmbeddingReportTest, NamesCanNotGetOutOfTheirPlace) {
  const std::vector<std::string> names{"<script>window.hit = 1</script>",
                                       "</script><img src=x onerror='window.hit = 1'>",
                                       "<!-- <script>",
                                       "a&b\"c'd\\",
                                       "line\u2028and\u2029end",
                                       "caf\xC3\xA9 \xE6\x9F\x93",
                                       "not \xFF UTF-8",
                                       ""};
  const ReportData data = written({.records = 8, .names = names});
  const auto found = data.json("record_names").get<std::vector<std::string>>();
  for (std::size_t i = 0; i < names.size(); ++i) EXPECT_EQ(found[i], i == 6 ? "not \uFFFD UTF-8" : names[i]);
  EXPECT_THAT(data.text("record_names"),
              AllOf(Not(HasSubstr("<")), Not(HasSubstr("\u2028")), Not(HasSubstr("\u2029"))));
}

TEST_F(EmbeddingReportTest, TitlesAndCommandsAreEscapedToo) {
  EmbeddingReport report(path_, false);
  const std::string odd = "</title><script>alert(1)</script>&";
  report.write({.title = odd, .program = odd, .command = odd, .inputs = {odd}, .settings = {{odd, odd}}}, {}, {});
  report.commit();
  const ReportData data(content_of(path_));
  EXPECT_THAT(data.html(), AllOf(Not(HasSubstr("alert(1)</")), HasSubstr("&lt;/title&gt;&lt;script&gt;alert(1)&lt;/")));
  EXPECT_EQ(data.json("run")["command"], odd);
  EXPECT_EQ(data.json("run")["settings"][0][1], odd);
}

TEST_F(EmbeddingReportTest, LongNamesAreCutBetweenCharacters) {
  std::string greek;
  for (int i = 0; i < 5000; ++i) greek += "\u03B1";
  const ReportData data = written({.records = 2, .names = {greek, "x" + greek}});
  const std::string first = data.json("record_names")[0], second = data.json("record_names")[1];
  EXPECT_EQ(first, greek.substr(0, 120) + "\u2026");
  EXPECT_EQ(second, ("x" + greek).substr(0, 119) + "\u2026");
}

TEST_F(EmbeddingReportTest, LoadsNothing) {
  const ReportData data = written({});
  EXPECT_THAT(data.html(), AllOf(HasSubstr("default-src 'none'"), Not(HasSubstr("<script src")),
                                 Not(HasSubstr("<link rel=\"style")), Not(HasSubstr("{{"))));
  EXPECT_THAT(data.html(), HasSubstr("Licensed to the Apache Software Foundation"));
  EXPECT_LT(data.html().size(), 1'000'000U);
}

TEST_F(EmbeddingReportTest, AHundredThousandWindowsTakeAFewMegabytes) {
  const ReportData data = written({.records = 100, .windows = 1000});
  EXPECT_EQ(data.column("window_x").size(), 100'000U);
  EXPECT_LT(data.html().size(), 4'000'000U);
}

TEST_F(EmbeddingReportTest, OfVeryManyRecordsThoseOnTheMapAreListed) {
  EmbeddingReport report(path_, false);
  WindowMap map{.points = {}, .step = 1000, .shares = {1, 0}};
  const std::int64_t records = EmbeddingReport::kMostRecords + 1;
  for (std::int64_t i = 0; i < records; ++i) {
    report.add_record("read" + std::to_string(i), 10, {.known = 10, .gc = 5}, 1);
    report.add_window(10, {.known = 10, .gc = 5}, true);
    if (i % 1000 == 0) map.points.push_back({.record = i, .start = 0, .end = 10, .counts = {10, 5}});
  }
  report.write({}, {}, map);
  report.commit();
  const ReportData data(content_of(path_));
  EXPECT_EQ(data.json("summary")["records"], records);
  EXPECT_EQ(data.json("summary")["records_listed"], 101);
  EXPECT_EQ(data.json("record_names")[100], "read100000");
  EXPECT_EQ(data.column("window_record")[100], 100);
}

TEST_F(EmbeddingReportTest, NothingIsUnderItsNameBeforeItIsWhole) {
  {
    EmbeddingReport report(path_, false);
    report.write({}, {}, {});
    EXPECT_FALSE(fs::exists(path_));
  }
  EXPECT_TRUE(fs::is_empty(folder_.path()));
  {
    EmbeddingReport report(path_, false);
    const test::FileSizeLimit full(100'000);
    EXPECT_THAT(error_text<base::IoError>([&] { report.write({}, {}, {}); }), HasSubstr("report.html"));
  }
  EXPECT_TRUE(fs::is_empty(folder_.path()));
  folder_.write("report.html", "mine");
  EXPECT_THAT(error_text<base::IoError>([&] { EmbeddingReport(path_, false); }), HasSubstr("--force"));
}

// ---- what it is made with

TEST(ThroughputTraceTest, EndsWithTheEndAndStaysSmall) {
  ThroughputTrace trace;
  for (int i = 1; i <= 100'001; ++i) trace.add(0.01 * i, 1000 * i);
  const auto json = nlohmann::json::parse(trace.to_json());
  EXPECT_LE(json["done"].size(), 513U);
  EXPECT_GE(json["done"].size(), 256U);
  EXPECT_EQ(json["done"].back(), 100'001'000);
  EXPECT_EQ(json["seconds"].back(), 1000.01);
  EXPECT_TRUE(std::is_sorted(json["seconds"].begin(), json["seconds"].end()));
  EXPECT_EQ(ThroughputTrace().to_json(), R"({"done":[],"seconds":[]})");
}

TEST(EvenSampleTest, KeepsEveryKthAndFollowsWhatMoves) {
  for (const std::int64_t count : {0, 1, 7, 8, 9, 16, 17, 1000, 1025}) {
    std::vector<std::int64_t> followed(8);
    EvenSample<std::int64_t> sample(8, [&](std::int64_t from, std::int64_t to) { followed[to] = followed[from]; });
    for (std::int64_t i = 0; i < count; ++i)
      if (sample.add(i)) followed[sample.kept().size() - 1] = i;
    const auto kept = static_cast<std::int64_t>(sample.kept().size());
    EXPECT_EQ(kept, (count + sample.step() - 1) / sample.step());
    EXPECT_LE(kept, 8);
    EXPECT_GE(kept, std::min<std::int64_t>(count, 4));
    for (std::int64_t i = 0; i < kept; ++i) EXPECT_EQ(sample.kept()[i], i * sample.step()) << count;
    followed.resize(kept);
    EXPECT_EQ(followed, sample.kept()) << count;
  }
}

TEST(HistogramTest, FractionsAreCountedInHundredths) {
  FractionHistogram histogram;
  histogram.add(0, 10);
  histogram.add(10, 10);
  histogram.add(1, 4);
  histogram.add(0, 0);
  EXPECT_EQ(histogram.counts[0], 1);
  EXPECT_EQ(histogram.counts[25], 1);
  EXPECT_EQ(histogram.counts[99], 1);
  EXPECT_EQ(std::accumulate(histogram.counts.begin(), histogram.counts.end(), std::int64_t{0}), 3);
}

TEST(HistogramTest, EveryLengthIsInItsBin) {
  const std::vector<std::vector<std::int64_t>> sets{
      {}, {0, 0}, {150}, {1}, {1, 2, 3}, {100, 101, 150}, {0, 35, 900, 40'000, std::int64_t{3} << 32}, {9999, 10'000}};
  for (const auto& lengths : sets) {
    files::Spool spool;
    spool.append(std::as_bytes(std::span(lengths)));
    const LengthHistogram histogram = LengthHistogram::of(spool);
    std::vector<std::int64_t> expected(histogram.counts.size());
    std::int64_t zeros = 0;
    for (const std::int64_t length : lengths) {
      zeros += length == 0;
      for (std::size_t bin = 0; bin < expected.size(); ++bin)
        expected[bin] += histogram.edges[bin] <= length && length < histogram.edges[bin + 1];
    }
    EXPECT_EQ(histogram.counts, expected);
    EXPECT_EQ(histogram.zeros, zeros);
    EXPECT_EQ(std::accumulate(expected.begin(), expected.end(), zeros), static_cast<std::int64_t>(lengths.size()));
    EXPECT_LE(expected.size(), 80U);
  }
}

}  // namespace
}  // namespace dnamamba::outputs
