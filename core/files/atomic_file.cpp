#include "core/files/atomic_file.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <random>
#include <system_error>
#include <utility>

#include "core/base/error.h"

namespace dnamamba::files {
namespace {

namespace fs = std::filesystem;
using base::concat;
using base::errno_text;
using base::IoError;

constexpr std::size_t kBufferBytes = std::size_t{1} << 20;
constexpr int kAttempts = 100;

fs::path folder_of(const fs::path& target) {
  return target.has_parent_path() ? target.parent_path() : fs::path(".");
}

void require_folder(const fs::path& target) {
  std::error_code error;
  if (!fs::is_directory(folder_of(target), error))
    throw IoError(concat(target.string(), ": there is no folder ", folder_of(target).string(), "; make it first"));
}

// A hidden name beside `target`, on the same file system, so that the rename is atomic.
fs::path temporary_beside(const fs::path& target) {
  static constexpr char kDigits[] = "0123456789abcdefghijklmnopqrstuv";
  std::random_device random;
  std::string suffix;
  for (int i = 0; i < 8; ++i) suffix += kDigits[random() % 32];
  // File names end at 255 bytes.
  const std::string name = target.filename().string().substr(0, 200);
  return folder_of(target) / concat(".", name, ".tmp-", ::getpid(), "-", suffix);
}

// Calls `create(path)` with fresh temporary names until one did not exist; it returns false with errno set.
template <typename Create>
fs::path create_temporary(const fs::path& target, Create&& create) {
  for (int attempt = 0; attempt < kAttempts; ++attempt) {
    fs::path path = temporary_beside(target);
    if (create(path)) return path;
    if (errno != EEXIST) break;
  }
  throw IoError(
      concat(target.string(), ": can't write in folder ", folder_of(target).string(), ": ", errno_text(errno)));
}

void sync_file(const Descriptor& file, const std::string& name) {
  if (::fsync(file.number()) != 0)
    throw IoError(concat(name, ": can't write: ", errno_text(errno), "; free some space or write to another disk"));
}

[[noreturn]] void throw_exists(const fs::path& target) {
  throw IoError(concat(target.string(), ": already exists; give --force to replace it"));
}

void rename_to_target(const fs::path& temporary, const fs::path& target, bool force) {
  if (!force) {
    // Does not replace what another process has written meanwhile.
    if (::renameat2(AT_FDCWD, temporary.c_str(), AT_FDCWD, target.c_str(), RENAME_NOREPLACE) == 0) return;
    if (errno == EEXIST) throw_exists(target);
    if (errno != EINVAL && errno != ENOSYS)
      throw IoError(concat(target.string(), ": can't rename to it: ", errno_text(errno)));
    if (::access(target.c_str(), F_OK) == 0) throw_exists(target);
  }
  if (::rename(temporary.c_str(), target.c_str()) != 0)
    throw IoError(concat(target.string(), ": can't rename to it: ", errno_text(errno)));
}

}  // namespace

void sync_folder(const fs::path& folder) {
  const Descriptor descriptor(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  // Some network file systems can't sync a folder: the rename itself has been done.
  if (descriptor.is_open() && ::fsync(descriptor.number()) != 0 && errno != EINVAL && errno != ENOTSUP)
    throw IoError(concat(folder.string(), ": can't sync: ", errno_text(errno)));
}

AtomicFile::AtomicFile(fs::path target, bool force) : AtomicFile(std::move(target), force, false) {}

AtomicFile::AtomicFile(fs::path target, bool force, bool keeps)
    : target_(std::move(target)), name_(target_.string()), force_(force), keeps_(keeps) {
  if (target_.empty()) throw IoError("an output file with an empty name");
  std::error_code error;
  const fs::file_status status = fs::status(target_, error);
  if (fs::is_regular_file(status) && fs::is_symlink(target_, error)) target_ = fs::canonical(target_);
  if (fs::is_directory(status)) throw IoError(concat(name_, ": is a folder, not a file"));
  if (fs::exists(status) && !fs::is_regular_file(status)) {
    if (keeps_) throw IoError(concat(name_, ": is a pipe or a device; this format needs a file"));
    in_place_ = true;
    file_ = Descriptor(::open(target_.c_str(), O_WRONLY | O_CLOEXEC));
    if (!file_.is_open()) throw IoError(concat(name_, ": can't open to write: ", errno_text(errno)));
    return;
  }
  if (fs::exists(status) && !force_) throw_exists(target_);
  require_folder(target_);
  if (keeps_) {
    open_partial();
    return;
  }
  temporary_ = create_temporary(target_, [&](const fs::path& path) {
    file_ = Descriptor(::open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666));
    return file_.is_open();
  });
}

AtomicFile AtomicFile::going_on(fs::path target, bool force) {
  return AtomicFile(std::move(target), force, true);
}

void AtomicFile::open_partial() {
  temporary_ = target_.string() + ".partial";
  file_ = Descriptor(::open(temporary_.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666));
  if (!file_.is_open()) throw IoError(concat(temporary_.string(), ": can't open to write: ", errno_text(errno)));
  // Some network file systems have no locks. What had the name may have been renamed to its target meanwhile.
  const bool locked_by_another = ::flock(file_.number(), LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK;
  struct stat opened = {}, named = {};
  if (locked_by_another || ::fstat(file_.number(), &opened) != 0 || ::stat(temporary_.c_str(), &named) != 0 ||
      opened.st_ino != named.st_ino || opened.st_dev != named.st_dev)
    throw IoError(concat(temporary_.string(), ": another process is writing it: wait for its end"));
  size_ = size_of(file_, temporary_.string());
  if (::lseek(file_.number(), size_, SEEK_SET) < 0) throw_write_error(name_, errno);
}

AtomicFile::AtomicFile(Descriptor standard_output)
    : target_("-"), name_("standard output"), force_(true), in_place_(true), file_(std::move(standard_output)) {
  if (!file_.is_open()) throw IoError(concat(name_, ": can't write: ", errno_text(errno)));
}

// A copy of the descriptor: closing it reports errors and leaves the program its own.
AtomicFile AtomicFile::standard_output() {
  return AtomicFile(Descriptor(::fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 0)));
}

AtomicFile::~AtomicFile() {
  file_.reset();
  if (!temporary_.empty() && !keeps_) ::unlink(temporary_.c_str());
}

// After a write that failed the content is not known: nothing may be written or committed any more.
template <typename Write>
void AtomicFile::write_or_give_up(Write&& write) {
  try {
    write();
  } catch (...) {
    file_.reset();
    throw;
  }
}

const fs::path& AtomicFile::path_to_fill() const {
  if (in_place_) throw IoError(concat(name_, ": is a pipe or a device; this format needs a file"));
  return temporary_;
}

void AtomicFile::append(std::span<const std::byte> bytes) {
  if (buffer_.size() + bytes.size() > kBufferBytes) flush();
  if (bytes.size() >= kBufferBytes) {
    write_or_give_up([&] { write_all(file_, bytes, name_); });
  } else {
    buffer_.insert(buffer_.end(), bytes.begin(), bytes.end());
  }
  size_ += static_cast<std::int64_t>(bytes.size());
}

void AtomicFile::write_at(std::int64_t offset, std::span<const std::byte> bytes) {
  if (offset < 0 || offset + static_cast<std::int64_t>(bytes.size()) > size_)
    throw IoError(concat(name_, ": write at offset ", offset, " outside of the ", size_, " bytes written"));
  flush();
  write_or_give_up([&] { write_all_at(file_, offset, bytes, name_); });
}

void AtomicFile::cut(std::int64_t size) {
  if (size < 0 || size > size_) throw IoError(concat(name_, ": can't cut ", size_, " bytes to ", size));
  flush();
  if (::ftruncate(file_.number(), size) != 0 || ::lseek(file_.number(), size, SEEK_SET) < 0)
    throw IoError(concat(name_, ": can't cut to ", size, " bytes: ", errno_text(errno)));
  size_ = size;
}

void AtomicFile::flush() {
  write_or_give_up([&] { write_all(file_, buffer_, name_); });
  buffer_.clear();
}

void AtomicFile::sync() {
  if (!file_.is_open()) throw IoError(concat(name_, ": is not whole after the failed write"));
  flush();
  if (!in_place_) sync_file(file_, name_);
}

void AtomicFile::commit() {
  sync();
  if (!keeps_) file_.close(name_);  // else the lock holds until it has its name
  if (in_place_) return;
  rename_to_target(temporary_, target_, force_);
  temporary_.clear();
  file_.close(name_);
  sync_folder(folder_of(target_));
}

AtomicFolder::AtomicFolder(const fs::path& target, bool force, const std::string& marker)
    : target_(target.has_filename() ? target : target.parent_path()), force_(force) {
  if (target_.empty() || !target_.has_filename())
    throw IoError(concat("'", target.string(), "': not an output folder"));
  std::error_code error;
  if (fs::is_symlink(target_, error) && fs::exists(target_, error)) target_ = fs::canonical(target_);
  if (fs::exists(target_, error)) {
    if (!force_) throw_exists(target_);
    if (!fs::is_directory(target_, error)) throw IoError(concat(target_.string(), ": is a file, not a folder"));
    if (!fs::is_empty(target_, error) && !fs::exists(target_ / marker, error))
      throw IoError(
          concat(target_.string(), ": holds no ", marker, ", so --force does not replace it; remove it first"));
  }
  require_folder(target_);
  temporary_ = create_temporary(target_, [](const fs::path& path) { return ::mkdir(path.c_str(), 0777) == 0; });
}

AtomicFolder::~AtomicFolder() {
  std::error_code ignored;
  if (!temporary_.empty()) fs::remove_all(temporary_, ignored);
}

void AtomicFolder::commit() {
  std::error_code error;
  for (const auto& entry : fs::recursive_directory_iterator(temporary_)) {
    if (entry.is_directory(error)) sync_folder(entry.path());
    if (entry.is_regular_file(error)) sync_file(open_to_read(entry.path()), entry.path().string());
  }
  sync_folder(temporary_);
  if (!force_ || !fs::exists(target_, error)) {
    rename_to_target(temporary_, target_, force_);
    temporary_.clear();
  } else if (::renameat2(AT_FDCWD, temporary_.c_str(), AT_FDCWD, target_.c_str(), RENAME_EXCHANGE) == 0) {
    // The replaced folder has the temporary name now and goes with it.
    fs::remove_all(temporary_, error);
    temporary_.clear();
  } else {
    // A file system without exchange: the old one steps aside for a moment.
    const fs::path aside = temporary_beside(target_);
    rename_to_target(target_, aside, true);
    try {
      rename_to_target(temporary_, target_, true);
    } catch (...) {
      ::rename(aside.c_str(), target_.c_str());
      throw;
    }
    temporary_.clear();
    fs::remove_all(aside, error);
  }
  sync_folder(folder_of(target_));
}

}  // namespace dnamamba::files
