// Vectors of windows are those of a plain computation, however the strand was handed over.
#include "core/heads/window_pooler.h"

#include <ATen/ops/equal.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <map>

#include "core/base/error.h"
#include "tests/support/tensors.h"
#include "tests/support/throws.h"

namespace dnamamba::heads {
namespace {

using test::RandomTensors;
using ::testing::HasSubstr;
using Rows = std::map<std::int64_t, std::vector<float>>;

constexpr std::uint8_t kN = 11;
constexpr std::int64_t kWidth = 3;

// A strand as it is read: tokens and vectors, first to last.
struct Strand {
  std::vector<std::uint8_t> tokens;
  at::Tensor hidden;  // [n, kWidth] fp64
  bool reverse = false;
};

Strand random_strand(RandomTensors& random, std::int64_t length, bool reverse) {
  Strand strand{{}, random.normal({length, kWidth}), reverse};
  for (std::int64_t i = 0; i < length; ++i) strand.tokens.push_back(random.between(0, 3) == 0 ? kN : 7);
  return strand;
}

Rows pooled(Pool pool, const tokens::WindowPlan& plan, const Strand& strand, std::int64_t chunk) {
  WindowPooler pooler(pool, kWidth, plan, strand.reverse, kN);
  Rows rows;
  const auto length = static_cast<std::int64_t>(strand.tokens.size());
  for (std::int64_t first = 0; first < length; first += chunk) {
    const std::int64_t count = std::min(chunk, length - first);
    pooler.add(std::span(strand.tokens).subspan(first, count), strand.hidden.narrow(0, first, count),
               [&](std::int64_t window, std::span<const float> row) {
                 EXPECT_TRUE(rows.emplace(window, std::vector(row.begin(), row.end())).second) << "window " << window;
               });
  }
  return rows;
}

Rows plain(Pool pool, const tokens::WindowPlan& plan, const Strand& strand) {
  Rows rows;
  const auto length = static_cast<std::int64_t>(strand.tokens.size());
  for (std::int64_t window = 0; window < plan.count(); ++window) {
    const tokens::Range place = plan.window(window);
    std::vector<double> values(kWidth, std::numeric_limits<double>::quiet_NaN());
    std::int64_t count = 0;
    for (std::int64_t read = 0; read < length; ++read) {
      const std::int64_t position = strand.reverse ? length - 1 - read : read;
      if (position < place.first || position >= place.last) continue;
      if (strand.tokens[read] == kN && pool != Pool::kNone) continue;
      ++count;
      for (std::int64_t d = 0; d < kWidth; ++d) {
        const double value = strand.hidden[read][d].item<double>();
        const bool replace = count == 1 || pool == Pool::kLast || pool == Pool::kNone;
        values[d] = replace ? value : pool == Pool::kMax ? std::max(values[d], value) : values[d] + value;
      }
    }
    for (double& value : values)
      rows[window].push_back(static_cast<float>(pool == Pool::kMean ? value / count : value));
  }
  return rows;
}

void expect_close(const Rows& one, const Rows& other) {
  ASSERT_EQ(one.size(), other.size());
  for (const auto& [window, row] : one)
    for (std::size_t d = 0; d < row.size(); ++d) {
      const float expected = other.at(window)[d];
      EXPECT_EQ(std::isnan(row[d]), std::isnan(expected)) << "window " << window;
      if (!std::isnan(expected)) {
        EXPECT_NEAR(row[d], expected, 1e-6) << "window " << window;
      }
    }
}

TEST(WindowPooler, GivesEveryWindowOnceAsAPlainComputationDoes) {
  RandomTensors random(1);
  for (int repeat = 0; repeat < 60; ++repeat) {
    const std::int64_t length = random.between(1, 60);
    const tokens::WindowPlan plan(length, random.between(1, 20), random.between(1, 25));
    for (const Pool pool : {Pool::kMean, Pool::kMax, Pool::kLast}) {
      const Strand strand = random_strand(random, length, random.coin());
      const Rows expected = plain(pool, plan, strand);
      for (const std::int64_t chunk : {1, 7, 100}) expect_close(pooled(pool, plan, strand, chunk), expected);
    }
  }
}

TEST(WindowPooler, GivesEveryPositionARowWhereNothingIsPooled) {
  RandomTensors random(2);
  for (const bool reverse : {false, true}) {
    const Strand strand = random_strand(random, 23, reverse);
    const tokens::WindowPlan plan(23, 1, 1);
    expect_close(pooled(Pool::kNone, plan, strand, 5), plain(Pool::kNone, plan, strand));
  }
}

TEST(WindowPooler, GivesTheSameBitsHoweverTheStrandIsCut) {
  RandomTensors random(3);
  const Strand strand = random_strand(random, 200, false);
  const tokens::WindowPlan plan(200, 50, 30);
  for (const Pool pool : {Pool::kMean, Pool::kMax, Pool::kLast}) {
    const Rows expected = pooled(pool, plan, strand, 200);
    for (const std::int64_t chunk : {1, 13, 64}) {
      const Rows rows = pooled(pool, plan, strand, chunk);
      ASSERT_EQ(rows.size(), expected.size());
      for (const auto& [window, row] : rows)
        EXPECT_EQ(std::memcmp(row.data(), expected.at(window).data(), row.size() * sizeof(float)), 0);
    }
  }
}

TEST(WindowPooler, MakesAWindowOfAmbiguousBasesARowOfNans) {
  Strand strand{std::vector<std::uint8_t>(10, kN), at::empty({10, kWidth}, at::kDouble).fill_(1.0)};
  const Rows rows = pooled(Pool::kMean, {10, 5, 5}, strand, 4);
  ASSERT_EQ(rows.size(), 2U);
  for (const float value : rows.at(1)) EXPECT_TRUE(std::isnan(value));
}

TEST(WindowPooler, RefusesAnAnswerThatIsNotFiniteAndNamesItsPlace) {
  for (const Pool pool : {Pool::kMean, Pool::kMax})
    for (const double bad : {std::numeric_limits<double>::quiet_NaN(), std::numeric_limits<double>::infinity()}) {
      Strand strand{std::vector<std::uint8_t>(10, 7), at::empty({10, kWidth}, at::kDouble).fill_(1.0)};
      strand.hidden[6][1].fill_(bad);  // in the middle of a window: what follows must not hide it
      EXPECT_THAT(test::error_text<base::Error>([&] { pooled(pool, {10, 5, 5}, strand, 3); }), HasSubstr("5 to 10"));
    }
}

TEST(WindowPooler, DoesNotMindWhatAnAmbiguousBaseHolds) {
  Strand strand{std::vector<std::uint8_t>(10, 7), at::empty({10, kWidth}, at::kDouble).fill_(1.0)};
  strand.tokens[6] = kN;
  strand.hidden[6].fill_(std::numeric_limits<double>::quiet_NaN());
  EXPECT_EQ(pooled(Pool::kMean, {10, 5, 5}, strand, 3).at(1), std::vector<float>(kWidth, 1.0F));
}

}  // namespace
}  // namespace dnamamba::heads
