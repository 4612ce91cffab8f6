// gzip: one or more members, one after the other. zlib checks each one's CRC and length.
#include <zlib.h>

#include <new>

#include "core/files/decoder.h"

namespace dnamamba::files {
namespace {

/// z_stream with an owner.
class InflateStream {
 public:
  InflateStream() {
    constexpr int kGzip = 15 + 16;  // with gzip's header, CRC and length, which zlib checks
    if (inflateInit2(&stream_, kGzip) != Z_OK) throw std::bad_alloc();
  }
  ~InflateStream() { inflateEnd(&stream_); }
  InflateStream(const InflateStream&) = delete;
  InflateStream& operator=(const InflateStream&) = delete;

  void reset() { inflateReset(&stream_); }
  z_stream* operator->() { return &stream_; }
  z_stream* get() { return &stream_; }

 private:
  z_stream stream_{};
};

class GzipDecoder : public Decoder {
 public:
  explicit GzipDecoder(RawInput& input) : input_(input) {}

  std::size_t read(char* out, std::size_t capacity) override {
    while (true) {
      if (!in_member_ && !start_member()) return 0;
      if (const std::size_t count = inflate_some(out, capacity); count > 0) return count;
    }
  }

 private:
  /// False at the end of the input.
  bool start_member() {
    const std::string_view head = input_.peek(2);
    if (head.empty()) return false;
    if (head[0] != '\x1f' || (head.size() > 1 && head[1] != '\x8b'))
      throw_damaged(input_.name(), input_.offset(), "what follows a gzip member is not gzip");
    stream_.reset();
    in_member_ = true;
    return true;
  }

  std::size_t inflate_some(char* out, std::size_t capacity) {
    // A member's last bytes are its CRC and length, so a whole member never leaves output behind without input.
    const std::string_view piece = input_.peek(1);
    if (piece.empty()) throw_cut_short(input_, "inside a gzip member");
    const uInt room = static_cast<uInt>(capacity < kMostAtOnce ? capacity : kMostAtOnce);
    stream_->next_in = reinterpret_cast<Bytef*>(const_cast<char*>(piece.data()));
    stream_->avail_in = static_cast<uInt>(piece.size());
    stream_->next_out = reinterpret_cast<Bytef*>(out);
    stream_->avail_out = room;
    const int result = inflate(stream_.get(), Z_NO_FLUSH);
    input_.consume(piece.size() - stream_->avail_in);
    if (result == Z_MEM_ERROR) throw std::bad_alloc();
    if (result != Z_OK && result != Z_STREAM_END)
      throw_damaged(input_.name(), input_.offset(), stream_->msg != nullptr ? stream_->msg : "not a gzip stream");
    if (result == Z_STREAM_END) in_member_ = false;
    return room - stream_->avail_out;
  }

  static constexpr std::size_t kMostAtOnce = std::size_t{1} << 30;  // zlib counts in 32 bits

  RawInput& input_;
  InflateStream stream_;
  bool in_member_ = false;
};

}  // namespace

std::unique_ptr<Decoder> make_gzip_decoder(RawInput& input) {
  return std::make_unique<GzipDecoder>(input);
}

}  // namespace dnamamba::files
