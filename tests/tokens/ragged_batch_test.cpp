#include "core/tokens/ragged_batch.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace dnamamba::tokens {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

TEST(RaggedBatch, GivesBackTheSequencesItWasGivenEmptyOnesIncluded) {
  const std::vector<std::vector<std::uint8_t>> sequences{{7, 8}, {}, {9}, {}};
  RaggedBatch batch;
  EXPECT_EQ(batch.sequences(), 0);
  for (const auto& sequence : sequences) batch.append(sequence);
  ASSERT_EQ(batch.sequences(), 4);
  EXPECT_THAT(batch.offsets, ElementsAre(0, 2, 2, 3, 3));
  EXPECT_EQ(batch.token_count(), 3);
  for (int s = 0; s < 4; ++s) {
    const auto got = batch.sequence(s);
    EXPECT_EQ(std::vector<std::uint8_t>(got.begin(), got.end()), sequences[s]);
  }
}

TEST(RaggedBatch, TakesASequenceWrittenInPieces) {
  RaggedBatch batch;
  batch.tokens.push_back(7);
  batch.tokens.push_back(8);
  batch.end_sequence();
  EXPECT_EQ(batch.sequences(), 1);
  EXPECT_THAT(batch.sequence(0), ElementsAre(7, 8));
}

TEST(RaggedBatch, IsAsNewOnceCleared) {
  RaggedBatch batch;
  batch.append(std::vector<std::uint8_t>{7, 8});
  batch.clear();
  EXPECT_EQ(batch.sequences(), 0);
  EXPECT_EQ(batch.token_count(), 0);
  EXPECT_THAT(batch.tokens, IsEmpty());
  batch.append(std::vector<std::uint8_t>{9});
  EXPECT_THAT(batch.sequence(0), ElementsAre(9));
}

}  // namespace
}  // namespace dnamamba::tokens
