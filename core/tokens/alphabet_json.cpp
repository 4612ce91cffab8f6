// `alphabet.json`, read strictly and written.
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <set>
#include <vector>

#include "core/base/error.h"
#include "core/base/json_text.h"
#include "core/tokens/alphabet.h"

namespace dnamamba::tokens {
namespace {

using base::concat;
using base::IoError;
using Json = nlohmann::ordered_json;

constexpr std::string_view kFormat = "dnamamba-alphabet";
constexpr int kVersion = 1;

// JSON libraries keep the last of two equal keys; here the second is an error.
Json parse_without_duplicates(std::string_view text) {
  std::vector<std::set<std::string>> open_objects;
  const auto watch = [&](int, Json::parse_event_t event, Json& value) {
    if (event == Json::parse_event_t::object_start) open_objects.emplace_back();
    if (event == Json::parse_event_t::object_end) open_objects.pop_back();
    if (event == Json::parse_event_t::key && !open_objects.back().insert(value.get<std::string>()).second)
      throw IoError(concat("the key ", value.dump(), " is there twice"));
    return true;
  };
  return Json::parse(text, watch);
}

// One object whose every key must be asked for.
class StrictObject {
 public:
  StrictObject(const Json& object, std::string what) : object_(object), what_(std::move(what)) {
    if (!object.is_object()) throw IoError(concat(what_, " is not a JSON object"));
  }

  const Json* find(const std::string& key) {
    asked_.insert(key);
    const auto found = object_.find(key);
    return found == object_.end() ? nullptr : &*found;
  }

  const Json& at(const std::string& key) {
    const Json* found = find(key);
    if (found == nullptr) throw IoError(concat(what_, ": the key \"", key, "\" is missing"));
    return *found;
  }

  void refuse_other_keys() const {
    for (const auto& [key, value] : object_.items())
      if (!asked_.contains(key)) throw IoError(concat(what_, ": unknown key \"", key, "\""));
  }

