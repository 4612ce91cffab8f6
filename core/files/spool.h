// Bytes that are written once and read back in any order: in memory while they are few, in a temporary file beyond.
#pragma once
#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "core/files/descriptor.h"

namespace dnamamba::files {

/// The temporary file lies in $TMPDIR, or in /tmp, and has no name there: it is gone with the process, however that
/// ends. One thread at a time, but several may call read_at() while none writes.
class Spool {
 public:
  static constexpr std::int64_t kDefaultMemory = std::int64_t{32} << 20;

  /// Up to `memory` bytes are kept without a file.
  explicit Spool(std::int64_t memory = kDefaultMemory) : memory_(memory) {}

  /// Adds to the end. @throws IoError naming the folder, e.g. if its disk is full.
  void append(std::span<const std::byte> bytes);

  /// Overwrites bytes that are there. @throws IoError; base::Error outside of [0, size()).
  void write_at(std::int64_t offset, std::span<const std::byte> bytes);

  /// Fills `bytes` from `offset`. @throws IoError; base::Error outside of [0, size()).
  void read_at(std::int64_t offset, std::span<std::byte> bytes) const;

  /// Gives all of it to `take`, in order and in pieces of at most 1 MiB. @throws IoError.
  void read_all(const std::function<void(std::span<const std::byte>)>& take) const;

  std::int64_t size() const { return in_file_ + static_cast<std::int64_t>(tail_.size()); }
  bool is_in_memory() const { return !file_.is_open(); }

 private:
  void check_range(std::int64_t offset, std::size_t size) const;
  void flush();

  std::int64_t memory_;
  std::vector<std::byte> tail_;  // the bytes after those in the file
  Descriptor file_;
  std::int64_t in_file_ = 0;  // bytes
  std::string name_;          // for errors
};

}  // namespace dnamamba::files
