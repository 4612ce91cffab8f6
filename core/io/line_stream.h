// The lines of a text, piece by piece: a line may be longer than memory.
#pragma once
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/files/byte_source.h"

namespace dnamamba::io {

/// What is at hand of the current line, without its end. Both empty and not ending the line: the text is over.
struct LinePiece {
  std::string_view text;   ///< holds until the next call of the stream
  bool ends_line = false;  ///< behind `text` comes the line's end: "\n", "\r\n", or "\r" as the last byte of the text
};

class LineStream {
 public:
  explicit LineStream(files::ByteSource source);

  /// The next bytes, line ends included, without taking them: at least `wanted` (at most 64), fewer at the text's end.
  std::string_view head(std::size_t wanted);
  /// The next piece of the current line, without taking it. At most `limit` + 2 bytes are looked at, so that taking a
  /// long line in small pieces stays linear. Not empty unless the line or the text ends here.
  LinePiece piece(std::size_t limit);
  /// Takes `count` bytes of the last piece.
  void skip(std::size_t count);
  /// Takes the end of the line, which is next.
  void end_line();
  /// Takes what is left of the current line, which may come in any number of pieces, but not its end, to the end of
  /// `text`. False, with the line's rest not taken, once `text` has more than `most` bytes.
  bool take_rest_of_line(std::string& text, std::size_t most);
  /// Takes the next line whole, with its end; nullopt at the text's end.
  /// @throws base::IoError naming the file and the line if it has more than `most` bytes.
  std::optional<std::string> take_line(std::size_t most);

  bool at_line_start() const { return at_line_start_; }
  std::int64_t line_number() const { return line_number_; }  ///< of the current line, from 1
  const files::ByteSource& source() const { return source_; }

 private:
  files::ByteSource source_;
  std::vector<char> buffer_;
  std::size_t begin_ = 0;  // what is in the buffer and not taken: [begin_, end_)
  std::size_t end_ = 0;
  bool at_line_start_ = true;
  std::int64_t line_number_ = 1;
};

}  // namespace dnamamba::io
