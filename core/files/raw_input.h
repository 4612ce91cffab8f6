// The bytes of a file or of standard input as they are stored, with a window to look ahead in.
#pragma once
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "core/files/descriptor.h"

namespace dnamamba::files {

/// Reads front to back through one buffer of kWindow bytes. One thread at a time.
class RawInput {
 public:
  static constexpr std::size_t kWindow = 256 * 1024;  ///< the most that peek() can be asked for, in bytes

  /// `path` is a file, a pipe or a device; "-" is standard input.
  /// @throws IoError if it can't be opened or is a folder.
  explicit RawInput(const std::string& path);
  RawInput(const RawInput&) = delete;
  RawInput& operator=(const RawInput&) = delete;

  /// What is next, without taking it: at least `wanted` bytes (at most kWindow), fewer only where the input ends.
  /// The view holds until the next peek().
  /// @throws IoError if reading fails; Interrupted if a stop was requested, also while a pipe has nothing to give.
  std::string_view peek(std::size_t wanted);
  /// Takes `count` bytes of the last peek().
  void consume(std::size_t count);
  /// Goes on at byte `offset`, counted from where the input began. Regular files only. @throws IoError.
  void seek(std::int64_t offset);
  /// From any thread: whoever waits for bytes of a pipe, now or later, finds its end instead.
  void give_up();

  const std::string& name() const { return name_; }           ///< the path, or "standard input"
  std::int64_t offset() const { return offset_; }             ///< bytes consumed
  std::optional<std::int64_t> size() const { return size_; }  ///< bytes in all, if it is a regular file

 private:
  std::size_t read_some(char* out, std::size_t capacity);

  std::string name_;
  Descriptor file_;       // none for standard input, which is not ours to close
  Descriptor given_up_;   // readable once give_up() was called
  int descriptor_ = 0;    // of either
  bool regular_ = false;  // reads of regular files don't wait for anybody
  bool ended_ = false;    // a terminal must not be asked for its end twice
  std::int64_t offset_ = 0;
  std::optional<std::int64_t> size_;
  std::unique_ptr<char[]> buffer_;
  std::size_t begin_ = 0;  // what is in the buffer and not consumed: [begin_, end_)
  std::size_t end_ = 0;
};

}  // namespace dnamamba::files
