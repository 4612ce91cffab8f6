#include "core/io/line_stream.h"

#include <cstring>
#include <utility>

namespace dnamamba::io {
namespace {

constexpr std::size_t kBufferBytes = 256 * 1024;

}  // namespace

LineStream::LineStream(files::ByteSource source) : source_(std::move(source)), buffer_(kBufferBytes) {}

std::string_view LineStream::head(std::size_t wanted) {
  if (end_ - begin_ < wanted) {
    std::memmove(buffer_.data(), buffer_.data() + begin_, end_ - begin_);
    end_ -= begin_;
    begin_ = 0;
    while (end_ < wanted) {
      const std::size_t count = source_.read(buffer_.data() + end_, buffer_.size() - end_);
      if (count == 0) break;
      end_ += count;
    }
  }
  return {buffer_.data() + begin_, end_ - begin_};
}

LinePiece LineStream::piece(std::size_t limit) {
  std::string_view window = head(1);
  if (limit < window.size() - std::min<std::size_t>(window.size(), 2)) window = window.substr(0, limit + 2);
  const std::size_t newline = window.find('\n');
  if (newline != std::string_view::npos) {
    const bool after_return = newline > 0 && window[newline - 1] == '\r';
    return {window.substr(0, newline - (after_return ? 1 : 0)), true};
  }
  if (window.empty() || window.back() != '\r') return {window, false};
  // Whether this return belongs to the line's end is told by what follows it.
  if (window.size() > 1) return {window.substr(0, window.size() - 1), false};
  window = head(2);
  if (window.size() == 1 || window[1] == '\n') return {{}, true};
  return {window.substr(0, 1), false};
}

void LineStream::skip(std::size_t count) {
  begin_ += count;
  if (count > 0) at_line_start_ = false;
}

void LineStream::end_line() {
  if (buffer_[begin_] == '\r') ++begin_;
  if (begin_ < end_ && buffer_[begin_] == '\n') ++begin_;
  at_line_start_ = true;
  ++line_number_;
}

}  // namespace dnamamba::io
