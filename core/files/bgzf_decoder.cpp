// BGZF: gzip members of at most 64 KiB that say how long they are, so that threads can inflate them side by side.
// An empty one marks the end of the file: without it the file was cut, and that is seen on a pipe too.
#include <libdeflate.h>

#include <cstring>
#include <deque>
#include <exception>
#include <future>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "core/base/bounded_queue.h"
#include "core/files/decoder.h"

namespace dnamamba::files {
namespace {

constexpr std::size_t kHeader = 12;        // bytes of a gzip header before its extra field
constexpr std::size_t kTrailer = 8;        // CRC and length
constexpr std::size_t kMostBytes = 65536;  // that a block holds, compressed or not

std::uint32_t little_endian(const char* at, int bytes) {
  std::uint32_t value = 0;
  for (int i = 0; i < bytes; ++i) value |= static_cast<std::uint32_t>(static_cast<unsigned char>(at[i])) << (8 * i);
  return value;
}

struct Block {
  std::int64_t offset = 0;  // of its first byte in the file
  std::string deflated;
  std::uint32_t crc = 0;
  std::uint32_t length = 0;  // inflated, in bytes
};

/// The next block as it is stored; a length of 0 can be the end marker.
class BlockReader {
 public:
  explicit BlockReader(RawInput& input) : input_(input) {}

  const std::string& name() const { return input_.name(); }

  /// False at the true end, after an end marker.
  bool next(Block& block) {
    if (input_.peek(1).empty()) {
      if (!marked_end_) throw_cut_short(input_, "before the BGZF end marker");
      return false;
    }
    const std::size_t extra = extra_length();
    const std::size_t size = block_size(extra);
    const std::string_view whole = input_.peek(size);
    if (whole.size() < size) throw_cut_short(input_, "inside a BGZF block");
    block.offset = input_.offset();
    block.deflated.assign(whole.substr(kHeader + extra, size - kHeader - extra - kTrailer));
    block.crc = little_endian(whole.data() + size - 8, 4);
    block.length = little_endian(whole.data() + size - 4, 4);
    if (block.length > kMostBytes) throw_damaged(name(), block.offset, "a BGZF block of more than 65536 bytes");
    marked_end_ = block.length == 0;
    input_.consume(size);
    return true;
  }

 private:
  std::size_t extra_length() {
    const std::string_view head = input_.peek(kHeader);
    static constexpr std::string_view kMagic("\x1f\x8b\x08\x04", 4);
    if (head.substr(0, 4) != kMagic.substr(0, head.size()))
      throw_damaged(name(), input_.offset(), "what follows a BGZF block is not BGZF");
    if (head.size() < kHeader) throw_cut_short(input_, "inside a BGZF block");
    return little_endian(head.data() + 10, 2);
  }

  /// Of the whole block, from its subfield "BC".
  std::size_t block_size(std::size_t extra) {
    const std::string_view head = input_.peek(kHeader + extra);
    if (head.size() < kHeader + extra) throw_cut_short(input_, "inside a BGZF block");
    for (std::size_t at = kHeader; at + 4 <= kHeader + extra;) {
      const std::size_t length = little_endian(head.data() + at + 2, 2);
      if (head[at] == 'B' && head[at + 1] == 'C' && length == 2 && at + 6 <= kHeader + extra) {
        const std::size_t size = little_endian(head.data() + at + 4, 2) + std::size_t{1};
        if (size < kHeader + extra + kTrailer) break;
        return size;
      }
      at += 4 + length;
    }
    throw_damaged(name(), input_.offset(), "a gzip member that is not a BGZF block");
  }

