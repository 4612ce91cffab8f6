#include "core/tokens/alphabet.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <string>

#include "core/base/error.h"

namespace dnamamba::tokens {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

std::string message_of(const std::function<void()>& work) {
  try {
    work();
  } catch (const std::exception& error) {
    return error.what();
  }
  return "nothing was thrown";
}

std::string replaced(std::string text, const std::string& from, const std::string& to) {
  const std::size_t at = text.find(from);
  EXPECT_NE(at, std::string::npos) << from;
  return text.replace(at, from.size(), to);
}

// What the published tokenisers make of every letter; the models' weights are worthless with any other.
struct Published {
  std::string name;
  int vocabulary;
  std::array<int, 4> acgt;
  int ambiguous;
  std::vector<int> complement;
};

std::vector<Published> published() {
  const std::vector<int> sixteen{0, 1, 2, 3, 4, 5, 6, 10, 9, 8, 7, 11, 12, 13, 14, 15};
  return {{"dnamamba", 16, {7, 8, 9, 10}, 11, sixteen},
          {"caduceus", 16, {7, 8, 9, 10}, 4, sixteen},
          {"hyenadna", 16, {7, 8, 9, 10}, 11, sixteen},
          {"plantcad", 8, {3, 4, 5, 6}, 2, {0, 1, 2, 6, 5, 4, 3, 7}}};
}

TEST(Alphabet, BuiltInOnesGiveEveryOneOfThe256BytesThePublishedId) {
  for (const Published& expected : published()) {
    const Alphabet alphabet = Alphabet::built_in(expected.name);
    EXPECT_EQ(alphabet.vocabulary(), expected.vocabulary);
    for (int byte = 0; byte < 256; ++byte) {
      const char letter = static_cast<char>(byte);
      const std::string bases = "AaCcGgTtUu";
      const std::string iupac = "NRYSWKMBDHVnryswkmbdhv";
      int id = Alphabet::kInvalid;
      if (const auto at = bases.find(letter); at != std::string::npos)
        id = expected.acgt[std::min<std::size_t>(at / 2, 3)];
      if (iupac.find(letter) != std::string::npos) id = expected.ambiguous;
      EXPECT_EQ(int{alphabet.id_of(letter)}, id) << expected.name << ", byte " << byte;
    }
  }
}

TEST(Alphabet, BuiltInOnesComplementAsPublished) {
  for (const Published& expected : published()) {
    const Alphabet alphabet = Alphabet::built_in(expected.name);
    for (int id = 0; id < 256; ++id) {
      const int pair = id < expected.vocabulary ? expected.complement[id] : id;
      EXPECT_EQ(int{alphabet.complement()[id]}, pair) << expected.name << ", id " << id;
    }
  }
}

TEST(Alphabet, EveryNameInTheListIsBuiltIn) {
  EXPECT_EQ(Alphabet::built_in_names().size(), published().size());
  for (const std::string_view name : Alphabet::built_in_names()) EXPECT_EQ(Alphabet::built_in(name).name(), name);
}

TEST(Alphabet, AnUnknownNameIsAnsweredWithThoseThatExist) {
  EXPECT_THAT(message_of([] { (void)Alphabet::built_in("protein"); }),
              AllOf(HasSubstr("protein"), HasSubstr("dnamamba, caduceus, hyenadna, plantcad")));
}

TEST(Alphabet, JsonOfEveryBuiltInOneReadsBackTheSame) {
  for (const std::string_view name : Alphabet::built_in_names()) {
    const Alphabet alphabet = Alphabet::built_in(name);
    EXPECT_TRUE(Alphabet::from_json(alphabet.to_json(), "alphabet.json") == alphabet) << alphabet.to_json();
  }
}

TEST(Alphabet, CaseCanMeanDifferentLetters) {
  AlphabetFields fields = Alphabet::built_in("dnamamba").fields();
  fields.letter_case = LetterCase::kAsLetters;
  fields.letters['a'] = 12;
  fields.letters['t'] = 13;
  std::swap(fields.complement[12], fields.complement[13]);
  const Alphabet alphabet(fields);
  EXPECT_EQ(int{alphabet.id_of('A')}, 7);
  EXPECT_EQ(int{alphabet.id_of('a')}, 12);
  EXPECT_EQ(alphabet.id_of('c'), Alphabet::kInvalid);
  EXPECT_EQ(alphabet.id_of('n'), Alphabet::kInvalid);
  EXPECT_TRUE(Alphabet::from_json(alphabet.to_json(), "") == alphabet);
}

TEST(Alphabet, AnIupacLetterCanHaveAnIdOfItsOwn) {
  AlphabetFields fields = Alphabet::built_in("dnamamba").fields();
  fields.letters['R'] = 12;
  fields.letters['Y'] = 13;
  std::swap(fields.complement[12], fields.complement[13]);
  const Alphabet alphabet(fields);
  EXPECT_EQ(int{alphabet.id_of('r')}, 12);
  EXPECT_EQ(int{alphabet.id_of('K')}, 11);
}

struct Contradiction {
  std::string word;  // of the message
  std::function<void(AlphabetFields&)> make;
};

TEST(Alphabet, RefusesFieldsThatContradictOneAnother) {
  const std::vector<Contradiction> cases{
      {"vocabulary", [](AlphabetFields& f) { f.vocabulary = 0; }},
      {"vocabulary", [](AlphabetFields& f) { f.vocabulary = 256; }},
      {"ambiguous", [](AlphabetFields& f) { f.ambiguous = 16; }},
      {"letters: A", [](AlphabetFields& f) { f.letters['A'] = 16; }},
      {"G is missing", [](AlphabetFields& f) { f.letters.erase('G'); }},
      {"lower case", [](AlphabetFields& f) { f.letters['a'] = 7; }},
      {"printable", [](AlphabetFields& f) { f.letters['\n'] = 7; }},
      {"complement has 15", [](AlphabetFields& f) { f.complement.pop_back(); }},
      {"complement: 7 pairs with 9", [](AlphabetFields& f) { f.complement[7] = 9; }},
      {"outside", [](AlphabetFields& f) { f.complement[0] = 200; }},
      {"A (7) and T (8)", [](AlphabetFields& f) { std::swap(f.letters['C'], f.letters['T']), f.letters.erase('U'); }},
      {"mask", [](AlphabetFields& f) { f.special.mask = 16; }}};
  for (const Contradiction& contradiction : cases) {
    AlphabetFields fields = Alphabet::built_in("dnamamba").fields();
    contradiction.make(fields);
    EXPECT_THROW(Alphabet{fields}, base::Error) << contradiction.word;
    EXPECT_THAT(message_of([&] { Alphabet{fields}; }), HasSubstr(contradiction.word));
  }
}

TEST(Alphabet, RefusesJsonThatIsNotExactlyAnAlphabet) {
  const std::string good = Alphabet::built_in("dnamamba").to_json();
  const std::vector<std::pair<std::string, std::string>> cases{
      {"", "not JSON"},
      {good.substr(0, good.size() / 2), "not JSON"},
      {"[]", "not a JSON object"},
      {replaced(good, "\"version\": 1", "\"version\": 2"), "version"},
      {replaced(good, "dnamamba-alphabet", "alphabet"), "format"},
      {replaced(good, "\"ambiguous\": 11,", ""), "\"ambiguous\" is missing"},
      {replaced(good, "\"ambiguous\": 11,", "\"ambiguous\": 11, \"ambiguous\": 11,"), "twice"},
      {replaced(good, "\"ambiguous\": 11,", "\"ambiguous\": 11, \"stran\": 1,"), "unknown key \"stran\""},
      {replaced(good, "\"ambiguous\": 11", "\"ambiguous\": -1"), "ambiguous"},
      {replaced(good, "\"ambiguous\": 11", "\"ambiguous\": 11.5"), "ambiguous"},
      {replaced(good, "\"ambiguous\": 11", "\"ambiguous\": 18446744073709551615"), "ambiguous"},
      {replaced(good, "\"bos\"", "\"start\""), "unknown key \"start\""},
      {replaced(good, "\"ignore\"", "\"lower\""), "ignore, as-letters"},
      {replaced(good, "\"both\"", "\"plus\""), "forward, reverse, both"},
      {replaced(good, "\"A\"", "\"AC\""), "AC"}};
  for (const auto& [text, word] : cases) {
    EXPECT_THROW(Alphabet::from_json(text, "model/alphabet.json"), base::IoError) << text;
    EXPECT_THAT(message_of([&] { Alphabet::from_json(text, "model/alphabet.json"); }),
                AllOf(HasSubstr("model/alphabet.json: "), HasSubstr(word)));
  }
}

TEST(Alphabet, NamesTheFileThatIsNotThere) {
  EXPECT_THAT(message_of([] { (void)Alphabet::load("/nowhere/alphabet.json"); }),
              AllOf(HasSubstr("/nowhere/alphabet.json"), HasSubstr("No such file")));
}

}  // namespace
}  // namespace dnamamba::tokens
