#include "core/tokens/tokenizer.h"

#include <cstring>
#include <stdexcept>
#include <utility>

#include "core/base/error.h"

namespace dnamamba::tokens {
namespace {

using base::concat;

std::string printable(char letter) {
  static constexpr char kHex[] = "0123456789abcdef";
  if (letter >= ' ' && letter <= '~') return std::string{'\'', letter, '\''};
  const auto byte = static_cast<unsigned char>(letter);
  return std::string("byte 0x") + kHex[byte >> 4] + kHex[byte & 15];
}

// Branch-free, so that the loops below vectorise.
std::uint8_t is_lower(char letter) {
  return static_cast<std::uint8_t>(static_cast<unsigned char>(letter - 'a') < 26);
}

void look_up(std::string_view bases, const std::array<std::uint8_t, 256>& table, std::uint8_t* ids) {
  const char* letters = bases.data();
  const std::size_t count = bases.size();
  for (std::size_t i = 0; i < count; ++i) ids[i] = table[static_cast<unsigned char>(letters[i])];
}

void mark_lower_case(std::string_view bases, std::uint8_t* lower_case) {
  for (std::size_t i = 0; i < bases.size(); ++i) lower_case[i] = is_lower(bases[i]);
}

// Invalid letters stay what they are.
void mask_lower_case(std::string_view bases, std::uint8_t ambiguous, std::uint8_t* ids) {
  for (std::size_t i = 0; i < bases.size(); ++i)
    ids[i] = is_lower(bases[i]) != 0 && ids[i] != Alphabet::kInvalid ? ambiguous : ids[i];
}

// Closes the gaps that invalid ids leave, from the first of them on; returns how many ids remain.
std::size_t drop_invalid(std::span<std::uint8_t> ids, std::span<std::uint8_t> lower_case, std::size_t first) {
  std::size_t kept = first;
  for (std::size_t i = first; i < ids.size(); ++i) {
    if (ids[i] == Alphabet::kInvalid) continue;
    ids[kept] = ids[i];
    if (!lower_case.empty()) lower_case[kept] = lower_case[i];
    ++kept;
  }
  return kept;
}

std::int64_t replace_invalid(std::span<std::uint8_t> ids, std::uint8_t replacement) {
  std::int64_t replaced = 0;
  for (std::uint8_t& id : ids) {
    const bool invalid = id == Alphabet::kInvalid;
    replaced += invalid;
    id = invalid ? replacement : id;
  }
  return replaced;
}

}  // namespace

InvalidPolicy parse_invalid_policy(std::string_view text) {
  if (text == "error") return InvalidPolicy::kError;
  if (text == "n" || text == "N") return InvalidPolicy::kAmbiguous;
  if (text == "drop") return InvalidPolicy::kDrop;
  throw base::UsageError(concat("--invalid is error, n or drop, not '", text, "'"));
}

SoftMaskPolicy parse_soft_mask_policy(std::string_view text) {
  if (text == "keep") return SoftMaskPolicy::kKeep;
  if (text == "n" || text == "N") return SoftMaskPolicy::kAmbiguous;
  throw base::UsageError(concat("--soft-mask is keep or n, not '", text, "'"));
}

Tokenizer::Tokenizer(Alphabet alphabet, InvalidPolicy invalid, SoftMaskPolicy soft_mask)
    : alphabet_(std::move(alphabet)), invalid_(invalid), soft_mask_(soft_mask) {}

void Tokenizer::refuse(char letter, const ChunkPlace& place, std::int64_t index) const {
  throw base::IoError(concat(place.file, place.file.empty() ? "" : ": ", "record ", base::shown_name(place.record),
                             ", position ", place.offset + index, " (0-based): ", printable(letter),
                             " is no letter of the alphabet ", alphabet_.name(),
                             "; --invalid n reads such letters as N, --invalid drop leaves them out"));
}

TokenizedCounts Tokenizer::tokenize(std::string_view bases, const ChunkPlace& place, std::span<std::uint8_t> ids,
                                    std::span<std::uint8_t> lower_case) const {
  if (ids.size() < bases.size() || (!lower_case.empty() && lower_case.size() < bases.size()))
    throw std::invalid_argument("tokenize: a span is shorter than the bases");
  const auto total = static_cast<std::int64_t>(bases.size());
  if (total == 0) return {};
  look_up(bases, alphabet_.ids(), ids.data());
  if (soft_mask_ == SoftMaskPolicy::kAmbiguous) mask_lower_case(bases, alphabet_.ambiguous(), ids.data());
  if (!lower_case.empty()) mark_lower_case(bases, lower_case.data());

  // Most chunks have no invalid letter, and memchr finds that out faster than the look-up itself takes.
  const void* found = std::memchr(ids.data(), Alphabet::kInvalid, bases.size());
  if (found == nullptr) return {.tokens = total, .invalid = 0};
  const auto first = static_cast<std::size_t>(static_cast<const std::uint8_t*>(found) - ids.data());
  if (invalid_ == InvalidPolicy::kError) refuse(bases[first], place, static_cast<std::int64_t>(first));
  const std::span<std::uint8_t> written = ids.first(bases.size());
  if (invalid_ == InvalidPolicy::kAmbiguous)
    return {.tokens = total, .invalid = replace_invalid(written, alphabet_.ambiguous())};
  const auto kept = static_cast<std::int64_t>(drop_invalid(written, lower_case, first));
  return {.tokens = kept, .invalid = total - kept};
}

TokenizedCounts Tokenizer::append(std::string_view bases, const ChunkPlace& place, std::vector<std::uint8_t>& ids,
                                  std::vector<std::uint8_t>* lower_case) const {
  const std::size_t ids_before = ids.size();
  const std::size_t lower_before = lower_case == nullptr ? 0 : lower_case->size();
  TokenizedCounts counts;
  const auto resize = [&](std::size_t added) {
    ids.resize(ids_before + added);
    if (lower_case != nullptr) lower_case->resize(lower_before + added);
  };
  try {
    resize(bases.size());
    counts = tokenize(bases, place, std::span(ids).subspan(ids_before),
                      lower_case == nullptr ? std::span<std::uint8_t>{} : std::span(*lower_case).subspan(lower_before));
  } catch (...) {
    resize(0);
    throw;
  }
  resize(static_cast<std::size_t>(counts.tokens));
  return counts;
}

void reverse_complement(const Alphabet& alphabet, std::span<const std::uint8_t> ids, std::span<std::uint8_t> out) {
  if (ids.size() != out.size()) throw std::invalid_argument("reverse_complement: the spans differ in size");
  const std::array<std::uint8_t, 256>& complement = alphabet.complement();
  const std::size_t count = ids.size();
  for (std::size_t i = 0; i < count; ++i) out[i] = complement[ids[count - 1 - i]];
}

}  // namespace dnamamba::tokens
