// Bases to token ids, chunk by chunk: a record's only state is the position in it, which the caller has.
#pragma once
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "core/tokens/alphabet.h"

namespace dnamamba::tokens {

/// What to do with a letter that the alphabet doesn't have: gaps (- * .), digits, anything else.
enum class InvalidPolicy {
  kError,      ///< base::IoError with its record and position
  kAmbiguous,  ///< as if it were an N (`--invalid n`)
  kDrop,       ///< as if it were not there (`--invalid drop`): later positions in the output move up
};

/// What lower case, the soft-mask of repeats, means.
enum class SoftMaskPolicy {
  kKeep,       ///< nothing: a is A
  kAmbiguous,  ///< the letter is read as N
};

/// "error", "n" or "drop". @throws base::UsageError for anything else.
InvalidPolicy parse_invalid_policy(std::string_view text);
/// "keep" or "n". @throws base::UsageError for anything else.
SoftMaskPolicy parse_soft_mask_policy(std::string_view text);

/// Where a chunk came from, for messages.
struct ChunkPlace {
  std::string_view file;    ///< may be empty
  std::string_view record;  ///< name of the record
  std::int64_t offset = 0;  ///< position of the chunk's first base in its record, 0-based
};

struct TokenizedCounts {
  std::int64_t tokens = 0;   ///< ids written: the number of bases, less those dropped
  std::int64_t invalid = 0;  ///< letters that were read as N or dropped
};

/// Stateless and cheap to copy; any number of threads may use one.
class Tokenizer {
 public:
  explicit Tokenizer(Alphabet alphabet, InvalidPolicy invalid = InvalidPolicy::kError,
                     SoftMaskPolicy soft_mask = SoftMaskPolicy::kKeep);

  /// Writes the ids of `bases` to the front of `ids`, which has room for all of them, and to the front of `lower_case`,
  /// unless that is empty, 1 where the letter was lower case (soft-masked) and 0 elsewhere.
  /// @throws base::IoError for an invalid letter under kError, naming file, record, 0-based position, letter and
  /// remedy; what was
  ///         written by then is unspecified. std::invalid_argument if a span is too short.
  TokenizedCounts tokenize(std::string_view bases, const ChunkPlace& place, std::span<std::uint8_t> ids,
                           std::span<std::uint8_t> lower_case = {}) const;

  /// The same at the end of vectors, which grow by the number of tokens; they are as before if it throws.
  TokenizedCounts append(std::string_view bases, const ChunkPlace& place, std::vector<std::uint8_t>& ids,
                         std::vector<std::uint8_t>* lower_case = nullptr) const;

  [[nodiscard]] const Alphabet& alphabet() const { return alphabet_; }

 private:
  [[noreturn]] void refuse(char letter, const ChunkPlace& place, std::int64_t index) const;

  Alphabet alphabet_;
  InvalidPolicy invalid_;
  SoftMaskPolicy soft_mask_;
};

/// The other strand: out[i] = complement of ids[n − 1 − i]. Spans of one size that don't overlap.
/// @throws std::invalid_argument if the sizes differ.
void reverse_complement(const Alphabet& alphabet, std::span<const std::uint8_t> ids, std::span<std::uint8_t> out);

}  // namespace dnamamba::tokens
