// Which letter is which token, as data that a model's folder carries (`alphabet.json`).
#pragma once
#include <array>
#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace dnamamba::tokens {

enum class LetterCase { kIgnore, kAsLetters };    ///< kAsLetters: `a` and `A` are two letters.
enum class Strand { kForward, kReverse, kBoth };  ///< kBoth: the mean of the two.

/// How often each base is read.
inline std::int64_t strand_count(Strand strand) {
  return strand == Strand::kBoth ? 2 : 1;
}

/// Ids that stand for no base, where the vocabulary has them. Tokenising adds none of them to a sequence.
struct SpecialIds {
  std::optional<std::uint8_t> bos, eos, sep, mask, pad;
  bool operator==(const SpecialIds&) const = default;
};

/// What an alphabet is made of, as `alphabet.json` says it.
struct AlphabetFields {
  std::string name;
  int vocabulary = 0;                    ///< Ids are 0 … vocabulary − 1; at most 255.
  std::map<char, std::uint8_t> letters;  ///< At least A, C, G, T; upper case only where case is ignored.
  std::uint8_t ambiguous = 0;            ///< Id of N and of every IUPAC letter that `letters` does not name.
  LetterCase letter_case = LetterCase::kIgnore;
  std::vector<std::uint8_t> complement;  ///< [vocabulary]; an involution.
  SpecialIds special;
  std::int64_t default_layer =
      -1;  ///< Hidden state to embed with: 0 the embedding, k after layer k, −1 the last, normed.
  Strand default_strand = Strand::kBoth;
  bool operator==(const AlphabetFields&) const = default;
};

/// A checked alphabet with its tables. Cheap to copy; immutable.
///
/// `alphabet.json` is one object; every key but `special`, `default_layer` and `default_strand` must be there, no other
/// may:
///
///     {"format": "dnamamba-alphabet", "version": 1,
///      "name": "dnamamba",
///      "vocabulary": 16,
///      "letters": {"A": 7, "C": 8, "G": 9, "T": 10, "U": 10},
///      "ambiguous": 11,
///      "case": "ignore",                       ("ignore" or "as-letters")
///      "complement": [0, 1, 2, 3, 4, 5, 6, 10, 9, 8, 7, 11, 12, 13, 14, 15],
///      "special": {"bos": 2, "eos": 1, "sep": 1, "mask": 3, "pad": 4},
///      "default_layer": -1,
///      "default_strand": "both"}               ("forward", "reverse" or "both")
class Alphabet {
 public:
  static constexpr std::uint8_t kInvalid = 255;  ///< In the table of letters: no letter of this alphabet.

  /// @throws base::Error naming the field if the fields contradict one another: an id outside the vocabulary, a
  /// complement that is
  ///         no involution or does not pair the letters as DNA does (A with T, R with Y, N with N).
  explicit Alphabet(AlphabetFields fields);

  /// dnamamba, caduceus, hyenadna or plantcad. @throws base::Error for another name, listing these.
  static Alphabet built_in(std::string_view name);
  static std::span<const std::string_view> built_in_names();

  /// A built-in name, or else the path of an `alphabet.json`. @throws base::Error, base::IoError
  static Alphabet named_or_file(const std::string& name_or_path);

  /// @throws base::IoError naming `path` (and the key) if it can't be read or is not as above.
  static Alphabet load(const std::filesystem::path& path);
  /// The same for a text that came from `where`.
  static Alphabet from_json(std::string_view text, const std::string& where);
  /// The contents of `alphabet.json`; reading them gives this alphabet again.
  [[nodiscard]] std::string to_json() const;

  [[nodiscard]] const AlphabetFields& fields() const { return fields_; }
  [[nodiscard]] const std::string& name() const { return fields_.name; }
  [[nodiscard]] int vocabulary() const { return fields_.vocabulary; }
  [[nodiscard]] std::uint8_t ambiguous() const { return fields_.ambiguous; }
  [[nodiscard]] const SpecialIds& special() const { return fields_.special; }

  /// The id of a letter, or kInvalid.
  [[nodiscard]] std::uint8_t id_of(char letter) const { return ids_[static_cast<unsigned char>(letter)]; }
  /// Ids of A, C, G, T (upper case).
  [[nodiscard]] std::array<std::uint8_t, 4> bases() const { return {id_of('A'), id_of('C'), id_of('G'), id_of('T')}; }
  /// [256] byte → id or kInvalid.
  [[nodiscard]] const std::array<std::uint8_t, 256>& ids() const { return ids_; }
  /// [256] id → id on the other strand; identity from `vocabulary` on.
  [[nodiscard]] const std::array<std::uint8_t, 256>& complement() const { return complement_; }

  bool operator==(const Alphabet& other) const { return fields_ == other.fields_; }

 private:
  AlphabetFields fields_;
  std::array<std::uint8_t, 256> ids_;
  std::array<std::uint8_t, 256> complement_;
};

}  // namespace dnamamba::tokens
