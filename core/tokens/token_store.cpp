#include "core/tokens/token_store.h"

#include <algorithm>
#include <cstring>
#include <fstream>
#include <limits>
#include <stdexcept>
#include <utility>

#include "core/base/error.h"

namespace dnamamba::tokens {
namespace {

using base::concat;
using base::IoError;

constexpr std::string_view kRemedy = ": pack it again";

std::string text_of(const std::vector<std::byte>& bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

}  // namespace

struct TokenStore::DecodedFrame {
  struct Run {
    std::int64_t begin, end;
  };
  std::vector<std::byte> raw;  // the ids come first
  std::vector<Run> soft_masked;
};

bool is_token_store(const std::string& path) {
  std::error_code error;
  if (!std::filesystem::is_regular_file(path, error)) return false;
  std::array<char, kStoreHeadBytes> head;
  std::ifstream in(path, std::ios::binary);
  in.read(head.data(), head.size());
  return is_store_head(std::as_bytes(std::span(head).first(static_cast<std::size_t>(in.gcount()))), path);
}

TokenStore::TokenStore(std::string path, std::int64_t cached_frames)
    : path_(std::move(path)), file_(files::open_to_read(path_)), cache_(std::max<std::int64_t>(cached_frames, 1)) {
  std::int64_t offset = kStoreHeadBytes, tokens = 0;
  for (const BlockHeader& header : read_index()) {
    switch (header.kind) {
      case BlockKind::kAlphabet:
        if (alphabet_) fail(offset, "has two alphabets");
        alphabet_ = std::make_unique<Alphabet>(Alphabet::from_json(text_of(block_at(offset, header)), path_));
        break;
      case BlockKind::kTokens:
        if (header.count == 0 || header.raw_bytes < header.count) fail(offset, "has an impossible frame");
        frames_.push_back({tokens, offset, header});
        tokens += header.count;
        break;
      case BlockKind::kRecords:
        take_records(offset, header);
        break;
      case BlockKind::kSource:
        take_source(offset, header, tokens);
        break;
      default:
        fail(offset, "has a block of an unknown kind");
    }
    offset += header.bytes_in_file();
  }
  const bool all_in_sources = sources_.empty()
                                  ? sequences() == 0 && frames_.empty()
                                  : sources_.back().first_sequence + sources_.back().sequences == sequences();
  if (!alphabet_ || !all_in_sources || tokens != begins_.back()) fail(offset, "lacks blocks");
}

TokenStore::~TokenStore() = default;

void TokenStore::fail(std::int64_t offset, const std::string& what) const {
  throw IoError(concat(path_, ": the token store ", what, " (byte ", offset, ")", kRemedy));
}

std::vector<std::byte> TokenStore::block_at(std::int64_t offset, const BlockHeader& header) const {
  std::vector<std::byte> stored(header.stored_bytes);
  files::read_all_at(file_, offset + BlockHeader::kBytes, stored, path_);
  auto raw = decompressed(header, stored);
  if (!raw) fail(offset, "is damaged: a checksum is wrong");
  return std::move(*raw);
}

// The headers of all blocks, which fill the file between head and index.
std::vector<BlockHeader> TokenStore::read_index() const {
  const std::int64_t size = files::size_of(file_, path_);
  std::vector<std::byte> head(static_cast<std::size_t>(std::min(size, kStoreHeadBytes)));
  files::read_all_at(file_, 0, head, path_);
  if (!is_store_head(head, path_)) throw IoError(concat(path_, ": is no token store: make one with dnamamba pack"));
  std::array<std::byte, kStoreEndBytes> end{};
  if (size >= kStoreHeadBytes + kStoreEndBytes) files::read_all_at(file_, size - kStoreEndBytes, end, path_);
  const auto index = index_offset_in(end);
  if (!index || *index < kStoreHeadBytes || *index > size - kStoreEndBytes - BlockHeader::kBytes)
    fail(size, "is cut short: its end is not there");
  std::array<std::byte, BlockHeader::kBytes> bytes;
  files::read_all_at(file_, *index, bytes, path_);
  const auto header = header_from(bytes);
  if (!header || header->kind != BlockKind::kIndex || *index + header->bytes_in_file() != size - kStoreEndBytes)
    fail(*index, "has a damaged index");
  const std::vector<std::byte> raw = block_at(*index, *header);
  if (raw.size() != std::size_t{header->count} * bytes.size()) fail(*index, "has a damaged index");
  std::vector<BlockHeader> headers;
  std::int64_t offset = kStoreHeadBytes;
  for (std::size_t i = 0; i < raw.size(); i += bytes.size()) {
    const auto block = header_from(std::span(raw).subspan(i).first<BlockHeader::kBytes>());
    if (!block || *index - offset < block->bytes_in_file()) fail(*index, "has a damaged index");
    offset += block->bytes_in_file();
    headers.push_back(*block);
  }
  if (offset != *index) fail(*index, "has a damaged index");
  return headers;
}

void TokenStore::take_records(std::int64_t offset, const BlockHeader& header) {
  const std::vector<std::byte> raw = block_at(offset, header);
  RawReader reader(raw);
  for (std::uint32_t i = 0; i < header.count; ++i) {
    const auto length = reader.varint();
    const auto name_bytes = reader.varint();
    const auto name = name_bytes ? reader.text(*name_bytes) : std::nullopt;
    if (!length || !name || *length > std::numeric_limits<std::int64_t>::max() - begins_.back())
      fail(offset, "has a damaged list of records");
    begins_.push_back(begins_.back() + *length);
    names_ += *name;
    name_ends_.push_back(static_cast<std::int64_t>(names_.size()));
  }
  if (!reader.at_end()) fail(offset, "has a damaged list of records");
}

void TokenStore::take_source(std::int64_t offset, const BlockHeader& header, std::int64_t frames_end) {
  const std::int64_t first = sources_.empty() ? 0 : sources_.back().first_sequence + sources_.back().sequences;
  if (sequences() - first != header.count || begins_.back() != frames_end)
    fail(offset, "lacks blocks of a file that was packed");
  sources_.push_back({text_of(block_at(offset, header)), first, header.count});
}

std::string_view TokenStore::name(std::int64_t sequence) const {
  const std::int64_t begin = sequence == 0 ? 0 : name_ends_[sequence - 1];
  return std::string_view(names_).substr(begin, name_ends_[sequence] - begin);
}

void TokenStore::read(std::int64_t sequence, std::int64_t position, std::span<std::uint8_t> tokens,
                      std::span<std::uint8_t> soft_masked) const {
  const auto count = static_cast<std::int64_t>(tokens.size());
  if (sequence < 0 || sequence >= sequences() || position < 0 || count > length(sequence) - position ||
      (!soft_masked.empty() && soft_masked.size() != tokens.size()))
    throw std::invalid_argument(concat("TokenStore::read: sequence ", sequence, ", position ", position));
  std::fill(soft_masked.begin(), soft_masked.end(), std::uint8_t{0});
  if (count == 0) return;
  const std::int64_t first = begins_[sequence] + position, last = first + count;  // of the store's tokens
  const auto after = std::upper_bound(frames_.begin(), frames_.end(), first,
                                      [](std::int64_t token, const Frame& frame) { return token < frame.begin; });
  for (std::int64_t i = after - frames_.begin() - 1, at = first; at < last; ++i) {
    const std::shared_ptr<const DecodedFrame> content = frame(i);
    const std::int64_t begin = frames_[i].begin, end = std::min(begin + frames_[i].header.count, last);
    std::memcpy(tokens.data() + (at - first), content->raw.data() + (at - begin), static_cast<std::size_t>(end - at));
    if (!soft_masked.empty())
      for (const DecodedFrame::Run& run : content->soft_masked) {
        const std::int64_t from = std::max(begin + run.begin, at), to = std::min(begin + run.end, end);
        if (from < to) std::memset(soft_masked.data() + (from - first), 1, static_cast<std::size_t>(to - from));
      }
    at = end;
  }
}

std::shared_ptr<const TokenStore::DecodedFrame> TokenStore::frame(std::int64_t index) const {
  CacheSlot& slot = cache_[index % static_cast<std::int64_t>(cache_.size())];
  {
    const std::lock_guard lock(mutex_);
    if (slot.frame == index) return slot.content;
  }
  auto content = decode(frames_[index]);  // not under the lock: threads decode side by side
  const std::lock_guard lock(mutex_);
  slot = {index, content};
  return content;
}

std::shared_ptr<const TokenStore::DecodedFrame> TokenStore::decode(const Frame& frame) const {
  auto content = std::make_shared<DecodedFrame>();
  content->raw = block_at(frame.offset, frame.header);
  std::byte largest{};  // a loop that vectorises; std::max_element takes as long as the decoding
  for (const std::byte id : std::span(content->raw).first(frame.header.count)) largest = std::max(largest, id);
  if (std::to_integer<int>(largest) >= alphabet_->vocabulary()) fail(frame.offset, "has ids that its alphabet has not");
  RawReader runs(std::span(content->raw).subspan(frame.header.count));
  for (std::int64_t end = 0; !runs.at_end();) {
    const auto gap = runs.varint(), length = runs.varint();
    const std::int64_t left = frame.header.count - end;
    if (!gap || !length || *gap > left || *length > left - *gap) fail(frame.offset, "has a damaged soft-mask");
    content->soft_masked.push_back({end + *gap, end + *gap + *length});
    end = content->soft_masked.back().end;
  }
  return content;
}

}  // namespace dnamamba::tokens
