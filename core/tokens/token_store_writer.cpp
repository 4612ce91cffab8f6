#include "core/tokens/token_store_writer.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "core/base/error.h"
#include "core/files/descriptor.h"

namespace dnamamba::tokens {
namespace {

using base::concat;

constexpr std::size_t kRecordsBytes = 65'536;  // of a list of records
constexpr std::size_t kBatchBlocks = 32;       // that one thread compresses: 1 Mi tokens

// The gaps between soft-masked runs and their lengths, behind the ids.
void append_runs(std::vector<std::byte>& out, const std::vector<std::uint8_t>& lower_case) {
  const auto begin = lower_case.begin(), end = lower_case.end();
  for (auto at = begin;;) {
    const auto first = std::find(at, end, std::uint8_t{1});
    if (first == end) return;
    const auto last = std::find(first, end, std::uint8_t{0});
    append_varint(out, static_cast<std::uint64_t>(first - at));
    append_varint(out, static_cast<std::uint64_t>(last - first));
    at = last;
  }
}

void add_one(std::uint32_t& count) {
  if (count == std::numeric_limits<std::uint32_t>::max())
    throw base::Error("a file of more than 4,294,967,295 records can't be packed: divide it");
  ++count;
}

}  // namespace

std::int64_t StoredBlocks::sources() const {
  return std::ranges::count(headers, BlockKind::kSource, &BlockHeader::kind);
}

StoredBlocks read_stored_blocks(const std::string& path) {
  const files::Descriptor file = files::open_to_read(path);
  const std::int64_t size = files::size_of(file, path);
  StoredBlocks blocks;
  std::array<std::byte, kStoreHeadBytes> head;
  if (size < kStoreHeadBytes) return blocks;
  files::read_all_at(file, 0, head, path);
  if (head != store_head()) return blocks;
  blocks.bytes = kStoreHeadBytes;
  while (size - blocks.bytes >= BlockHeader::kBytes) {
    std::array<std::byte, BlockHeader::kBytes> bytes;
    files::read_all_at(file, blocks.bytes, bytes, path);
    const auto header = header_from(bytes);
    if (!header || header->kind == BlockKind::kIndex || size - blocks.bytes < header->bytes_in_file()) break;
    std::vector<std::byte> content(header->stored_bytes);
    files::read_all_at(file, blocks.bytes + BlockHeader::kBytes, content, path);
    if (!decompressed(*header, content)) break;
    blocks.headers.push_back(*header);
    blocks.bytes += header->bytes_in_file();
  }
  return blocks;
}

TokenStoreWriter::TokenStoreWriter(files::AtomicFile& file, const Alphabet& alphabet, std::int64_t threads,
                                   StoredBlocks stored)
    : file_(file), threads_(std::max<std::int64_t>(threads, 1)), stored_(std::move(stored.headers)) {
  if (file_.size() == 0) file_.append(store_head());
  const std::string json = alphabet.to_json();
  const auto bytes = std::as_bytes(std::span(json));
  put({BlockKind::kAlphabet, 1, {bytes.begin(), bytes.end()}});
}

TokenStoreWriter::~TokenStoreWriter() = default;

void TokenStoreWriter::append(std::span<const std::uint8_t> ids, std::span<const std::uint8_t> lower_case) {
  length_ += static_cast<std::int64_t>(ids.size());
  while (!ids.empty()) {
    const std::size_t count = std::min(ids.size(), static_cast<std::size_t>(kFrameTokens) - ids_.size());
    ids_.insert(ids_.end(), ids.begin(), ids.begin() + static_cast<std::ptrdiff_t>(count));
    lower_case_.insert(lower_case_.end(), lower_case.begin(), lower_case.begin() + static_cast<std::ptrdiff_t>(count));
    ids = ids.subspan(count);
    lower_case = lower_case.subspan(count);
    if (ids_.size() == static_cast<std::size_t>(kFrameTokens)) end_frame();
  }
}

void TokenStoreWriter::end_frame() {
  if (ids_.empty()) return;
  const auto bytes = std::as_bytes(std::span(ids_));
  RawBlock frame{BlockKind::kTokens, static_cast<std::uint32_t>(ids_.size()), {bytes.begin(), bytes.end()}};
  append_runs(frame.bytes, lower_case_);
  put(std::move(frame));
  ids_.clear();
  lower_case_.clear();
}

void TokenStoreWriter::end_record(std::string_view name) {
  const auto bytes = std::as_bytes(std::span(name));
  append_varint(records_.bytes, static_cast<std::uint64_t>(std::exchange(length_, 0)));
  append_varint(records_.bytes, bytes.size());
  records_.bytes.insert(records_.bytes.end(), bytes.begin(), bytes.end());
  ++records_.count;
  add_one(source_records_);
  if (records_.bytes.size() >= kRecordsBytes) end_records();
}

void TokenStoreWriter::end_records() {
  if (records_.count > 0) put(std::exchange(records_, RawBlock{BlockKind::kRecords}));
}

void TokenStoreWriter::end_source(const std::string& name) {
  end_frame();
  end_records();
  const auto bytes = std::as_bytes(std::span(name));
  put({BlockKind::kSource, std::exchange(source_records_, 0), {bytes.begin(), bytes.end()}});
}

void TokenStoreWriter::skip_source() {
  for (bool ended = false; !ended && compared_ < stored_.size(); ++compared_) {
    const auto header = header_bytes(stored_[compared_]);
    headers_.insert(headers_.end(), header.begin(), header.end());
    ended = stored_[compared_].kind == BlockKind::kSource;
  }
}

void TokenStoreWriter::put(RawBlock block) {
  if (compared_ < stored_.size()) {
    if (!holds_same(stored_[compared_], block))
      throw base::IoError(concat(file_.path_to_fill().string(),
                                 ": holds something else than the input gives: the input is not what it was when the "
                                 "packing began; remove this file to begin anew"));
    const auto header = header_bytes(stored_[compared_++]);
    headers_.insert(headers_.end(), header.begin(), header.end());
    return;
  }
  batch_.push_back(std::move(block));
  if (batch_.size() == kBatchBlocks) start_batch();
}

void TokenStoreWriter::start_batch() {
  if (batch_.empty()) return;
  running_.push_back(std::async(std::launch::async, [batch = std::exchange(batch_, {})] {
    Compressed blocks;
    for (const RawBlock& block : batch) blocks.push_back(compressed(block));
    return blocks;
  }));
  if (static_cast<std::int64_t>(running_.size()) > threads_) write_oldest();
}

void TokenStoreWriter::write_oldest() {
  const Compressed blocks = running_.front().get();
  running_.pop_front();
  for (const auto& block : blocks) {
    headers_.insert(headers_.end(), block.begin(), block.begin() + BlockHeader::kBytes);
    file_.append(block);
  }
}

void TokenStoreWriter::finish() {
  if (compared_ < stored_.size()) put({});  // what is stored beyond the input's end is something else, too
  start_batch();
  while (!running_.empty()) write_oldest();
  const std::int64_t offset = file_.size();
  const std::size_t blocks = headers_.size() / BlockHeader::kBytes;
  if (blocks > std::numeric_limits<std::uint32_t>::max())
    throw base::Error("too many blocks for a token store: pack fewer sequences into one");
  file_.append(compressed({BlockKind::kIndex, static_cast<std::uint32_t>(blocks), std::move(headers_)}));
  file_.append(store_end(offset));
}

}  // namespace dnamamba::tokens
