#include "core/files/spool.h"

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "core/base/error.h"

namespace dnamamba::files {
namespace {

using base::concat;

// With a file, this much is gathered before it is written.
constexpr std::size_t kBufferBytes = std::size_t{1} << 20;

std::string temporary_folder() {
  const char* folder = ::getenv("TMPDIR");
  return folder != nullptr && *folder != '\0' ? folder : "/tmp";
}

Descriptor open_unnamed(const std::string& folder) {
  std::string path = folder + "/dnamamba-XXXXXX";
  Descriptor file(::mkostemp(path.data(), O_CLOEXEC));
  if (!file.is_open())
    throw base::IoError(concat(folder, ": can't make a temporary file: ", base::errno_text(errno),
                               "; set TMPDIR to a folder with free space"));
  ::unlink(path.c_str());
  return file;
}

}  // namespace

void Spool::append(std::span<const std::byte> bytes) {
  const std::size_t limit = file_.is_open() ? kBufferBytes : static_cast<std::size_t>(memory_);
  if (tail_.size() + bytes.size() > limit) flush();
  if (file_.is_open() && bytes.size() >= kBufferBytes) {
    write_all_at(file_, in_file_, bytes, name_);
    in_file_ += static_cast<std::int64_t>(bytes.size());
  } else {
    tail_.insert(tail_.end(), bytes.begin(), bytes.end());
  }
}

void Spool::flush() {
  if (!file_.is_open()) {
    const std::string folder = temporary_folder();
    file_ = open_unnamed(folder);
    name_ = concat("temporary file in ", folder, " (set TMPDIR to use another folder)");
  }
  write_all_at(file_, in_file_, tail_, name_);
  in_file_ += static_cast<std::int64_t>(tail_.size());
  tail_.clear();
  if (tail_.capacity() > kBufferBytes) std::vector<std::byte>().swap(tail_);
}

void Spool::write_at(std::int64_t offset, std::span<const std::byte> bytes) {
  check_range(offset, bytes.size());
  const auto before_tail =
      static_cast<std::size_t>(std::clamp<std::int64_t>(in_file_ - offset, 0, static_cast<std::int64_t>(bytes.size())));
  if (before_tail > 0) write_all_at(file_, offset, bytes.first(before_tail), name_);
  const auto rest = bytes.subspan(before_tail);
  if (!rest.empty())
    std::copy(rest.begin(), rest.end(), tail_.begin() + (offset + static_cast<std::int64_t>(before_tail) - in_file_));
}

void Spool::read_at(std::int64_t offset, std::span<std::byte> bytes) const {
  check_range(offset, bytes.size());
  const auto before_tail =
      static_cast<std::size_t>(std::clamp<std::int64_t>(in_file_ - offset, 0, static_cast<std::int64_t>(bytes.size())));
  if (before_tail > 0) read_all_at(file_, offset, bytes.first(before_tail), name_);
  const auto rest = bytes.subspan(before_tail);
  const auto first = offset + static_cast<std::int64_t>(before_tail) - in_file_;
  if (!rest.empty()) std::copy_n(tail_.begin() + first, rest.size(), rest.begin());
}

void Spool::read_all(const std::function<void(std::span<const std::byte>)>& take) const {
  constexpr std::int64_t kPiece = std::int64_t{1} << 20;
  std::vector<std::byte> piece(static_cast<std::size_t>(std::min(kPiece, size())));
  for (std::int64_t offset = 0; offset < size(); offset += kPiece) {
    const auto bytes = std::span(piece).first(static_cast<std::size_t>(std::min(kPiece, size() - offset)));
    read_at(offset, bytes);
    take(bytes);
  }
}

void Spool::check_range(std::int64_t offset, std::size_t bytes) const {
  if (offset < 0 || offset > size() || bytes > static_cast<std::size_t>(size() - offset))
    throw base::Error(concat("spool: ", bytes, " bytes at offset ", offset, " of ", size()));
}

}  // namespace dnamamba::files