  RawInput& input_;
  bool marked_end_ = false;
};

using Inflater = std::unique_ptr<libdeflate_decompressor, void (*)(libdeflate_decompressor*)>;

Inflater make_inflater() {
  Inflater inflater(libdeflate_alloc_decompressor(), libdeflate_free_decompressor);
  if (inflater == nullptr) throw std::bad_alloc();
  return inflater;
}

/// By libdeflate, which takes half of zlib's time for blocks that are whole in memory.
std::string inflate_block(const Inflater& inflater, const Block& block, const std::string& name) {
  std::string bytes(block.length, '\0');
  std::size_t taken = 0;
  const auto result = libdeflate_deflate_decompress_ex(inflater.get(), block.deflated.data(), block.deflated.size(),
                                                       bytes.data(), bytes.size(), &taken, nullptr);
  if (result != LIBDEFLATE_SUCCESS || taken != block.deflated.size())
    throw_damaged(name, block.offset, "a BGZF block that does not inflate to its length");
  if (libdeflate_crc32(0, bytes.data(), bytes.size()) != block.crc)
    throw_damaged(name, block.offset, "a BGZF block with a wrong CRC");
  return bytes;
}

/// Blocks inflated by threads, handed out in file order. Errors wait for their turn too.
class InflatingThreads {
 public:
  InflatingThreads(BlockReader& blocks, int threads)
      : blocks_(blocks), most_ahead_(kBlocksAhead * static_cast<std::size_t>(threads)), jobs_(most_ahead_) {
    for (int i = 0; i < threads; ++i) threads_.emplace_back([this] { work(); });
  }
  ~InflatingThreads() { jobs_.close(); }  // the threads finish what is queued and are joined by their destructors

  /// False at the true end.
  bool next(std::string& bytes) {
    while (!ended_ && ahead_.size() < most_ahead_) read_ahead();
    if (ahead_.empty()) return false;
    std::future<std::string> first = std::move(ahead_.front());
    ahead_.pop_front();
    bytes = first.get();
    return true;
  }

 private:
  static constexpr std::size_t kBlocksAhead = 8;  // for each thread: half a megabyte

  struct Job {
    Block block;
    std::promise<std::string> bytes;
  };

  void read_ahead() {
    Job job;
    try {
      if (!blocks_.next(job.block)) {
        ended_ = true;
        return;
      }
    } catch (...) {
      ended_ = true;
      job.bytes.set_exception(std::current_exception());
      ahead_.push_back(job.bytes.get_future());
      return;
    }
    ahead_.push_back(job.bytes.get_future());
    static_cast<void>(jobs_.push(std::move(job)));  // closed only by the destructor
  }

  void work() {
    const Inflater inflater = make_inflater();
    while (std::optional<Job> job = jobs_.pop()) {
      try {
        job->bytes.set_value(inflate_block(inflater, job->block, blocks_.name()));
      } catch (...) {
        job->bytes.set_exception(std::current_exception());
      }
    }
  }

  BlockReader& blocks_;
  const std::size_t most_ahead_;
  base::BoundedQueue<Job> jobs_;
  std::deque<std::future<std::string>> ahead_;
  bool ended_ = false;
  std::vector<std::jthread> threads_;  // last: they use what is above
};

class BgzfDecoder : public Decoder {
 public:
  BgzfDecoder(RawInput& input, int threads) : blocks_(input) {
    if (threads > 0) threads_ = std::make_unique<InflatingThreads>(blocks_, threads);
  }

  std::size_t read(char* out, std::size_t capacity) override {
    while (taken_ == bytes_.size()) {
      taken_ = 0;
      if (!next_bytes()) return 0;
    }
    const std::size_t count = std::min(capacity, bytes_.size() - taken_);
    std::memcpy(out, bytes_.data() + taken_, count);
    taken_ += count;
    return count;
  }

 private:
  bool next_bytes() {
    bytes_.clear();
    if (threads_) return threads_->next(bytes_);
    if (!blocks_.next(block_)) return false;
    bytes_ = inflate_block(inflater_, block_, blocks_.name());
    return true;
  }

  BlockReader blocks_;
  Inflater inflater_ = make_inflater();
  Block block_;
  std::string bytes_;  // of the block being handed out, of which `taken_` are gone
  std::size_t taken_ = 0;
  std::unique_ptr<InflatingThreads> threads_;
};

}  // namespace

std::unique_ptr<Decoder> make_bgzf_decoder(RawInput& input, int threads) {
  return std::make_unique<BgzfDecoder>(input, threads);
}

}  // namespace dnamamba::files
