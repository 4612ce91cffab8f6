// zlib's z_stream with an owner.
#pragma once
#include <zlib.h>

#include <new>

namespace dnamamba::files {

class InflateStream {
 public:
  static constexpr int kGzip = 15 + 16;  ///< with gzip's header, CRC and length, which zlib checks
  static constexpr int kRaw = -15;       ///< deflated bytes alone

  explicit InflateStream(int window_bits) {
    if (inflateInit2(&stream_, window_bits) != Z_OK) throw std::bad_alloc();
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

}  // namespace dnamamba::files
