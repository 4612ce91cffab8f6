// The task of induction heads (Gu & Dao 2023, section 4.1.2): a special token comes once among random ones, followed by
// some token; at the very end it comes again, and that token is the answer.
#pragma once
#include <ATen/core/PhiloxRNGEngine.h>

#include <cstdint>
#include <vector>

namespace dnamamba::studies {

constexpr std::int64_t kVocabulary = 16;
constexpr std::uint8_t kSpecial = 0;

/// Sequence `number` of a stream, read from left to right in pieces of any size: the same (seed, stream, number,
/// length) gives the same tokens. The place of the special token has the same chance everywhere.
class InductionSequence {
 public:
  /// At least 3 tokens, of which the last is the special one.
  InductionSequence(std::uint64_t seed, std::uint32_t stream, std::uint32_t number, std::int64_t length);

  /// Adds the next tokens behind `tokens`: at most `count`, fewer at the end.
  void read(std::int64_t count, std::vector<std::uint8_t>& tokens);

  /// What follows the first special token.
  [[nodiscard]] std::uint8_t answer() const { return answer_; }

 private:
  [[nodiscard]] std::int64_t below(std::int64_t count);
  [[nodiscard]] std::uint8_t ordinary();

  at::Philox4_32 random_;
  std::int64_t length_;
  std::int64_t place_;  // of the first special token
  std::uint8_t answer_;
  std::int64_t next_ = 0;
};

}  // namespace dnamamba::studies
