#include "apps/stored_records.h"

#include <algorithm>
#include <cctype>
#include <span>
#include <string>
#include <vector>

#include "core/tokens/token_store.h"

namespace dnamamba::apps {
namespace {

constexpr std::int64_t kChunk = 1 << 20;  // bases

}  // namespace

StoredRecords::StoredRecords(const tokens::TokenStore& store) : store_(store) {
  letters_.fill('N');
  const auto& letters = store.alphabet().fields().letters;
  for (auto letter = letters.rbegin(); letter != letters.rend(); ++letter)
    if (letter->second != store.alphabet().ambiguous()) letters_[letter->second] = letter->first;
}

std::optional<io::SequenceChunk> StoredRecords::next() {
  if (sequence_ == store_.sequences()) return std::nullopt;
  const std::int64_t length = store_.length(sequence_), count = std::min(length - offset_, kChunk);
  std::vector<std::uint8_t> ids(count), lower_case(count);
  store_.read(sequence_, offset_, ids, lower_case);
  io::SequenceChunk chunk{.name = std::string(store_.name(sequence_)),
                          .description = {},
                          .offset = offset_,
                          .bases = std::string(static_cast<std::size_t>(count), 'N'),
                          .ends_record = offset_ + count == length};
  for (std::int64_t i = 0; i < count; ++i) {
    const char letter = letters_[ids[i]];
    chunk.bases[i] = lower_case[i] != 0 ? static_cast<char>(std::tolower(letter)) : letter;
  }
  offset_ = chunk.ends_record ? 0 : offset_ + count;
  if (chunk.ends_record) ++sequence_;
  return chunk;
}

}  // namespace dnamamba::apps