 private:
  const Json& object_;
  std::string what_;
  std::set<std::string> asked_;
};

std::int64_t integer(const Json& value, const std::string& key, std::int64_t least, std::int64_t most) {
  const bool too_big = value.is_number_unsigned() && value.get<std::uint64_t>() > std::uint64_t{INT64_MAX};
  if (!value.is_number_integer() || too_big || value.get<std::int64_t>() < least || value.get<std::int64_t>() > most)
    throw IoError(
        concat("\"", key, "\" is ", base::json_text(value), ", not a whole number from ", least, " to ", most));
  return value.get<std::int64_t>();
}

std::uint8_t id(const Json& value, const std::string& key) {
  return static_cast<std::uint8_t>(integer(value, key, 0, 254));
}

std::string text_of(const Json& value, const std::string& key) {
  if (!value.is_string()) throw IoError(concat("\"", key, "\" is ", base::json_text(value), ", not a string"));
  return value.get<std::string>();
}

template <typename Enum>
Enum one_of(const Json& value, const std::string& key, const std::vector<std::pair<std::string_view, Enum>>& names) {
  const std::string text = text_of(value, key);
  std::string known;
  for (const auto& [name, meaning] : names) {
    if (name == text) return meaning;
    known += concat(known.empty() ? "" : ", ", name);
  }
  throw IoError(concat("\"", key, "\" is \"", text, "\", not one of ", known));
}

const std::vector<std::pair<std::string_view, LetterCase>> kCases{{"ignore", LetterCase::kIgnore},
                                                                  {"as-letters", LetterCase::kAsLetters}};
const std::vector<std::pair<std::string_view, Strand>> kStrands{
    {"forward", Strand::kForward}, {"reverse", Strand::kReverse}, {"both", Strand::kBoth}};

template <typename Enum>
std::string name_of(Enum meaning, const std::vector<std::pair<std::string_view, Enum>>& names) {
  for (const auto& [name, known] : names)
    if (known == meaning) return std::string(name);
  return {};
}

std::map<char, std::uint8_t> read_letters(const Json& object) {
  if (!object.is_object()) throw IoError("\"letters\" is not a JSON object");
  std::map<char, std::uint8_t> letters;
  for (const auto& [letter, value] : object.items()) {
    if (letter.size() != 1) throw IoError(concat("\"letters\": \"", letter, "\" is not one ASCII character"));
    letters[letter[0]] = id(value, "letters");
  }
  return letters;
}

std::vector<std::uint8_t> read_complement(const Json& array) {
  if (!array.is_array()) throw IoError("\"complement\" is not a JSON array");
  std::vector<std::uint8_t> complement;
  for (const Json& value : array) complement.push_back(id(value, "complement"));
  return complement;
}

SpecialIds read_special(const Json& value) {
  StrictObject object(value, "\"special\"");
  const auto read = [&](const char* key) {
    const Json* found = object.find(key);
    return found == nullptr ? std::optional<std::uint8_t>{} : id(*found, key);
  };
  SpecialIds special;
  special.bos = read("bos");
  special.eos = read("eos");
  special.sep = read("sep");
  special.mask = read("mask");
  special.pad = read("pad");
  object.refuse_other_keys();
  return special;
}

AlphabetFields read_fields(const Json& json) {
  StrictObject object(json, "the alphabet");
  if (text_of(object.at("format"), "format") != kFormat) throw IoError(concat("\"format\" is not \"", kFormat, "\""));
  integer(object.at("version"), "version", kVersion, kVersion);
  AlphabetFields fields;
  fields.name = text_of(object.at("name"), "name");
  fields.vocabulary = static_cast<int>(integer(object.at("vocabulary"), "vocabulary", 1, 255));
  fields.letters = read_letters(object.at("letters"));
  fields.ambiguous = id(object.at("ambiguous"), "ambiguous");
  fields.letter_case = one_of(object.at("case"), "case", kCases);
  fields.complement = read_complement(object.at("complement"));
  if (const Json* special = object.find("special")) fields.special = read_special(*special);
  if (const Json* layer = object.find("default_layer"))
    fields.default_layer = integer(*layer, "default_layer", INT32_MIN, INT32_MAX);
  if (const Json* strand = object.find("default_strand"))
    fields.default_strand = one_of(*strand, "default_strand", kStrands);
  object.refuse_other_keys();
  return fields;
}

Json letters_to_json(const std::map<char, std::uint8_t>& letters) {
  Json object = Json::object();
  for (const auto& [letter, id] : letters) object[std::string(1, letter)] = id;
  return object;
}

Json special_to_json(const SpecialIds& special) {
  Json object = Json::object();
  if (special.bos) object["bos"] = *special.bos;
  if (special.eos) object["eos"] = *special.eos;
  if (special.sep) object["sep"] = *special.sep;
  if (special.mask) object["mask"] = *special.mask;
  if (special.pad) object["pad"] = *special.pad;
  return object;
}

}  // namespace

Alphabet Alphabet::from_json(std::string_view text, const std::string& where) {
  try {
    return Alphabet(read_fields(parse_without_duplicates(text)));
  } catch (const base::Error& error) {
    throw IoError(concat(where, ": ", error.what()));
  } catch (const Json::exception& error) {
    throw IoError(concat(where, ": not JSON: ", error.what()));
  }
}

Alphabet Alphabet::load(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) throw IoError(concat(path.string(), ": ", base::errno_text(errno)));
  const std::string text(std::istreambuf_iterator<char>(file), {});
  if (file.bad()) throw IoError(concat(path.string(), ": can't be read: ", base::errno_text(errno)));
  return from_json(text, path.string());
}

std::string Alphabet::to_json() const {
  Json json;
  json["format"] = kFormat;
  json["version"] = kVersion;
  json["name"] = fields_.name;
  json["vocabulary"] = fields_.vocabulary;
  json["letters"] = letters_to_json(fields_.letters);
  json["ambiguous"] = fields_.ambiguous;
  json["case"] = name_of(fields_.letter_case, kCases);
  json["complement"] = fields_.complement;
  json["special"] = special_to_json(fields_.special);
  json["default_layer"] = fields_.default_layer;
  json["default_strand"] = name_of(fields_.default_strand, kStrands);
  return json.dump(2) + "\n";
}

}  // namespace dnamamba::tokens
