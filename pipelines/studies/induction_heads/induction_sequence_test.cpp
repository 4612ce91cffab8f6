#include <algorithm>
#include <map>

#include "pipelines/studies/induction_heads/sequence.h"

namespace dnamamba::studies {
namespace {

using Tokens = std::vector<std::uint8_t>;

Tokens read(InductionSequence sequence, std::int64_t length, std::int64_t piece) {
  Tokens tokens;
  for (std::int64_t i = 0; i < length; i += piece) sequence.read(piece, tokens);
  return tokens;
}

TEST(InductionSequence, HoldsTheSpecialTokenTwiceAndTheAnswerBehindTheFirst) {
  for (const std::int64_t length : {3, 4, 32, 257})
    for (std::uint32_t number = 0; number < 100; ++number) {
      const InductionSequence sequence(1, 0, number, length);
      const Tokens tokens = read(sequence, length, length);
      ASSERT_EQ(std::ssize(tokens), length);
      EXPECT_LT(*std::max_element(tokens.begin(), tokens.end()), kVocabulary);
      EXPECT_EQ(std::count(tokens.begin(), tokens.end(), kSpecial), 2);
      EXPECT_EQ(tokens.back(), kSpecial);
      EXPECT_EQ(*std::next(std::find(tokens.begin(), tokens.end(), kSpecial)), sequence.answer());
      EXPECT_NE(sequence.answer(), kSpecial);
    }
}

TEST(InductionSequence, IsTheSameInPiecesOfAnySize) {
  const InductionSequence sequence(1, 2, 3, 100);
  const Tokens whole = read(sequence, 100, 100);
  for (const std::int64_t piece : {1, 3, 7, 99, 1000}) EXPECT_EQ(read(sequence, 100, piece), whole);
}

TEST(InductionSequence, DiffersBySeedStreamAndNumber) {
  const Tokens tokens = read({1, 2, 3, 100}, 100, 100);
  EXPECT_NE(read({2, 2, 3, 100}, 100, 100), tokens);
  EXPECT_NE(read({1, 3, 3, 100}, 100, 100), tokens);
  EXPECT_NE(read({1, 2, 4, 100}, 100, 100), tokens);
}

// 6 places and 15 answers, 9,000 sequences: a count's standard deviation is below 36 and 24.
TEST(InductionSequence, GivesEveryPlaceAndEveryAnswerTheSameChance) {
  std::map<std::int64_t, int> places, answers;
  for (std::uint32_t number = 0; number < 9'000; ++number) {
    const InductionSequence sequence(1, 0, number, 8);
    const Tokens tokens = read(sequence, 8, 8);
    ++places[std::find(tokens.begin(), tokens.end(), kSpecial) - tokens.begin()];
    ++answers[sequence.answer()];
  }
  EXPECT_EQ(places.size(), 6U);
  EXPECT_EQ(answers.size(), 15U);
  for (const auto& [place, count] : places) EXPECT_NEAR(count, 1'500, 6 * 36) << place;
  for (const auto& [answer, count] : answers) EXPECT_NEAR(count, 600, 6 * 24) << answer;
}

}  // namespace
}  // namespace dnamamba::studies
