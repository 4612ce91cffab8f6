#include "core/files/descriptor.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "core/base/error.h"

namespace dnamamba::files {
namespace {

using base::concat;
using base::errno_text;
using base::IoError;

// Linux moves at most 0x7ffff000 bytes a call.
constexpr std::size_t kLargestCall = std::size_t{1} << 30;

}  // namespace

void throw_write_error(const std::string& name, int error_number) {
  const char* remedy = "";
  if (error_number == ENOSPC || error_number == EDQUOT) remedy = "; free some space or write to another disk";
  if (error_number == EFBIG) remedy = "; files may not grow that large here (ulimit -f): write to another disk";
  if (error_number == EPIPE) remedy = "; the reader of the pipe went away";
  throw IoError(concat(name, ": can't write: ", errno_text(error_number), remedy));
}

void Descriptor::reset() noexcept {
  if (number_ >= 0) ::close(number_);
  number_ = -1;
}

void Descriptor::close(const std::string& name) {
  const int number = std::exchange(number_, -1);
  // EINTR has closed the descriptor too (Linux).
  if (number >= 0 && ::close(number) != 0 && errno != EINTR) throw_write_error(name, errno);
}

Descriptor open_to_read(const std::filesystem::path& path) {
  Descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!file.is_open()) throw IoError(concat(path.string(), ": can't open: ", errno_text(errno)));
  struct stat status = {};
  if (::fstat(file.number(), &status) == 0 && S_ISDIR(status.st_mode))
    throw IoError(concat(path.string(), ": is a folder, not a file"));
  return file;
}

std::int64_t size_of(const Descriptor& file, const std::string& name) {
  struct stat status = {};
  if (::fstat(file.number(), &status) != 0) throw IoError(concat(name, ": ", errno_text(errno)));
  if (!S_ISREG(status.st_mode)) throw IoError(concat(name, ": is not a regular file"));
  return status.st_size;
}

void write_all(const Descriptor& file, std::span<const std::byte> bytes, const std::string& name) {
  while (!bytes.empty()) {
    const ssize_t done = ::write(file.number(), bytes.data(), std::min(bytes.size(), kLargestCall));
    if (done < 0 && errno == EINTR) continue;
    if (done < 0) throw_write_error(name, errno);
    bytes = bytes.subspan(static_cast<std::size_t>(done));
  }
}

void write_all_at(const Descriptor& file, std::int64_t offset, std::span<const std::byte> bytes,
                  const std::string& name) {
  while (!bytes.empty()) {
    const ssize_t done = ::pwrite(file.number(), bytes.data(), std::min(bytes.size(), kLargestCall), offset);
    if (done < 0 && errno == EINTR) continue;
    if (done < 0 && errno == ESPIPE)
      throw IoError(concat(name, ": can't write at offset ", offset, ": a pipe; give a file"));
    if (done < 0) throw_write_error(name, errno);
    bytes = bytes.subspan(static_cast<std::size_t>(done));
    offset += done;
  }
}

void read_all_at(const Descriptor& file, std::int64_t offset, std::span<std::byte> bytes, const std::string& name) {
  while (!bytes.empty()) {
    const ssize_t done = ::pread(file.number(), bytes.data(), std::min(bytes.size(), kLargestCall), offset);
    if (done < 0 && errno == EINTR) continue;
    if (done < 0) throw IoError(concat(name, ": can't read at offset ", offset, ": ", errno_text(errno)));
    if (done == 0)
      throw IoError(concat(name, ": ends at offset ", offset, ", ", bytes.size(), " bytes early: truncated?"));
    bytes = bytes.subspan(static_cast<std::size_t>(done));
    offset += done;
  }
}

}  // namespace dnamamba::files
