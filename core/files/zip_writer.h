// An uncompressed zip64 archive, written front to back; the beginning of a member may be filled in when it ends.
#pragma once
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "core/files/atomic_file.h"

namespace dnamamba::files {

/// Members of any size and any number of them, one after the other. minizip's writer has no way to change the first
/// bytes of a member, which .npy headers need: their row count is known last.
class ZipWriter {
 public:
  /// @throws IoError as AtomicFile.
  ZipWriter(const std::filesystem::path& path, bool force) : file_(path, force) {}

  /// Begins a member whose first `prefix_size` bytes are given to end_member().
  void begin_member(const std::string& name, std::int64_t prefix_size = 0);
  void append(std::span<const std::byte> bytes);
  /// Bytes of the open member after the prefix.
  std::int64_t member_size() const { return member_size_; }
  /// `prefix` has the size said in begin_member().
  void end_member(std::span<const std::byte> prefix = {});

  /// Writes the list of members and renames the file. @throws IoError.
  void commit();

 private:
  struct Member {
    std::string name;
    std::int64_t offset = 0;  // of its local header
    std::int64_t size = 0;
    std::uint32_t crc = 0;
  };

  AtomicFile file_;
  std::vector<Member> members_;  // the last one is open between begin_member and end_member
  std::int64_t prefix_size_ = 0;
  std::int64_t member_size_ = 0;
  std::uint32_t crc_ = 0;  // of the bytes after the prefix
};

}  // namespace dnamamba::files
