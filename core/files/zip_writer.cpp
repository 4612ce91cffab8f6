#include "core/files/zip_writer.h"

#include <zlib.h>

#include "core/base/error.h"

namespace dnamamba::files {
namespace {

// Field values of APPNOTE.TXT, the format's definition.
constexpr std::uint16_t kVersion = 45;             // zip64
constexpr std::uint16_t kUnix = 3 << 8;            // made by
constexpr std::uint16_t kUtf8Names = 1 << 11;      // flag
constexpr std::uint16_t kDate = 1 << 5 | 1;        // 1980-01-01, so that the same content gives the same bytes
constexpr std::uint32_t kElsewhere = 0xffffffffu;  // the value is in the zip64 field
constexpr std::uint16_t kZip64Field = 1;
constexpr std::uint32_t kPermissions = 0100644u << 16;

// Little-endian fields, one after the other.
class Fields {
 public:
  Fields& u16(std::uint64_t value) { return add(value, 2); }
  Fields& u32(std::uint64_t value) { return add(value, 4); }
  Fields& u64(std::uint64_t value) { return add(value, 8); }
  Fields& text(const std::string& value) {
    bytes_ += value;
    return *this;
  }
  const std::string& bytes() const { return bytes_; }

 private:
  Fields& add(std::uint64_t value, int count) {
    for (int i = 0; i < count; ++i) bytes_ += static_cast<char>(value >> (8 * i) & 0xff);
    return *this;
  }
  std::string bytes_;
};

std::uint32_t crc_of(std::uint32_t crc, std::span<const std::byte> bytes) {
  return static_cast<std::uint32_t>(crc32_z(crc, reinterpret_cast<const Bytef*>(bytes.data()), bytes.size()));
}

std::string local_header(const std::string& name, std::int64_t size, std::uint32_t crc) {
  const auto bytes = static_cast<std::uint64_t>(size);
  Fields fields;
  fields.u32(0x04034b50)
      .u16(kVersion)
      .u16(kUtf8Names)
      .u16(0)
      .u16(0)
      .u16(kDate)
      .u32(crc)
      .u32(kElsewhere)
      .u32(kElsewhere);
  fields.u16(name.size()).u16(20).text(name);
  fields.u16(kZip64Field).u16(16).u64(bytes).u64(bytes);
  return fields.bytes();
}

}  // namespace

void ZipWriter::begin_member(const std::string& name, std::int64_t prefix_size) {
  if (name.empty() || name.size() > 0xffff) throw base::Error(base::concat("'", name, "' can't name a zip member"));
  members_.push_back({name, file_.size(), 0, 0});
  prefix_size_ = prefix_size;
  member_size_ = 0;
  crc_ = 0;
  file_.append(local_header(name, 0, 0));
  file_.append(std::string(static_cast<std::size_t>(prefix_size), '\0'));
}

void ZipWriter::append(std::span<const std::byte> bytes) {
  crc_ = crc_of(crc_, bytes);
  member_size_ += static_cast<std::int64_t>(bytes.size());
  file_.append(bytes);
}

void ZipWriter::end_member(std::span<const std::byte> prefix) {
  if (static_cast<std::int64_t>(prefix.size()) != prefix_size_)
    throw base::Error(base::concat("a prefix of ", prefix.size(), " bytes, ", prefix_size_, " were kept free"));
  Member& member = members_.back();
  member.size = prefix_size_ + member_size_;
  member.crc = static_cast<std::uint32_t>(crc32_combine(crc_of(0, prefix), crc_, member_size_));
  std::string begin = local_header(member.name, member.size, member.crc);
  begin.append(reinterpret_cast<const char*>(prefix.data()), prefix.size());
  file_.write_at(member.offset, std::as_bytes(std::span(begin)));
}

void ZipWriter::commit() {
  const auto directory = static_cast<std::uint64_t>(file_.size());
  for (const Member& member : members_) {
    const auto size = static_cast<std::uint64_t>(member.size);
    Fields fields;
    fields.u32(0x02014b50).u16(kUnix | kVersion).u16(kVersion).u16(kUtf8Names).u16(0).u16(0).u16(kDate).u32(member.crc);
    fields.u32(kElsewhere).u32(kElsewhere).u16(member.name.size()).u16(28).u16(0).u16(0).u16(0).u32(kPermissions);
    fields.u32(kElsewhere).text(member.name);
    fields.u16(kZip64Field).u16(24).u64(size).u64(size).u64(static_cast<std::uint64_t>(member.offset));
    file_.append(fields.bytes());
  }
  const auto end = static_cast<std::uint64_t>(file_.size());
  const std::uint64_t count = members_.size();
  Fields fields;
  fields.u32(0x06064b50).u64(44).u16(kUnix | kVersion).u16(kVersion).u32(0).u32(0).u64(count).u64(count);
  fields.u64(end - directory).u64(directory);
  fields.u32(0x07064b50).u32(0).u64(end).u32(1);
  fields.u32(0x06054b50).u16(0).u16(0).u16(0xffff).u16(0xffff).u32(kElsewhere).u32(kElsewhere).u16(0);
  file_.append(fields.bytes());
  file_.commit();
}

}  // namespace dnamamba::files
