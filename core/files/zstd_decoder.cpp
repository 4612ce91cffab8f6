// Zstandard: one or more frames, one after the other, of any window (`zstd --long=31` included).
#include <zstd.h>
#include <zstd_errors.h>

#include <memory>
#include <new>

#include "core/files/decoder.h"

namespace dnamamba::files {
namespace {

constexpr int kLargestWindowLog = 31;  // the memory is what the frame asks for: 2 GiB at most, 8 MiB as a rule

struct FreeStream {
  void operator()(ZSTD_DCtx* stream) const { ZSTD_freeDCtx(stream); }
};

class ZstdDecoder : public Decoder {
 public:
  explicit ZstdDecoder(RawInput& input) : input_(input), stream_(ZSTD_createDCtx()) {
    if (!stream_ || ZSTD_isError(ZSTD_DCtx_setParameter(stream_.get(), ZSTD_d_windowLogMax, kLargestWindowLog)))
      throw std::bad_alloc();
  }

  std::size_t read(char* out, std::size_t capacity) override {
    ZSTD_outBuffer output{out, capacity, 0};
    while (output.pos == 0) {
      const std::string_view piece = input_.peek(1);
      if (piece.empty() && !in_frame_) return 0;
      ZSTD_inBuffer stored{piece.data(), piece.size(), 0};
      const std::size_t result = ZSTD_decompressStream(stream_.get(), &output, &stored);
      input_.consume(stored.pos);
      if (ZSTD_isError(result)) fail(result);
      in_frame_ = result != 0;
      if (piece.empty() && output.pos == 0 && in_frame_) throw_cut_short(input_, "inside a zstd frame");
    }
    return output.pos;
  }

 private:
  [[noreturn]] void fail(std::size_t result) const {
    if (ZSTD_getErrorCode(result) == ZSTD_error_memory_allocation) throw std::bad_alloc();
    throw_damaged(input_.name(), input_.offset(), ZSTD_getErrorName(result));
  }

  RawInput& input_;
  std::unique_ptr<ZSTD_DCtx, FreeStream> stream_;
  bool in_frame_ = false;  // a frame has begun and is not all handed out
};

}  // namespace

std::unique_ptr<Decoder> make_zstd_decoder(RawInput& input) {
  return std::make_unique<ZstdDecoder>(input);
}

}  // namespace dnamamba::files
