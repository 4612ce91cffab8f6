#include "core/tokens/token_store_format.h"

#include <libdeflate.h>
#include <zstd.h>

#include <algorithm>
#include <cstring>
#include <limits>
#include <memory>
#include <new>

#include "core/base/error.h"

namespace dnamamba::tokens {
namespace {

using base::concat;
using base::IoError;

constexpr std::string_view kHeadMark = "DNAZ\r\n\x1a\n", kEndMark = "DNAZ-END";
// Four letters in no order are best left to zstd's entropy coder: short matches cost more than they save, and time.
constexpr int kLevel = 1, kLeastMatch = 7;

std::uint32_t crc_of(std::span<const std::byte> bytes) {
  return libdeflate_crc32(0, bytes.data(), bytes.size());
}

template <typename Number>
void put(std::byte* out, Number value) {
  for (std::size_t i = 0; i < sizeof value; ++i) out[i] = static_cast<std::byte>((value >> (8 * i)) & 0xff);
}

template <typename Number>
Number get(const std::byte* bytes) {
  Number value = 0;
  for (std::size_t i = 0; i < sizeof value; ++i) value |= static_cast<Number>(bytes[i]) << (8 * i);
  return value;
}

bool starts_with(const std::byte* bytes, std::string_view mark) {
  return std::memcmp(bytes, mark.data(), mark.size()) == 0;
}

template <auto kFree>
struct FreeBy {
  void operator()(auto* context) const { kFree(context); }
};

// One of each a thread: making them takes as long as a frame does.
ZSTD_CCtx* compressor() {
  thread_local const std::unique_ptr<ZSTD_CCtx, FreeBy<ZSTD_freeCCtx>> context(ZSTD_createCCtx());
  if (!context || ZSTD_isError(ZSTD_CCtx_setParameter(context.get(), ZSTD_c_compressionLevel, kLevel)) ||
      ZSTD_isError(ZSTD_CCtx_setParameter(context.get(), ZSTD_c_minMatch, kLeastMatch)))
    throw std::bad_alloc();
  return context.get();
}

ZSTD_DCtx* decompressor() {
  thread_local const std::unique_ptr<ZSTD_DCtx, FreeBy<ZSTD_freeDCtx>> context(ZSTD_createDCtx());
  if (!context) throw std::bad_alloc();
  return context.get();
}

}  // namespace

bool holds_same(const BlockHeader& header, const RawBlock& raw) {
  return header.kind == raw.kind && header.count == raw.count && header.raw_bytes == raw.bytes.size() &&
         header.crc == crc_of(raw.bytes);
}

std::array<std::byte, kStoreHeadBytes> store_head() {
  std::array<std::byte, kStoreHeadBytes> head{};
  std::memcpy(head.data(), kHeadMark.data(), kHeadMark.size());
  put(head.data() + 8, kStoreVersion);
  put(head.data() + 12, crc_of(std::span(head).first(12)));
  return head;
}

bool is_store_head(std::span<const std::byte> head, const std::string& file) {
  if (head.size() < kHeadMark.size() || !starts_with(head.data(), kHeadMark)) return false;
  if (head.size() < static_cast<std::size_t>(kStoreHeadBytes))
    throw IoError(concat(file, ": ends at byte ", head.size(), ", in the head of a token store: pack it again"));
  if (get<std::uint32_t>(head.data() + 12) != crc_of(head.first(12)))
    throw IoError(concat(file, ": the head of the token store is damaged (byte 8): pack it again"));
  const auto version = get<std::uint32_t>(head.data() + 8);
  if (version != kStoreVersion)
    throw IoError(concat(file, ": a token store of version ", version, " (byte 8); this program reads version ",
                         kStoreVersion, ": use a later one, or pack it again"));
  return true;
}

std::array<std::byte, kStoreEndBytes> store_end(std::int64_t index_offset) {
  std::array<std::byte, kStoreEndBytes> end{};
  put(end.data(), static_cast<std::uint64_t>(index_offset));
  put(end.data() + 8, crc_of(std::span(end).first(8)));
  std::memcpy(end.data() + 16, kEndMark.data(), kEndMark.size());
  return end;
}

std::optional<std::int64_t> index_offset_in(std::span<const std::byte, kStoreEndBytes> end) {
  const auto offset = static_cast<std::int64_t>(get<std::uint64_t>(end.data()));
  if (!starts_with(end.data() + 16, kEndMark) || get<std::uint32_t>(end.data() + 12) != 0 || offset < 0 ||
      get<std::uint32_t>(end.data() + 8) != crc_of(end.first(8)))
    return std::nullopt;
  return offset;
}

std::array<std::byte, BlockHeader::kBytes> header_bytes(const BlockHeader& header) {
  std::array<std::byte, BlockHeader::kBytes> bytes;
  put(bytes.data(), static_cast<std::uint32_t>(header.kind));
  put(bytes.data() + 4, header.count);
  put(bytes.data() + 8, header.stored_bytes);
  put(bytes.data() + 12, header.raw_bytes);
  put(bytes.data() + 16, header.crc);
  put(bytes.data() + 20, crc_of(std::span(bytes).first(20)));
  return bytes;
}

std::optional<BlockHeader> header_from(std::span<const std::byte, BlockHeader::kBytes> bytes) {
  if (get<std::uint32_t>(bytes.data() + 20) != crc_of(bytes.first(20))) return std::nullopt;
  return BlockHeader{.kind = static_cast<BlockKind>(get<std::uint32_t>(bytes.data())),
                     .count = get<std::uint32_t>(bytes.data() + 4),
                     .stored_bytes = get<std::uint32_t>(bytes.data() + 8),
                     .raw_bytes = get<std::uint32_t>(bytes.data() + 12),
                     .crc = get<std::uint32_t>(bytes.data() + 16)};
}

std::vector<std::byte> compressed(const RawBlock& raw) {
  constexpr std::size_t kMost = std::numeric_limits<std::uint32_t>::max();
  std::vector<std::byte> out(BlockHeader::kBytes + ZSTD_compressBound(raw.bytes.size()));
  const std::size_t size = ZSTD_compress2(compressor(), out.data() + BlockHeader::kBytes,
                                          out.size() - BlockHeader::kBytes, raw.bytes.data(), raw.bytes.size());
  if (ZSTD_isError(size) || size > kMost || raw.bytes.size() > kMost)
    throw base::Error(concat("a block of ", raw.bytes.size(),
                             " bytes is too large for a token store: pack fewer "
                             "sequences into one"));
  const auto header = header_bytes({.kind = raw.kind,
                                    .count = raw.count,
                                    .stored_bytes = static_cast<std::uint32_t>(size),
                                    .raw_bytes = static_cast<std::uint32_t>(raw.bytes.size()),
                                    .crc = crc_of(raw.bytes)});
  std::copy(header.begin(), header.end(), out.begin());
  out.resize(BlockHeader::kBytes + size);
  return out;
}

std::optional<std::vector<std::byte>> decompressed(const BlockHeader& header, std::span<const std::byte> stored) {
  // zstd can't make more than this of a byte: a header that asks for it must not cost memory.
  constexpr std::uint64_t kMostRatio = 1 << 17;
  if (stored.size() != header.stored_bytes || header.raw_bytes > kMostRatio * stored.size()) return std::nullopt;
  std::vector<std::byte> raw(header.raw_bytes);
  const std::size_t size = ZSTD_decompressDCtx(decompressor(), raw.data(), raw.size(), stored.data(), stored.size());
  if (size != raw.size() || crc_of(raw) != header.crc) return std::nullopt;
  return raw;
}

void append_varint(std::vector<std::byte>& out, std::uint64_t value) {
  for (; value >= 0x80; value >>= 7) out.push_back(static_cast<std::byte>(value | 0x80));
  out.push_back(static_cast<std::byte>(value));
}

std::optional<std::int64_t> RawReader::varint() {
  std::uint64_t value = 0;
  for (int shift = 0; shift < 63; shift += 7) {
    if (left_.empty()) return std::nullopt;
    const auto byte = static_cast<std::uint64_t>(left_.front());
    left_ = left_.subspan(1);
    value |= (byte & 0x7f) << shift;
    if (byte < 0x80) return static_cast<std::int64_t>(value);
  }
  return std::nullopt;
}

std::optional<std::string_view> RawReader::text(std::int64_t bytes) {
  if (bytes < 0 || static_cast<std::uint64_t>(bytes) > left_.size()) return std::nullopt;
  const std::string_view text(reinterpret_cast<const char*>(left_.data()), static_cast<std::size_t>(bytes));
  left_ = left_.subspan(text.size());
  return text;
}

}  // namespace dnamamba::tokens
