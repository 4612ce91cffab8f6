#include "core/io/pipe_feed.h"

#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "core/base/error.h"

namespace dnamamba::io {

PipeFeed::PipeFeed(std::unique_ptr<files::RawInput> input, Copy copy) : input_(std::move(input)) {
  int ends[2];
  // A socket, because a write to a pipe that nobody reads any more would raise SIGPIPE.
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0)
    throw base::IoError(base::concat(input_->name(), ": can't be handed on: ", base::errno_text(errno)));
  reading_ = files::Descriptor(ends[0]);
  writing_ = files::Descriptor(ends[1]);
  thread_ = std::thread([this, copy = std::move(copy)] {
    error_.run([&] { copy(*input_, [this](std::string_view bytes) { return send_all(bytes); }); });
    writing_.reset();
  });
}

PipeFeed::~PipeFeed() {
  reading_.reset();
  input_->give_up();
  if (thread_.joinable()) thread_.join();
}

int PipeFeed::take_descriptor() {
  const int number = dup(reading_.number());
  reading_.reset();
  return number;
}

const std::string& PipeFeed::tail() {
  if (thread_.joinable()) thread_.join();
  error_.rethrow();
  return tail_;
}

bool PipeFeed::send_all(std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t sent = send(writing_.number(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent < 0 && errno == EINTR) continue;
    if (sent < 0) return false;  // the reader has what it wanted, or says itself what is wrong
    const auto count = static_cast<std::size_t>(sent);
    tail_.append(bytes.substr(count > kTail ? count - kTail : 0, std::min(count, kTail)));
    if (tail_.size() > kTail) tail_.erase(0, tail_.size() - kTail);
    bytes.remove_prefix(count);
  }
  position_ = input_->offset();
  return true;
}

void PipeFeed::copy_all(files::RawInput& input, const Send& send) {
  while (true) {
    const std::string_view piece = input.peek(1);
    if (piece.empty()) return;
    input.consume(piece.size());
    if (!send(piece)) return;
  }
}

}  // namespace dnamamba::io
