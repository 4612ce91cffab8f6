#include "core/io/line_stream.h"

#include <cstring>
#include <limits>
#include <utility>

#include "core/base/error.h"

namespace dnamamba::io {
namespace {

constexpr std::size_t kBufferBytes = 256 * 1024;
constexpr std::size_t kWholeLine = std::numeric_limits<std::size_t>::max() / 2;

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

bool LineStream::take_rest_of_line(std::string& text, std::size_t most) {
  while (true) {
    const LinePiece next = piece(kWholeLine);
    text.append(next.text);
    if (text.size() > most) return false;
    skip(next.text.size());
    if (next.ends_line || next.text.empty()) return true;
  }
}

std::optional<std::string> LineStream::take_line(std::size_t most) {
  if (head(1).empty()) return std::nullopt;
  std::string line;
  if (!take_rest_of_line(line, most))
    throw base::IoError(base::concat(source_.name(), ": line ", line_number_, " has more than ", most, " bytes"));
  if (piece(1).ends_line) end_line();
  return line;
}

}  // namespace dnamamba::io
