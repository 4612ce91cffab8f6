// The bytes of a token store (`.dnaz`): a head, checked blocks one after the other, an index of them, an end.
//
//     head     "DNAZ\r\n\x1a\n", version (4 bytes), CRC-32 of these 12 bytes
//     block    a header of 24 bytes (kind, count, stored bytes, raw bytes, CRC-32 of the raw bytes, CRC-32 of the
//              header's 20 bytes before it), then one zstd frame
//     end      where the index's header begins (8 bytes), CRC-32 of these 8 bytes, 4 zero bytes, "DNAZ-END"
//
// Numbers are little-endian. Blocks come in this order: the alphabet; for each source, its frames of tokens and lists
// of records, and the source itself; the index, which is the headers of all blocks before it.
#pragma once
#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace dnamamba::tokens {

inline constexpr std::uint32_t kStoreVersion = 1;
inline constexpr std::int64_t kStoreHeadBytes = 16, kStoreEndBytes = 24;
/// Of a frame; a source's last has fewer. Small, so that one random segment costs little; smaller ones need a larger
/// index.
inline constexpr std::int64_t kFrameTokens = 32'768;

enum class BlockKind : std::uint32_t {
  kAlphabet = 1,  ///< `alphabet.json`
  kTokens = 2,    ///< count ids, then runs of soft-masked ones: how far to the next, how long, as varints
  kRecords = 3,   ///< count records: length and bytes of the name as varints, the name
  kSource = 4,    ///< what a file of count records was called
  kIndex = 5,     ///< count headers
};

struct BlockHeader {
  static constexpr std::int64_t kBytes = 24;
  BlockKind kind{};
  std::uint32_t count = 0;
  std::uint32_t stored_bytes = 0;  ///< of the zstd frame
  std::uint32_t raw_bytes = 0;
  std::uint32_t crc = 0;  ///< of the raw bytes

  [[nodiscard]] std::int64_t bytes_in_file() const { return kBytes + std::int64_t{stored_bytes}; }
  bool operator==(const BlockHeader&) const = default;
};

/// A block before it is compressed.
struct RawBlock {
  BlockKind kind{};
  std::uint32_t count = 0;
  std::vector<std::byte> bytes = {};
};

/// The same for raw bytes of the same kind and count, however they were compressed.
bool holds_same(const BlockHeader& header, const RawBlock& raw);

std::array<std::byte, kStoreHeadBytes> store_head();
/// False if `head` is that of another kind of file. @throws base::IoError naming `file` if it is damaged or of a later
/// version.
bool is_store_head(std::span<const std::byte> head, const std::string& file);
std::array<std::byte, kStoreEndBytes> store_end(std::int64_t index_offset);
/// Where the index begins; nullopt if this is no end of a store.
std::optional<std::int64_t> index_offset_in(std::span<const std::byte, kStoreEndBytes> end);

std::array<std::byte, BlockHeader::kBytes> header_bytes(const BlockHeader& header);
/// nullopt if its checksum is wrong.
std::optional<BlockHeader> header_from(std::span<const std::byte, BlockHeader::kBytes> bytes);

/// Header and zstd frame, as they stand in the file; always the same for the same block.
/// @throws base::Error if it has more than 4 GB.
std::vector<std::byte> compressed(const RawBlock& raw);
/// The raw bytes; nullopt if they are not what the header says.
std::optional<std::vector<std::byte>> decompressed(const BlockHeader& header, std::span<const std::byte> stored);

// Pieces of raw blocks.

void append_varint(std::vector<std::byte>& out, std::uint64_t value);

/// Takes raw bytes apart, front to back.
class RawReader {
 public:
  explicit RawReader(std::span<const std::byte> bytes) : left_(bytes) {}
  [[nodiscard]] bool at_end() const { return left_.empty(); }
  /// nullopt if the bytes end before it, or it is larger than 2^63 - 1.
  std::optional<std::int64_t> varint();
  std::optional<std::string_view> text(std::int64_t bytes);

 private:
  std::span<const std::byte> left_;
};

}  // namespace dnamamba::tokens
