#include "core/files/byte_source.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <exception>
#include <utility>

#include "core/base/error.h"
#include "core/files/decoder.h"
#include "core/files/raw_input.h"

namespace dnamamba::files {
namespace {

constexpr std::string_view kGzipMagic("\x1f\x8b", 2);
constexpr std::string_view kZstdMagic("\x28\xb5\x2f\xfd", 4);
constexpr std::string_view kZstdSkippableMagic("\x2a\x4d\x18", 3);  // after a byte 0x50 to 0x5f

/// True also where `head` is all there is and ends within the magic: such a file was cut, it is not plain. (A plain
/// file that is one bracket, zstd's first byte, is refused too: better than a cut file that passes for whole.)
bool begins_with(std::string_view head, std::string_view magic) {
  const std::size_t length = std::min(head.size(), magic.size());
  return length > 0 && head.substr(0, length) == magic.substr(0, length);
}

bool is_bgzf(std::string_view head) {
  return head.size() >= 18 && head.substr(0, 4) == std::string_view("\x1f\x8b\x08\x04", 4) &&
         head.substr(12, 2) == "BC";
}

void refuse_other_compressions(std::string_view head, const std::string& name) {
  struct Other {
    std::string_view magic, format, remedy;
  };
  static constexpr std::array<Other, 3> kOthers{{{"BZh", "bzip2", "bzip2 -dc"},
                                                 {std::string_view("\xfd\x37zXZ", 5), "xz", "xz -dc"},
                                                 {std::string_view("PK\x03\x04", 4), "zip", "unzip -p"}}};
  for (const Other& other : kOthers)
    if (head.starts_with(other.magic))
      throw base::IoError(base::concat(name, ": ", other.format,
                                       " is not read here (gzip, bgzf and zstd are): pipe it in with `", other.remedy,
                                       "` and read from -"));
}

class PlainDecoder : public Decoder {
 public:
  explicit PlainDecoder(RawInput& input) : input_(input) {}

  std::size_t read(char* out, std::size_t capacity) override {
    const std::string_view piece = input_.peek(1);
    const std::size_t count = std::min(capacity, piece.size());
    std::memcpy(out, piece.data(), count);
    input_.consume(count);
    return count;
  }

 private:
  RawInput& input_;
};

constexpr std::string_view kFetchAgain = ": the file is cut short or damaged: fetch or compress it again";

}  // namespace

Compression compression_of(RawInput& input) {
  const std::string_view head = input.peek(18);
  refuse_other_compressions(head, input.name());
  if (is_bgzf(head)) return Compression::kBgzf;
  if (begins_with(head, kGzipMagic)) return Compression::kGzip;
  if (begins_with(head, kZstdMagic)) return Compression::kZstd;
  if (head.size() >= 4 && (head[0] & 0xf0) == 0x50 && head.substr(1, 3) == kZstdSkippableMagic)
    return Compression::kZstd;
  return Compression::kNone;
}

std::unique_ptr<Decoder> make_plain_decoder(RawInput& input) {
  return std::make_unique<PlainDecoder>(input);
}

std::unique_ptr<Decoder> make_decoder(Compression compression, RawInput& input, int threads) {
  switch (compression) {
    case Compression::kNone:
      break;
    case Compression::kGzip:
      return make_gzip_decoder(input);
    case Compression::kBgzf:
      return make_bgzf_decoder(input, threads);
    case Compression::kZstd:
      return make_zstd_decoder(input);
  }
  return make_plain_decoder(input);
}

void throw_cut_short(RawInput& input, std::string_view what) {
  const std::int64_t end = input.offset() + static_cast<std::int64_t>(input.peek(0).size());
  throw base::IoError(base::concat(input.name(), ": ends at byte ", end, ", ", what, kFetchAgain));
}

void throw_damaged(std::string_view name, std::int64_t offset, std::string_view reason) {
  throw base::IoError(base::concat(name, ": can't be decompressed at byte ", offset, " (", reason, ")", kFetchAgain));
}

std::string_view compression_name(Compression compression) {
  switch (compression) {
    case Compression::kNone:
      return "plain";
    case Compression::kGzip:
      return "gzip";
    case Compression::kBgzf:
      return "bgzf";
    case Compression::kZstd:
      return "zstd";
  }
  return "";
}

struct ByteSource::Impl {
  Impl(std::unique_ptr<RawInput> raw, int threads)
      : input(std::move(raw)), kind(compression_of(*input)), decoder(make_decoder(kind, *input, threads)) {}

  std::unique_ptr<RawInput> input;
  Compression kind;
  std::unique_ptr<Decoder> decoder;
  std::exception_ptr failure;
};

ByteSource::ByteSource(const std::string& path, int decompression_threads)
    : ByteSource(std::make_unique<RawInput>(path), decompression_threads) {}
ByteSource::ByteSource(std::unique_ptr<RawInput> input, int decompression_threads)
    : impl_(std::make_unique<Impl>(std::move(input), decompression_threads)) {}
ByteSource::~ByteSource() = default;
ByteSource::ByteSource(ByteSource&&) noexcept = default;
ByteSource& ByteSource::operator=(ByteSource&&) noexcept = default;

std::size_t ByteSource::read(char* out, std::size_t capacity) {
  if (impl_->failure) std::rethrow_exception(impl_->failure);  // a damaged file must never pass for a short one
  try {
    return impl_->decoder->read(out, capacity);
  } catch (...) {
    impl_->failure = std::current_exception();
    throw;
  }
}

const std::string& ByteSource::name() const {
  return impl_->input->name();
}
Compression ByteSource::kind() const {
  return impl_->kind;
}
std::int64_t ByteSource::compressed_offset() const {
  return impl_->input->offset();
}
std::optional<std::int64_t> ByteSource::compressed_size() const {
  return impl_->input->size();
}

}  // namespace dnamamba::files
