#include "core/outputs/bigwig_blocks.h"

#include <zlib.h>

#include <algorithm>
#include <bit>

#include "core/base/error.h"

namespace dnamamba::outputs {
namespace {

static_assert(std::endian::native == std::endian::little);

constexpr std::uint32_t kIndexMagic = 0x2468ACE0;
constexpr std::int64_t kWidth = 256;  // children of a node
constexpr std::int64_t kIndexHeaderBytes = 48;
constexpr std::int64_t kNodeHeaderBytes = 4;
constexpr std::int64_t kInnerItemBytes = 24;

}  // namespace

std::vector<std::int64_t> tree_levels(std::int64_t items, std::int64_t width) {
  std::vector<std::int64_t> levels;
  do {
    items = std::max<std::int64_t>(1, (items + width - 1) / width);
    levels.insert(levels.begin(), items);
  } while (items > 1);
  return levels;
}

void BigWigBlocks::add(BigWigPlace first, BigWigPlace last, std::span<const std::byte> block) {
  if (block.size() > kBlockBytes) throw base::Error(base::concat("bigWig: a block of ", block.size(), " bytes"));
  uLongf size = ::compressBound(kBlockBytes);
  compressed_.resize(size);
  if (::compress(compressed_.data(), &size, reinterpret_cast<const Bytef*>(block.data()), block.size()) != Z_OK)
    throw base::Error(base::concat("bigWig: can't compress ", block.size(), " bytes"));
  const Entry entry{first, last, blocks_.size(), static_cast<std::int64_t>(size)};
  index_.append(std::as_bytes(std::span(&entry, 1)));
  blocks_.append(std::as_bytes(std::span(compressed_).first(size)));
}

void BigWigBlocks::write_blocks(files::AtomicFile& file) {
  begin_ = file.size();
  blocks_.read_all([&](std::span<const std::byte> piece) { file.append(piece); });
}

BigWigBlocks::Entry BigWigBlocks::entry(std::int64_t i) const {
  Entry entry{};
  index_.read_at(i * kEntryBytes, std::as_writable_bytes(std::span(&entry, 1)));
  return entry;
}

// A node of a level stands for `span` blocks that follow one another: its place is from the first of them to the last.
void BigWigBlocks::write_index(files::AtomicFile& file, std::uint32_t items_per_block) const {
  const std::int64_t blocks = count();
  const Entry none{};
  const Entry first = blocks > 0 ? entry(0) : none, last = blocks > 0 ? entry(blocks - 1) : none;
  LittleEndianBytes out;
  out << kIndexMagic << static_cast<std::uint32_t>(kWidth) << static_cast<std::uint64_t>(blocks) << first.first
      << last.last << static_cast<std::uint64_t>(file.size()) << items_per_block << std::uint32_t{0};
  const std::int64_t begin = file.size();
  std::int64_t next_level = begin + kIndexHeaderBytes;
  file.append(out.bytes());
  const std::vector<std::int64_t> levels = tree_levels(blocks, kWidth);
  std::int64_t span = 1;  // blocks that an item of the level stands for
  for (std::size_t i = 1; i < levels.size(); ++i) span *= kWidth;
  for (const std::int64_t nodes : levels) {
    const bool leaves = span == 1;
    const std::int64_t items = (blocks + span - 1) / span;
    next_level += nodes * kNodeHeaderBytes + items * (leaves ? kEntryBytes : kInnerItemBytes);
    // Every child but the last is full.
    const std::int64_t child_bytes = kNodeHeaderBytes + kWidth * (span == kWidth ? kEntryBytes : kInnerItemBytes);
    for (std::int64_t node = 0; node < nodes; ++node) {
      const std::int64_t from = node * kWidth, to = std::min(from + kWidth, items);
      out.clear();
      out << static_cast<std::uint8_t>(leaves) << std::uint8_t{0} << static_cast<std::uint16_t>(to - from);
      for (std::int64_t item = from; item < to; ++item) {
        Entry at = entry(item * span);
        if (leaves) {
          at.offset += begin_;
          out << at;
        } else {
          out << at.first << entry(std::min((item + 1) * span, blocks) - 1).last << next_level + item * child_bytes;
        }
      }
      file.append(out.bytes());
    }
    span /= kWidth;
  }
}

}  // namespace dnamamba::outputs
