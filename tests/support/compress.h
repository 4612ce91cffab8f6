// Small texts compressed in memory, in every way that the readers know. Link ZLIB::ZLIB and PkgConfig::ZSTD.
#pragma once
#include <zlib.h>
#include <zstd.h>

#include <algorithm>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <string_view>

namespace dnamamba::test {

/// Deflates in one go; `window_bits` as zlib's.
inline std::string deflated(std::string_view text, int window_bits) {
  z_stream stream{};
  if (deflateInit2(&stream, 6, Z_DEFLATED, window_bits, 8, Z_DEFAULT_STRATEGY) != Z_OK)
    throw std::runtime_error("deflateInit2");
  std::string out(deflateBound(&stream, static_cast<uLong>(text.size())) + 64, '\0');
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(text.data()));
  stream.avail_in = static_cast<uInt>(text.size());
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  stream.avail_out = static_cast<uInt>(out.size());
  const int result = deflate(&stream, Z_FINISH);
  out.resize(stream.total_out);
  deflateEnd(&stream);
  if (result != Z_STREAM_END) throw std::runtime_error("deflate");
  return out;
}

/// One gzip member.
inline std::string gzipped(std::string_view text) {
  return deflated(text, 15 + 16);
}

inline std::string little_endian_bytes(std::uint32_t value, int count) {
  std::string bytes;
  for (int i = 0; i < count; ++i) bytes += static_cast<char>((value >> (8 * i)) & 0xff);
  return bytes;
}

/// One BGZF block of at most 64 kB; that of an empty text is the end marker.
inline std::string bgzf_block(std::string_view text) {
  const std::string body = deflated(text, -15);
  const std::uint32_t crc =
      static_cast<std::uint32_t>(crc32(0, reinterpret_cast<const Bytef*>(text.data()), static_cast<uInt>(text.size())));
  return std::string("\x1f\x8b\x08\x04\0\0\0\0\0\xff\x06\0BC\x02\0", 16) +
         little_endian_bytes(static_cast<std::uint32_t>(body.size()) + 25, 2) + body + little_endian_bytes(crc, 4) +
         little_endian_bytes(static_cast<std::uint32_t>(text.size()), 4);
}

/// Blocks of `block_length` bytes of text, and the end marker.
inline std::string bgzipped(std::string_view text, std::size_t block_length = 60'000) {
  std::string out;
  for (std::size_t at = 0; at < text.size(); at += block_length) out += bgzf_block(text.substr(at, block_length));
  return out + bgzf_block("");
}

/// One zstd frame with a checksum. A `window_log` above 0 is kept even if the text is smaller.
inline std::string zstd_frame(std::string_view text, int window_log = 0) {
  ZSTD_CCtx* context = ZSTD_createCCtx();
  ZSTD_CCtx_setParameter(context, ZSTD_c_checksumFlag, 1);
  if (window_log > 0) ZSTD_CCtx_setParameter(context, ZSTD_c_windowLog, window_log);
  std::string out(ZSTD_compressBound(text.size()) + 64, '\0');
  ZSTD_inBuffer input{text.data(), text.size(), 0};
  ZSTD_outBuffer output{out.data(), out.size(), 0};
  std::size_t left = 1;
  // A first call that does not end the frame keeps zstd from knowing the size, and from a smaller window.
  if (window_log > 0) left = ZSTD_compressStream2(context, &output, &input, ZSTD_e_continue);
  left = ZSTD_compressStream2(context, &output, &input, ZSTD_e_end);
  ZSTD_freeCCtx(context);
  if (left != 0) throw std::runtime_error("ZSTD_compressStream2");
  out.resize(output.pos);
  return out;
}

}  // namespace dnamamba::test
