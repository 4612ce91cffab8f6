#include "core/tokens/tokenizer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>
#include <stdexcept>
#include <string>

#include "core/base/error.h"

namespace dnamamba::tokens {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::string random_letters(std::string_view letters, std::size_t count, std::uint64_t seed) {
  std::mt19937_64 generator(seed);
  std::string out(count, ' ');
  for (char& letter : out) letter = letters[generator() % letters.size()];
  return out;
}

std::vector<std::uint8_t> ids_of(const Tokenizer& tokenizer, std::string_view bases) {
  std::vector<std::uint8_t> ids;
  tokenizer.append(bases, {.file = {}, .record = "r", .offset = 0}, ids);
  return ids;
}

Tokenizer ours(InvalidPolicy invalid = InvalidPolicy::kError) {
  return Tokenizer(Alphabet::built_in("dnamamba"), invalid);
}

TEST(Tokenizer, LooksUpEveryLetterOfTheAlphabet) {
  EXPECT_THAT(ids_of(ours(), "ACGTUNRYacgtun"), ElementsAre(7, 8, 9, 10, 10, 11, 11, 11, 7, 8, 9, 10, 10, 11));
  EXPECT_TRUE(ids_of(ours(), "").empty());
}

TEST(Tokenizer, LowerCaseIsTheSameSequence) {
  const std::string upper = random_letters("ACGTUNRYSWKMBDHV", 1000, 1);
  std::string lower = upper;
  for (char& letter : lower) letter = static_cast<char>(std::tolower(letter));
  EXPECT_EQ(ids_of(ours(), lower), ids_of(ours(), upper));
}

TEST(Tokenizer, ReadsSoftMaskedLettersAsNWhereAsked) {
  const auto masking = [](InvalidPolicy invalid) {
    return Tokenizer(Alphabet::built_in("dnamamba"), invalid, parse_soft_mask_policy("n"));
  };
  EXPECT_EQ(ids_of(masking(InvalidPolicy::kError), "ACgtnA"), ids_of(ours(), "ACNNNA"));
  EXPECT_EQ(ids_of(masking(InvalidPolicy::kDrop), "aeC"), ids_of(ours(), "NC")) << "e is no base, masked or not";
  EXPECT_THROW(ids_of(masking(InvalidPolicy::kError), "aeC"), base::IoError);
  EXPECT_THROW(parse_soft_mask_policy("drop"), base::UsageError);
}

TEST(Tokenizer, SaysWhichLettersAreSoftMasked) {
  std::vector<std::uint8_t> ids, lower;
  ours().append("ACgtNn", {.file = {}, .record = "r", .offset = 0}, ids, &lower);
  EXPECT_THAT(lower, ElementsAre(0, 0, 1, 1, 0, 1));
}

TEST(Tokenizer, GivesTheSameWhereverTheRecordIsCut) {
  for (const InvalidPolicy policy : {InvalidPolicy::kAmbiguous, InvalidPolicy::kDrop}) {
    const std::string bases = random_letters("ACGTNacgtn-*.", 5000, 2);
    const std::vector<std::uint8_t> whole = ids_of(ours(policy), bases);
    std::mt19937_64 generator(3);
    std::vector<std::uint8_t> ids, lower;
    for (std::size_t at = 0; at < bases.size();) {
      const std::size_t piece = std::min<std::size_t>(generator() % 100, bases.size() - at);
      ours(policy).append(std::string_view(bases).substr(at, piece),
                          {.file = {}, .record = "r", .offset = static_cast<std::int64_t>(at)}, ids, &lower);
      at += piece;
    }
    EXPECT_EQ(ids, whole);
    EXPECT_EQ(lower.size(), whole.size());
  }
}

TEST(Tokenizer, AnInvalidLetterIsAnErrorThatSaysWhereAndWhatToDo) {
  const ChunkPlace place{.file = "genome.fa", .record = "chr1", .offset = 3'000'000'000};
  std::vector<std::uint8_t> ids{1}, lower{0};
  try {
    ours().append("ACG-T*", place, ids, &lower);
    FAIL() << "a gap was taken for a base";
  } catch (const base::IoError& error) {
    EXPECT_THAT(error.what(), AllOf(HasSubstr("genome.fa: record chr1, position 3000000003 (0-based): '-'"),
                                    HasSubstr("--invalid n"), HasSubstr("drop")));
  }
  EXPECT_THAT(ids, ElementsAre(1));
  EXPECT_THAT(lower, ElementsAre(0));
}

TEST(Tokenizer, EveryByteThatIsNoIupacLetterIsInvalid) {
  const std::string valid = "ACGTUNRYSWKMBDHVacgtunryswkmbdhv";
  for (int byte = 0; byte < 256; ++byte) {
    const std::string text(1, static_cast<char>(byte));
    if (valid.find(text) == std::string::npos) {
      EXPECT_THROW(ids_of(ours(), "A" + text), base::IoError) << byte;
      EXPECT_THAT(ids_of(ours(InvalidPolicy::kAmbiguous), "A" + text + "C"), ElementsAre(7, 11, 8)) << byte;
      EXPECT_THAT(ids_of(ours(InvalidPolicy::kDrop), "A" + text + "C"), ElementsAre(7, 8)) << byte;
    } else {
      EXPECT_NO_THROW(ids_of(ours(), "A" + text)) << byte;
    }
  }
}

TEST(Tokenizer, CountsWhatItReplacedOrDropped) {
  const ChunkPlace place{.file = {}, .record = "r", .offset = 0};
  std::vector<std::uint8_t> ids, lower;
  const TokenizedCounts replaced = ours(InvalidPolicy::kAmbiguous).append("A-c*g.", place, ids, &lower);
  EXPECT_EQ(replaced.tokens, 6);
  EXPECT_EQ(replaced.invalid, 3);
  ids.clear();
  lower.clear();
  const TokenizedCounts kept = ours(InvalidPolicy::kDrop).append("A-c*g.T", place, ids, &lower);
  EXPECT_EQ(kept.tokens, 4);
  EXPECT_EQ(kept.invalid, 3);
  EXPECT_THAT(ids, ElementsAre(7, 8, 9, 10));
  EXPECT_THAT(lower, ElementsAre(0, 1, 1, 0));
}

TEST(Tokenizer, RefusesRoomThatIsTooSmall) {
  std::vector<std::uint8_t> ids(2), lower(1);
  EXPECT_THROW(ours().tokenize("ACG", {}, ids), std::invalid_argument);
  EXPECT_THROW(ours().tokenize("AC", {}, ids, lower), std::invalid_argument);
}

TEST(Tokenizer, KnowsThePoliciesByName) {
  EXPECT_EQ(parse_invalid_policy("error"), InvalidPolicy::kError);
  EXPECT_EQ(parse_invalid_policy("n"), InvalidPolicy::kAmbiguous);
  EXPECT_EQ(parse_invalid_policy("drop"), InvalidPolicy::kDrop);
  EXPECT_THROW(parse_invalid_policy("skip"), base::UsageError);
}

TEST(ReverseComplement, ReadsTheOtherStrand) {
  const Alphabet alphabet = Alphabet::built_in("dnamamba");
  const std::vector<std::uint8_t> ids = ids_of(ours(), "AACGTTTN");
  std::vector<std::uint8_t> other(ids.size());
  reverse_complement(alphabet, ids, other);
  EXPECT_EQ(other, ids_of(ours(), "NAAACGTT"));
}

TEST(ReverseComplement, TwiceIsTheSequenceAgainInEveryAlphabet) {
  for (const std::string_view name : Alphabet::built_in_names()) {
    const Alphabet alphabet = Alphabet::built_in(name);
    for (const std::size_t length : {0, 1, 2, 7, 64, 1001}) {
      const std::vector<std::uint8_t> ids = ids_of(Tokenizer(alphabet), random_letters("ACGTN", length, length));
      std::vector<std::uint8_t> once(length), twice(length);
      reverse_complement(alphabet, ids, once);
      reverse_complement(alphabet, once, twice);
      EXPECT_EQ(twice, ids);
    }
  }
}

TEST(ReverseComplement, RefusesSpansOfDifferentSizes) {
  std::vector<std::uint8_t> ids(3), out(2);
  EXPECT_THROW(reverse_complement(Alphabet::built_in("dnamamba"), ids, out), std::invalid_argument);
}

}  // namespace
}  // namespace dnamamba::tokens
