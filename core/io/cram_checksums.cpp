#include "core/io/cram_checksums.h"

#include <zlib.h>

#include <algorithm>
#include <string>

#include "core/base/error.h"

namespace dnamamba::io {
namespace {

using base::concat;

constexpr std::size_t kDefinition = 26;  // bytes: "CRAM", the version, a name
constexpr std::size_t kMostHeld = 65'536;
constexpr std::int64_t kEndMarkerStart = 0x454f46;  // "EOF", where the first position of a container's reads stands
constexpr std::string_view kEnd2(
    "\x0b\0\0\0\xff\xff\xff\xff\x0f\xe0\x45\x4f\x46\0\0\0\0\x01\0\0\x01\0\x06\x06\x01\0\x01\0\x01\0", 30);
constexpr std::string_view kEnd3(
    "\x0f\0\0\0\xff\xff\xff\xff\x0f\xe0\x45\x4f\x46\0\0\0\0\x01\0\x05\xbd\xd9\x4f\0\x01\0\x06\x06\x01\0\x01\0\x01\0"
    "\xee\x63\x01\x4b",
    38);

class Walk {
 public:
  Walk(files::RawInput& input, const std::function<bool(std::string_view)>& send) : input_(input), send_(send) {}

  void all() {
    definition();
    while (!ended_ && wanted_) container();
    if (wanted_ && !input_.peek(1).empty())
      fail(input_.offset(), "the file goes on behind its end marker: fetch or write it again");
  }

  void selected(const std::vector<std::int64_t>& containers) {
    definition();
    container();
    for (const std::int64_t offset : containers) {
      if (!wanted_) return;
      input_.seek(offset);
      container();
      if (ended_) fail(offset, "the index has reads where the file ends: make it again with `samtools index`");
    }
    held_ += checked_ ? kEnd3 : kEnd2;
    flush();
  }

 private:
  void definition() {
    const std::string_view head = input_.peek(kDefinition);
    if (head.size() < kDefinition) cut_short();
    const int major = static_cast<unsigned char>(head[4]), minor = static_cast<unsigned char>(head[5]);
    checked_ = major == 3;
    if (!(major == 3 && minor <= 1) && !(major == 2 && minor == 1))
      fail(4, concat("CRAM ", major, ".", minor,
                     " is not read here (2.1, 3.0 and 3.1 are): write it again with `samtools view -C`, or the file is "
                     "damaged"));
    take(kDefinition);
  }

  void container() {
    const std::int64_t begin = input_.offset();
    if (input_.peek(1).empty())
      fail(begin, "ends without its end marker: the file is cut short: fetch or write it again");
    crc_ = 0;
    const std::int64_t length = fixed32();
    const std::int64_t reference = itf8(), start = itf8();
    itf8();  // bases of the reference that are covered
    const std::int64_t reads = itf8();
    if (checked_) ltf8();
    if (!checked_) itf8();  // reads before this container
    ltf8();                 // bases
    const std::int64_t blocks = itf8();
    for (std::int64_t landmarks = itf8(); landmarks > 0; --landmarks) itf8();
    checksum("a container's header", begin);
    if (length < 0 || blocks < 0) fail(begin, "a container of negative size: the file is damaged: fetch it again");
    end_ = input_.offset() + length;
    for (std::int64_t i = 0; i < blocks && wanted_; ++i) block();
    while (wanted_ && input_.offset() < end_) take(static_cast<std::size_t>(std::min(end_ - input_.offset(), kPiece)));
    ended_ = reference == -1 && start == kEndMarkerStart && reads == 0;
    flush();
  }

  void block() {
    const std::int64_t begin = input_.offset();
    crc_ = 0;
    take(2);  // method and kind
    itf8();   // number
    std::int64_t stored = itf8();
    itf8();  // bytes uncompressed
    // What htslib writes as CRAM 2.1 has a header that is a little longer than it says.
    if (stored < 0 || (checked_ && stored > end_ - input_.offset()))
      fail(begin, "a block that is longer than its container: the file is damaged: fetch it again");
    for (; stored > 0 && wanted_; stored -= std::min(stored, kPiece))
      take(static_cast<std::size_t>(std::min(stored, kPiece)));
    if (wanted_) checksum("a block", begin);
  }

  /// Gives on what is next, having added it to the checksum.
  std::string_view take(std::size_t count) {
    const std::string_view bytes = input_.peek(count).substr(0, count);
    if (bytes.size() < count) cut_short();
    crc_ = static_cast<std::uint32_t>(crc32_z(crc_, reinterpret_cast<const Bytef*>(bytes.data()), count));
    if (held_.size() + count > kMostHeld) flush();
    held_ += bytes;
    input_.consume(count);
    return std::string_view(held_).substr(held_.size() - count);
  }

  void flush() {
    wanted_ = wanted_ && send_(held_);
    held_.clear();
  }

  void checksum(const char* what, std::int64_t begin) {
    if (!checked_) return;
    const std::uint32_t computed = crc_;
    if (static_cast<std::uint32_t>(fixed32()) != computed)
      fail(begin, concat(what, " has a wrong checksum: the file is damaged: fetch it again"));
  }

  std::int64_t fixed32() {
    const std::string_view bytes = take(4);
    std::uint32_t value = 0;
    for (int i = 3; i >= 0; --i) value = value << 8 | static_cast<unsigned char>(bytes[i]);
    return static_cast<std::int32_t>(value);
  }

  std::uint32_t byte() { return static_cast<unsigned char>(take(1)[0]); }

  /// 32 bits in 1 to 5 bytes: the leading ones of the first say how many follow.
  std::int64_t itf8() {
    const std::uint32_t first = byte();
    if (first < 0x80) return first;
    if (first < 0xc0) return (first & 0x3f) << 8 | byte();
    std::uint32_t value = first & (first < 0xe0 ? 0x1f : 0x0f);
    const int more = first < 0xe0 ? 2 : 3;
    for (int i = 0; i < more; ++i) value = value << 8 | byte();
    if (first >= 0xf0) value = value << 4 | (byte() & 0x0f);
    return static_cast<std::int32_t>(value);
  }

  /// 64 bits in 1 to 9 bytes; what they are is not asked for.
  void ltf8() {
    for (std::uint32_t first = byte(); (first & 0x80) != 0; first <<= 1) byte();
  }

  [[noreturn]] void cut_short() {
    const std::int64_t end = input_.offset() + static_cast<std::int64_t>(input_.peek(0).size());
    fail(end, "the file is cut short inside of a container: fetch or write it again");
  }
  [[noreturn]] void fail(std::int64_t offset, std::string_view what) {
    throw base::IoError(concat(input_.name(), ": at byte ", offset, ": ", what));
  }

  static constexpr std::int64_t kPiece = kMostHeld;

  files::RawInput& input_;
  const std::function<bool(std::string_view)>& send_;
  bool checked_ = true;   // this version has checksums
  bool wanted_ = true;    // somebody still reads
  bool ended_ = false;    // the last container was the end marker
  std::int64_t end_ = 0;  // of the container
  std::uint32_t crc_ = 0;
  std::string held_;  // to be sent
};

}  // namespace

void copy_checked_cram(files::RawInput& input, const std::function<bool(std::string_view)>& send,
                       const std::optional<std::vector<std::int64_t>>& containers) {
  Walk walk(input, send);
  containers ? walk.selected(*containers) : walk.all();
}

}  // namespace dnamamba::io
