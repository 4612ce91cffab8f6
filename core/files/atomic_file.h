// Outputs that appear under their name only when they are whole.
#pragma once
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/files/descriptor.h"

namespace dnamamba::files {

/// A file written under a hidden temporary name beside its target, `.NAME.tmp-PID-XXXX`, and renamed by commit().
/// Destroyed without commit() it removes what it wrote. A target that is a device or a pipe is written in place.
/// One thread at a time.
class AtomicFile {
 public:
  /// @throws IoError if `target` exists and `force` is false, if it is a folder, or if its folder is missing or not
  ///         writable.
  AtomicFile(std::filesystem::path target, bool force);
  /// Standard output, written in place. A reader that goes away is an IoError if the program ignores SIGPIPE.
  static AtomicFile standard_output();
  /// Written as `NAME.partial` beside the target, which stays where it is without commit(): size() says how much an
  /// earlier process left. @throws IoError also if another process writes it, or the target is a pipe or a device.
  static AtomicFile going_on(std::filesystem::path target, bool force);
  ~AtomicFile();
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;

  /// Adds to the end; buffered. @throws IoError, e.g. if the disk is full.
  void append(std::span<const std::byte> bytes);
  void append(std::string_view text) { append(std::as_bytes(std::span(text))); }

  /// The temporary file, for a library that opens files by name and writes all of it before commit(); nothing is
  /// appended then. @throws IoError if the target is a pipe or a device.
  const std::filesystem::path& path_to_fill() const;

  /// Overwrites bytes that were appended before. @throws IoError.
  void write_at(std::int64_t offset, std::span<const std::byte> bytes);

  /// Takes back what was appended behind `size` bytes. @throws IoError.
  void cut(std::int64_t size);

  /// Bytes appended so far.
  std::int64_t size() const { return size_; }

  /// Flushes and syncs to the disk, without the target's name: for outputs of several files, which are synced first and
  /// committed together. @throws IoError.
  void sync();

  /// Flushes, syncs to the disk and renames to the target. Nothing may be written afterwards.
  /// @throws IoError: then the target is as it was before.
  void commit();

  const std::filesystem::path& target() const { return target_; }

 private:
  explicit AtomicFile(Descriptor standard_output);
  AtomicFile(std::filesystem::path target, bool force, bool keeps);
  void open_partial();
  void flush();
  template <typename Write>
  void write_or_give_up(Write&& write);

  std::filesystem::path target_;
  std::string name_;  // of the target, for errors
  bool force_;
  bool keeps_ = false;  // what was written, for a later process
  bool in_place_ = false;
  std::filesystem::path temporary_;  // empty: nothing to remove
  Descriptor file_;
  std::vector<std::byte> buffer_;
  std::int64_t size_ = 0;  // bytes, the buffered ones included
};

/// Syncs the names in a folder to the disk: of files and folders that were made, renamed or removed. @throws IoError.
void sync_folder(const std::filesystem::path& folder);

/// A folder filled under a hidden temporary name beside its target and renamed by commit(). Destroyed without commit()
/// it removes what was written into it.
class AtomicFolder {
 public:
  /// With `force` an existing folder is replaced whole, but only if it is empty or holds a file called `marker` (such
  /// as config.json): a wrong path must not remove somebody's home.
  /// @throws IoError if `target` exists and may not be replaced, or if the folder around it is missing or not writable.
  AtomicFolder(const std::filesystem::path& target, bool force, const std::string& marker);
  ~AtomicFolder();
  AtomicFolder(const AtomicFolder&) = delete;
  AtomicFolder& operator=(const AtomicFolder&) = delete;

  /// Where to write the files until commit().
  const std::filesystem::path& path() const { return temporary_; }

  /// Syncs every file and renames the folder to the target. @throws IoError: then the target is as it was before.
  void commit();

 private:
  std::filesystem::path target_;
  bool force_;
  std::filesystem::path temporary_;  // empty: nothing to remove
};

}  // namespace dnamamba::files
