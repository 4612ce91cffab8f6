// Members of an uncompressed zip archive, as torch.save and numpy.savez write them.
#pragma once
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "core/files/descriptor.h"

namespace dnamamba::files {

/// One archive, zip64 included. Stricter than unzip programs: it ends with its list of members, to the byte.
/// (Debian's minizip reads neither the sizes of zip64 members nor notices an archive that is some bytes short.)
class ZipReader {
 public:
  /// Reads the list of members. @throws IoError if it is damaged, or if a member is compressed, encrypted, there twice,
  /// or
  ///         if the members are larger than the file.
  explicit ZipReader(const std::filesystem::path& path);

  /// Name to bytes.
  const std::map<std::string, std::int64_t>& sizes() const { return sizes_; }

  /// The content of one member. @throws IoError if there is none of that name, or if its checksum is wrong.
  std::vector<std::byte> read(const std::string& name) const;

 private:
  struct Member {
    std::int64_t header = 0;  // offset of its local header
    std::uint32_t crc = 0;
  };
  struct Directory {
    std::uint64_t count = 0, size = 0, offset = 0, end = 0;
  };
  Directory find_directory() const;
  void add_member(std::span<const std::byte> fields, const std::string& name, std::span<const std::byte> extra);
  std::vector<std::byte> bytes_at(std::uint64_t offset, std::uint64_t size) const;

  std::string file_;
  Descriptor descriptor_;
  std::int64_t file_size_ = 0;
  std::int64_t bytes_left_ = 0;  // of the file, for members
  std::map<std::string, std::int64_t> sizes_;
  std::map<std::string, Member> members_;
};

}  // namespace dnamamba::files
