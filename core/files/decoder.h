// What ByteSource is made of: one decoder for each compression, over the stored bytes.
#pragma once
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>

#include "core/files/byte_source.h"
#include "core/files/raw_input.h"

namespace dnamamba::files {

class Decoder {
 public:
  virtual ~Decoder() = default;
  /// Up to `capacity` (at least 1) decompressed bytes into `out`. 0 only at the true end.
  /// @throws IoError if the input is cut short, is damaged or has something else behind its end.
  virtual std::size_t read(char* out, std::size_t capacity) = 0;
};

/// How `input` is compressed, by its first bytes. @throws IoError if that is not read here.
Compression compression_of(RawInput& input);

// Each reads `input` from where it stands; `input` must outlive the decoder.
std::unique_ptr<Decoder> make_plain_decoder(RawInput& input);
std::unique_ptr<Decoder> make_gzip_decoder(RawInput& input);
/// `threads` inflate blocks ahead of the caller; with 0 the caller does it.
std::unique_ptr<Decoder> make_bgzf_decoder(RawInput& input, int threads);
std::unique_ptr<Decoder> make_zstd_decoder(RawInput& input);
/// The one of these for `compression`; `threads` for BGZF.
std::unique_ptr<Decoder> make_decoder(Compression compression, RawInput& input, int threads);

/// @throws IoError: `input`, which has nothing behind its window, ends `what` ("inside a gzip member").
[[noreturn]] void throw_cut_short(RawInput& input, std::string_view what);
/// @throws IoError: `name` is damaged at byte `offset` of the stored bytes.
[[noreturn]] void throw_damaged(std::string_view name, std::int64_t offset, std::string_view reason);

}  // namespace dnamamba::files
