#include "core/files/raw_input.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>

#include "core/base/error.h"
#include "core/base/stop.h"

namespace dnamamba::files {
namespace {

constexpr int kStopCheckMilliseconds = 200;  // how long a silent pipe can hold up Ctrl-C

[[noreturn]] void throw_unreadable(const std::string& name, int error_number) {
  throw base::IoError(base::concat(name, ": can't be read: ", base::errno_text(error_number)));
}

/// False if `given_up` came first.
bool wait_for_bytes(int descriptor, int given_up) {
  std::array<pollfd, 2> waited{{{descriptor, POLLIN, 0}, {given_up, POLLIN, 0}}};
  while (true) {
    const int ready = poll(waited.data(), waited.size(), kStopCheckMilliseconds);
    base::throw_if_stopped();
    if (ready > 0) return waited[1].revents == 0;
    if (ready < 0 && errno != EINTR) return true;  // a failure comes back from read(), with its errno
  }
}

}  // namespace

RawInput::RawInput(const std::string& path) : name_(path == "-" ? "standard input" : path), buffer_(new char[kWindow]) {
  if (path != "-") file_ = open_to_read(path);
  descriptor_ = path == "-" ? STDIN_FILENO : file_.number();
  struct stat status {};
  if (fstat(descriptor_, &status) != 0) throw_unreadable(name_, errno);
  if (S_ISDIR(status.st_mode)) throw_unreadable(name_, EISDIR);
  regular_ = S_ISREG(status.st_mode);
  if (!regular_) {
    given_up_ = Descriptor(eventfd(0, EFD_CLOEXEC));
    if (!given_up_.is_open()) throw_unreadable(name_, errno);
  }
  // Standard input may be a file of which somebody has read a part.
  if (regular_) size_ = std::int64_t{status.st_size} - std::int64_t{lseek(descriptor_, 0, SEEK_CUR)};
}

std::size_t RawInput::read_some(char* out, std::size_t capacity) {
  base::throw_if_stopped();
  while (true) {
    if (!regular_ && !wait_for_bytes(descriptor_, given_up_.number())) return 0;
    const ssize_t count = read(descriptor_, out, capacity);
    if (count >= 0) return static_cast<std::size_t>(count);
    if (errno != EINTR && errno != EAGAIN) throw_unreadable(name_, errno);
  }
}

std::string_view RawInput::peek(std::size_t wanted) {
  if (end_ - begin_ < wanted && !ended_) {
    std::memmove(buffer_.get(), buffer_.get() + begin_, end_ - begin_);
    end_ -= begin_;
    begin_ = 0;
    while (end_ < wanted && !ended_) {
      const std::size_t count = read_some(buffer_.get() + end_, kWindow - end_);
      ended_ = count == 0;
      end_ += count;
    }
  }
  return {buffer_.get() + begin_, end_ - begin_};
}

void RawInput::consume(std::size_t count) {
  begin_ += count;
  offset_ += static_cast<std::int64_t>(count);
}

void RawInput::seek(std::int64_t offset) {
  const std::int64_t distance = offset - (offset_ + static_cast<std::int64_t>(end_ - begin_));
  if (lseek(descriptor_, distance, SEEK_CUR) < 0) throw_unreadable(name_, errno);
  begin_ = end_ = 0;
  ended_ = false;
  offset_ = offset;
}

void RawInput::give_up() {
  if (given_up_.is_open()) eventfd_write(given_up_.number(), 1);
}

}  // namespace dnamamba::files
