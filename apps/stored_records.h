// The records of a token store as readers of sequence files give them.
#pragma once
#include <array>
#include <cstdint>
#include <optional>

#include "core/io/sequence_chunk.h"

namespace dnamamba::tokens {
class TokenStore;
}

namespace dnamamba::apps {

/// Front to back. Letters are the first of the alphabet that have the id: IUPAC letters come back as N, U as T; what
/// was lower case is lower case.
class StoredRecords {
 public:
  /// Refers to `store`.
  explicit StoredRecords(const tokens::TokenStore& store);

  /// @throws base::IoError if the store is damaged there.
  std::optional<io::SequenceChunk> next();

 private:
  const tokens::TokenStore& store_;
  std::array<char, 256> letters_{};  // of an id
  std::int64_t sequence_ = 0;
  std::int64_t offset_ = 0;  // of what comes next, in its record
};

}  // namespace dnamamba::apps
