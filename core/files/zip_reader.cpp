#include "core/files/zip_reader.h"

#include <zlib.h>

#include <cstring>

#include "core/base/error.h"

namespace dnamamba::files {
namespace {

using base::concat;
using base::IoError;

// Sizes and signatures of APPNOTE.TXT, the format's definition.
constexpr std::size_t kEndBytes = 22;
constexpr std::size_t kLocatorBytes = 20;
constexpr std::size_t kEnd64Bytes = 56;
constexpr std::size_t kMemberBytes = 46;
constexpr std::size_t kLocalBytes = 30;
constexpr std::uint32_t kEnd = 0x06054b50;
constexpr std::uint32_t kLocator = 0x07064b50;
constexpr std::uint32_t kEnd64 = 0x06064b50;
constexpr std::uint32_t kMember = 0x02014b50;
constexpr std::uint32_t kLocal = 0x04034b50;
constexpr std::uint16_t kEncrypted = 1;
constexpr std::uint16_t kZip64Field = 1;
constexpr std::uint64_t kElsewhere = 0xffffffffu;  // the value is in the zip64 field

template <typename T>
T field(std::span<const std::byte> bytes, std::size_t offset) {
  T value;
  std::memcpy(&value, bytes.subspan(offset, sizeof(T)).data(), sizeof(T));
  return value;
}

std::string text_of(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

// Takes 64-bit values out of the zip64 field, for those of `values` that are there and not in place. False if it is
// short.
bool take_zip64(std::span<const std::byte> extra, std::span<std::uint64_t* const> values) {
  while (extra.size() >= 4) {
    const auto id = field<std::uint16_t>(extra, 0);
    const std::size_t size = field<std::uint16_t>(extra, 2);
    if (size > extra.size() - 4) return false;
    std::span<const std::byte> content = extra.subspan(4, size);
    extra = extra.subspan(4 + size);
    if (id != kZip64Field) continue;
    for (std::uint64_t* value : values) {
      if (*value != kElsewhere) continue;
      if (content.size() < 8) return false;
      *value = field<std::uint64_t>(content, 0);
      content = content.subspan(8);
    }
    return true;
  }
  return true;
}

}  // namespace

ZipReader::ZipReader(const std::filesystem::path& path) : file_(path.string()), descriptor_(open_to_read(path)) {
  file_size_ = size_of(descriptor_, file_);
  bytes_left_ = file_size_;
  const Directory directory = find_directory();
  const auto bytes = bytes_at(directory.offset, directory.size);
  std::span<const std::byte> rest = bytes;
  std::uint64_t count = 0;
  for (; !rest.empty(); ++count) {
    const std::size_t position = bytes.size() - rest.size();
    if (rest.size() < kMemberBytes || field<std::uint32_t>(rest, 0) != kMember)
      throw IoError(concat(file_, ": damaged list of members at offset ", directory.offset + position));
    const std::size_t name = field<std::uint16_t>(rest, 28);
    const std::size_t extra = field<std::uint16_t>(rest, 30);
    const std::size_t whole = kMemberBytes + name + extra + field<std::uint16_t>(rest, 32);
    if (whole > rest.size())
      throw IoError(concat(file_, ": damaged list of members at offset ", directory.offset + position));
    add_member(rest.first(kMemberBytes), text_of(rest.subspan(kMemberBytes, name)),
               rest.subspan(kMemberBytes + name, extra));
    rest = rest.subspan(whole);
  }
  if (count != directory.count)
    throw IoError(concat(file_, ": lists ", count, " members, expected ", directory.count, ": damaged"));
}

ZipReader::Directory ZipReader::find_directory() const {
  const auto size = static_cast<std::uint64_t>(file_size_);
  Directory directory;
  if (size < kEndBytes) throw IoError(concat(file_, ": not a zip archive, or truncated"));
  const auto end = bytes_at(size - kEndBytes, kEndBytes);
  if (field<std::uint32_t>(end, 0) != kEnd || field<std::uint16_t>(end, 20) != 0)
    throw IoError(concat(file_, ": does not end like a zip archive: another format, or truncated"));
  directory = {field<std::uint16_t>(end, 10), field<std::uint32_t>(end, 12), field<std::uint32_t>(end, 16),
               size - kEndBytes};
  if (size >= kEndBytes + kLocatorBytes + kEnd64Bytes) {
    const auto locator = bytes_at(size - kEndBytes - kLocatorBytes, kLocatorBytes);
    if (field<std::uint32_t>(locator, 0) == kLocator) {
      directory.end = field<std::uint64_t>(locator, 8);
      if (directory.end != size - kEndBytes - kLocatorBytes - kEnd64Bytes)
        throw IoError(concat(file_, ": damaged end of the zip archive at offset ", size - kEndBytes - kLocatorBytes));
      const auto end64 = bytes_at(directory.end, kEnd64Bytes);
      if (field<std::uint32_t>(end64, 0) != kEnd64)
        throw IoError(concat(file_, ": damaged end of the zip archive at offset ", directory.end));
      directory.count = field<std::uint64_t>(end64, 32);
      directory.size = field<std::uint64_t>(end64, 40);
      directory.offset = field<std::uint64_t>(end64, 48);
    }
  }
  if (directory.offset > directory.end || directory.size != directory.end - directory.offset)
    throw IoError(concat(file_, ": the list of members is not where the zip archive says: damaged or truncated"));
  return directory;
}

void ZipReader::add_member(std::span<const std::byte> fields, const std::string& name,
                           std::span<const std::byte> extra) {
  std::uint64_t packed = field<std::uint32_t>(fields, 20);
  std::uint64_t size = field<std::uint32_t>(fields, 24);
  std::uint64_t header = field<std::uint32_t>(fields, 42);
  std::uint64_t* const values[] = {&size, &packed, &header};
  if (!take_zip64(extra, values)) throw IoError(concat(file_, ": member ", name, ": damaged zip64 field"));
  if ((field<std::uint16_t>(fields, 8) & kEncrypted) != 0)
    throw IoError(concat(file_, ": member ", name, " is encrypted"));
  if (field<std::uint16_t>(fields, 10) != 0 || packed != size)
    throw IoError(concat(file_, ": member ", name, " is compressed; only stored members are read"));
  // Members that overlap could ask for any amount of memory.
  if (size > static_cast<std::uint64_t>(bytes_left_) || header > static_cast<std::uint64_t>(file_size_))
    throw IoError(concat(file_, ": member ", name, " of ", size, " bytes is not whole in the file"));
  bytes_left_ -= static_cast<std::int64_t>(size);
  const Member member{static_cast<std::int64_t>(header), field<std::uint32_t>(fields, 16)};
  if (!members_.emplace(name, member).second) throw IoError(concat(file_, ": member ", name, " is there twice"));
  sizes_[name] = static_cast<std::int64_t>(size);
}

std::vector<std::byte> ZipReader::bytes_at(std::uint64_t offset, std::uint64_t size) const {
  const auto file_size = static_cast<std::uint64_t>(file_size_);
  if (offset > file_size || size > file_size - offset)
    throw IoError(concat(file_, ": ", size, " bytes at offset ", offset, " are not in the file: truncated?"));
  std::vector<std::byte> bytes(size);
  read_all_at(descriptor_, static_cast<std::int64_t>(offset), bytes, file_);
  return bytes;
}

std::vector<std::byte> ZipReader::read(const std::string& name) const {
  const auto found = members_.find(name);
  if (found == members_.end()) throw IoError(concat(file_, ": has no member ", name));
  const auto offset = static_cast<std::uint64_t>(found->second.header);
  const auto header = bytes_at(offset, kLocalBytes);
  const std::size_t name_size = field<std::uint16_t>(header, 26);
  const std::size_t extra_size = field<std::uint16_t>(header, 28);
  if (field<std::uint32_t>(header, 0) != kLocal || text_of(bytes_at(offset + kLocalBytes, name_size)) != name)
    throw IoError(concat(file_, ": member ", name, " does not begin at offset ", offset, ": damaged"));
  const std::uint64_t first = offset + kLocalBytes + name_size + extra_size;
  std::vector<std::byte> bytes = bytes_at(first, static_cast<std::uint64_t>(sizes_.at(name)));
  const auto* data = reinterpret_cast<const Bytef*>(bytes.data());
  if (crc32_z(0, data, bytes.size()) != found->second.crc)
    throw IoError(concat(file_, ": member ", name, " at offset ", first, " has a wrong checksum: the file is damaged"));
  return bytes;
}

}  // namespace dnamamba::files
