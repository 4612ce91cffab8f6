// The map of a report: the principal components of the very rows that are written.
#include "core/engine/embed_map.h"

#include <ATen/ops/from_blob.h>
#include <ATen/ops/linalg_svd.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>
#include <random>

#include "core/engine/embed.h"
#include "core/engine/principal_axes.h"
#include "core/engine/run_settings.h"
#include "tests/engine/engine_models.h"

namespace dnamamba::engine {
namespace {

using outputs::MapPoint;
using outputs::WindowMap;
using test::Sequence;
using test::TempDir;
using ::testing::ElementsAre;

/// Keeps the rows that have a vector.
class KeptValues : public outputs::EmbeddingWriter {
 public:
  explicit KeptValues(std::int64_t width)
      : EmbeddingWriter({.width = width, .type = outputs::EmbeddingType::kFloat32, .force = false, .metadata = "{}"}) {}
  std::vector<std::vector<double>> rows;

 private:
  void write_row(const outputs::EmbeddingRow& row, std::span<const std::byte> /*elements*/) override {
    if (!std::isnan(row.values.front())) rows.emplace_back(row.values.begin(), row.values.end());
  }
  void finish() override {}
};

// Places along the first two right singular vectors of the centred rows, each turned so that its largest element is
// positive.
std::vector<std::array<double, 2>> places_by_svd(const std::vector<std::vector<double>>& rows) {
  const auto count = static_cast<std::int64_t>(rows.size()), width = static_cast<std::int64_t>(rows[0].size());
  std::vector<double> values;
  for (const auto& row : rows) values.insert(values.end(), row.begin(), row.end());
  at::Tensor centred = at::from_blob(values.data(), {count, width}, at::kDouble);
  centred = centred.sub(centred.mean(0));
  const at::Tensor vectors = std::get<2>(at::linalg_svd(centred, /*full_matrices=*/false));
  std::vector<std::array<double, 2>> places(rows.size());
  for (std::int64_t axis = 0; axis < 2; ++axis) {
    at::Tensor vector = vectors[axis];
    if (vector[vector.abs().argmax()].item<double>() < 0) vector = vector.neg();
    const at::Tensor along = centred.matmul(vector);
    for (std::int64_t i = 0; i < count; ++i) places[i][axis] = along[i].item<double>();
  }
  return places;
}

class EmbedMapTest : public ::testing::Test {
 protected:
  void SetUp() override { set_threads(1); }

  WindowMap map_of(const std::vector<Sequence>& sequences, std::int64_t window,
                   std::int64_t most = EmbedMap::kMostPoints) {
    EmbedOptions options;
    options.inputs = {test::write_fasta(folder_, "sequences.fa", sequences)};
    options.plan.window = window;
    outputs::EmbeddingReport report(folder_.file("report.html"), true);
    EmbedMap map(report, model_.config.d_model, *model_.alphabet, most);
    KeptValues writer(model_.config.d_model);
    embed(
        options, model_, writer, [](std::int64_t, double) {}, &map);
    rows_ = writer.rows;
    return map.finish();
  }
  std::vector<Sequence> some_records() {
    return {{"a", test::random_bases(random_, 3000)},
            {"empty", ""},
            {"n", std::string(150, 'N')},
            {"b", test::random_bases(random_, 2570)}};
  }

  const TempDir folder_;
  const model::Model model_ = test::small_model();
  test::RandomTensors random_{5};
  std::vector<std::vector<double>> rows_;  // of the last map, those of N only left out
};

TEST_F(EmbedMapTest, PlacesAreThoseOfASingularValueDecomposition) {
  const WindowMap map = map_of(some_records(), 50);
  ASSERT_EQ(map.points.size(), 60U + 52U);
  ASSERT_EQ(map.points.size(), rows_.size());
  const auto expected = places_by_svd(rows_);
  double largest = 0;
  for (const auto& [x, y] : expected) largest = std::max({largest, std::abs(x), std::abs(y)});
  for (std::size_t i = 0; i < expected.size(); ++i) {
    EXPECT_NEAR(map.points[i].x, expected[i][0], 1e-6 * largest) << i;
    EXPECT_NEAR(map.points[i].y, expected[i][1], 1e-6 * largest) << i;
  }
  EXPECT_EQ(map.points.back().record, 3);
  EXPECT_EQ(map.points.back().start, 2550);
  EXPECT_EQ(map.points.back().end, 2570);
  EXPECT_GE(map.shares[0], map.shares[1]);
  EXPECT_GT(map.shares[1], 0);
  EXPECT_LE(map.shares[0] + map.shares[1], 1);
}

TEST_F(EmbedMapTest, CountsGcAndKnownBasesOfEachWindow) {
  const WindowMap map = map_of({{"a", "ACGTGGCCNNNNATATgcNRANNNN"}}, 8);
  std::vector<std::pair<std::int64_t, std::int64_t>> counts;
  for (const MapPoint& point : map.points) counts.emplace_back(point.counts.known, point.counts.gc);
  EXPECT_THAT(counts, ElementsAre(std::pair(8, 6), std::pair(4, 0), std::pair(3, 2)));
}

TEST_F(EmbedMapTest, ASampleHasThePlacesOfTheWhole) {
  const auto records = some_records();
  const WindowMap whole = map_of(records, 50), sample = map_of(records, 50, 10);
  ASSERT_EQ(sample.step, 16);
  ASSERT_EQ(sample.points.size(), 7U);
  for (std::size_t i = 0; i < sample.points.size(); ++i) {
    const MapPoint& same = whole.points[16 * i];
    EXPECT_EQ(sample.points[i].record, same.record);
    EXPECT_EQ(sample.points[i].start, same.start);
    EXPECT_EQ(sample.points[i].x, same.x);
    EXPECT_EQ(sample.points[i].y, same.y);
  }
  EXPECT_EQ(sample.shares, whole.shares);
}

TEST_F(EmbedMapTest, OneWindowLiesAtTheOriginAndNoneNowhere) {
  const WindowMap one = map_of({{"a", "ACGTAC"}}, 50);
  ASSERT_EQ(one.points.size(), 1U);
  EXPECT_EQ(one.points[0].x, 0);
  EXPECT_EQ(one.points[0].y, 0);
  EXPECT_THAT(one.shares, ElementsAre(0, 0));
  EXPECT_TRUE(map_of({{"n", "NNNN"}, {"empty", ""}}, 50).points.empty());
}

TEST(PrincipalAxesTest, AreTheSameBitsForAnyNumberOfThreads) {
  constexpr std::int64_t kWidth = 150;
  std::mt19937 random(11);
  std::normal_distribution<float> normal;
  outputs::Covariance covariance(kWidth);
  std::vector<float> row(kWidth);
  for (int i = 0; i < 400; ++i) {
    for (float& value : row) value = normal(random);
    covariance.add(row);
  }
  set_threads(1);
  const PrincipalAxes one = principal_axes(covariance, 2);
  set_threads(2);
  const PrincipalAxes two = principal_axes(covariance, 2);
  EXPECT_EQ(one.axes, two.axes);
  EXPECT_EQ(one.shares, two.shares);
  for (const auto& axis : one.axes) {
    const auto [least, most] = std::minmax_element(axis.begin(), axis.end());
    EXPECT_GT(*most, -*least);
    EXPECT_NEAR(std::inner_product(axis.begin(), axis.end(), axis.begin(), 0.0), 1, 1e-12);
  }
  EXPECT_NEAR(std::inner_product(one.axes[0].begin(), one.axes[0].end(), one.axes[1].begin(), 0.0), 0, 1e-12);
}

}  // namespace
}  // namespace dnamamba::engine
