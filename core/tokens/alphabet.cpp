#include "core/tokens/alphabet.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "core/base/error.h"

namespace dnamamba::tokens {
namespace {

using base::concat;
using base::Error;

// The IUPAC letters of nucleic acids, each above the one it pairs with.
constexpr std::string_view kIupac = "ACGTURYSWKMBDHVN";
constexpr std::string_view kPairs = "TGCAAYRSWMKVHDBN";

constexpr std::array<std::string_view, 4> kBuiltInNames{"dnamamba", "caduceus", "hyenadna", "plantcad"};

char to_lower(char letter) {
  return static_cast<char>(letter - 'A' + 'a');
}
bool is_lower(char letter) {
  return letter >= 'a' && letter <= 'z';
}

[[noreturn]] void refuse(const AlphabetFields& fields, const std::string& what) {
  throw Error(concat("alphabet ", fields.name, ": ", what));
}

void require_id(const AlphabetFields& fields, const std::string& what, int id) {
  if (id >= fields.vocabulary)
    refuse(fields, concat(what, ": id ", id, " is outside the vocabulary of ", fields.vocabulary));
}

void check_letters(const AlphabetFields& fields) {
  for (const auto& [letter, id] : fields.letters) {
    if (letter <= ' ' || letter > '~') refuse(fields, "letters: only printable ASCII characters can be letters");
    require_id(fields, concat("letters: ", letter), id);
    if (fields.letter_case == LetterCase::kIgnore && is_lower(letter))
      refuse(fields, concat("letters: ", letter, " is lower case, but case is ignored"));
  }
  for (const char base : {'A', 'C', 'G', 'T'})
    if (!fields.letters.contains(base)) refuse(fields, concat("letters: ", base, " is missing"));
}

void check_complement(const AlphabetFields& fields) {
  if (std::cmp_not_equal(fields.complement.size(), fields.vocabulary))
    refuse(fields, concat("complement has ", fields.complement.size(), " ids, the vocabulary ", fields.vocabulary));
  for (int id = 0; id < fields.vocabulary; ++id) {
    const std::uint8_t other = fields.complement[id];
    require_id(fields, "complement", other);
    if (fields.complement[other] != id)
      refuse(fields, concat("complement: ", id, " pairs with ", int{other}, ", but ", int{other}, " with ",
                            int{fields.complement[other]}));
  }
}

void check_special(const AlphabetFields& fields) {
  const SpecialIds& special = fields.special;
  const std::pair<const char*, std::optional<std::uint8_t>> named[] = {
      {"bos", special.bos}, {"eos", special.eos}, {"sep", special.sep}, {"mask", special.mask}, {"pad", special.pad}};
  for (const auto& [name, id] : named)
    if (id) require_id(fields, concat("special: ", name), *id);
}

std::array<std::uint8_t, 256> table_of_ids(const AlphabetFields& fields) {
  std::array<std::uint8_t, 256> ids;
  ids.fill(Alphabet::kInvalid);
  const bool both_cases = fields.letter_case == LetterCase::kIgnore;
  const auto set = [&](char letter, std::uint8_t id) {
    ids[static_cast<unsigned char>(letter)] = id;
    if (both_cases && letter >= 'A' && letter <= 'Z') ids[static_cast<unsigned char>(to_lower(letter))] = id;
  };
  for (const char letter : kIupac)
    if (letter != 'U') set(letter, fields.ambiguous);
  for (const auto& [letter, id] : fields.letters) set(letter, id);
  return ids;
}

// Catches an alphabet whose complement is an involution, but of something that is not DNA.
void check_pairs(const AlphabetFields& fields, const std::array<std::uint8_t, 256>& ids) {
  for (std::size_t i = 0; i < kIupac.size(); ++i)
    for (const bool lower : {false, true}) {
      const char letter = lower ? to_lower(kIupac[i]) : kIupac[i];
      const char pair = lower ? to_lower(kPairs[i]) : kPairs[i];
      const std::uint8_t id = ids[static_cast<unsigned char>(letter)];
      const std::uint8_t pair_id = ids[static_cast<unsigned char>(pair)];
      if (id == Alphabet::kInvalid || pair_id == Alphabet::kInvalid) continue;
      if (fields.complement[id] != pair_id)
        refuse(fields, concat("complement: the ids of ", letter, " (", int{id}, ") and ", pair, " (", int{pair_id},
                              ") are not each other's complement"));
    }
}

// The 16 ids that Caduceus and HyenaDNA share; they differ in what N becomes.
AlphabetFields sixteen_ids(std::string_view name, std::uint8_t ambiguous) {
  AlphabetFields fields;
  fields.name = name;
  fields.vocabulary = 16;
  fields.letters = {{'A', 7}, {'C', 8}, {'G', 9}, {'T', 10}, {'U', 10}};
  fields.ambiguous = ambiguous;
  fields.complement = {0, 1, 2, 3, 4, 5, 6, 10, 9, 8, 7, 11, 12, 13, 14, 15};
  fields.special = {.bos = 2, .eos = 1, .sep = 1, .mask = 3, .pad = 4};
  return fields;
}

AlphabetFields plantcad() {
  AlphabetFields fields;
  fields.name = "plantcad";
  fields.vocabulary = 8;
  fields.letters = {{'A', 3}, {'C', 4}, {'G', 5}, {'T', 6}, {'U', 6}};
  fields.ambiguous = 2;  // [UNK]
  fields.complement = {0, 1, 2, 6, 5, 4, 3, 7};
  fields.special = {.bos = {}, .eos = {}, .sep = {}, .mask = 1, .pad = 0};
  return fields;
}

bool is_built_in(std::string_view name) {
  for (const std::string_view known : kBuiltInNames)
    if (known == name) return true;
  return false;
}

}  // namespace

Alphabet::Alphabet(AlphabetFields fields) : fields_(std::move(fields)) {
  if (fields_.vocabulary < 1 || fields_.vocabulary > 255)
    refuse(fields_, concat("vocabulary is ", fields_.vocabulary, ", not between 1 and 255"));
  require_id(fields_, "ambiguous", fields_.ambiguous);
  check_letters(fields_);
  check_complement(fields_);
  check_special(fields_);
  ids_ = table_of_ids(fields_);
  check_pairs(fields_, ids_);
  std::iota(complement_.begin(), complement_.end(), std::uint8_t{0});
  std::copy(fields_.complement.begin(), fields_.complement.end(), complement_.begin());
}

std::span<const std::string_view> Alphabet::built_in_names() {
  return kBuiltInNames;
}

Alphabet Alphabet::built_in(std::string_view name) {
  if (name == "dnamamba") return Alphabet(sixteen_ids(name, 11));
  if (name == "caduceus")
    return Alphabet(sixteen_ids(name, 4));  // its training replaced N by [PAD]: row 11 is untrained
  if (name == "hyenadna") return Alphabet(sixteen_ids(name, 11));
  if (name == "plantcad") return Alphabet(plantcad());
  std::string names;
  for (const std::string_view known : kBuiltInNames) names += concat(names.empty() ? "" : ", ", known);
  throw Error(concat("no alphabet is called '", name, "'; built in are ", names));
}

Alphabet Alphabet::named_or_file(const std::string& name_or_path) {
  if (is_built_in(name_or_path) || !std::filesystem::exists(name_or_path)) return built_in(name_or_path);
  return load(name_or_path);
}

}  // namespace dnamamba::tokens
