// The compressed blocks of a bigWig file and the index over them.
#pragma once
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "core/files/atomic_file.h"
#include "core/files/spool.h"

namespace dnamamba::outputs {

/// A place in the order of a bigWig file: record, then base.
struct BigWigPlace {
  std::uint32_t record = 0;
  std::uint32_t base = 0;
};

/// Blocks that wait in temporary files until it is known where in the file they go. They come in the order of their
/// places and do not overlap.
class BigWigBlocks {
 public:
  /// The most bytes that a block may have before it is compressed.
  static constexpr std::size_t kBlockBytes = std::size_t{1} << 15;

  /// @throws base::IoError, e.g. if the disk for temporary files is full.
  void add(BigWigPlace first, BigWigPlace last, std::span<const std::byte> block);
  std::int64_t count() const { return index_.size() / kEntryBytes; }

  /// Appends all blocks. @throws base::IoError.
  void write_blocks(files::AtomicFile& file);
  /// Appends the index of the blocks that were written: a tree of nodes with up to 256 children, the root first.
  void write_index(files::AtomicFile& file, std::uint32_t items_per_block) const;

 private:
  static constexpr std::int64_t kEntryBytes = 32;
  struct Entry {
    BigWigPlace first;
    BigWigPlace last;
    std::int64_t offset;  // of the block: among the blocks
    std::int64_t size;    // bytes
  };
  static_assert(sizeof(Entry) == kEntryBytes);
  Entry entry(std::int64_t i) const;

  files::Spool blocks_{kSpoolMemory};
  files::Spool index_{kSpoolMemory};
  std::vector<unsigned char> compressed_;
  std::int64_t begin_ = 0;  // of the blocks in the file

  static constexpr std::int64_t kSpoolMemory = std::int64_t{1} << 20;
};

/// Numbers as they lie in a little-endian file, one after the other.
class LittleEndianBytes {
 public:
  template <typename Number>
  LittleEndianBytes& operator<<(const Number& number) {
    return *this << std::as_bytes(std::span(&number, 1));
  }
  LittleEndianBytes& operator<<(std::span<const std::byte> bytes) {
    bytes_.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    return *this;
  }
  void pad_to(std::size_t size) { bytes_.resize(size); }
  std::span<const std::byte> bytes() const { return std::as_bytes(std::span(bytes_)); }
  std::size_t size() const { return bytes_.size(); }
  void clear() { bytes_.clear(); }

 private:
  std::string bytes_;
};

/// How a tree of `items` lies in a file whose nodes have up to `width` children each: nodes of each level, the root's
/// (1) first, the leaves' last.
std::vector<std::int64_t> tree_levels(std::int64_t items, std::int64_t width);

}  // namespace dnamamba::outputs
