// Hands a pipe that was already looked into to a library that wants a descriptor.
#pragma once
#include <memory>
#include <string>
#include <thread>

#include "core/base/first_error.h"
#include "core/files/descriptor.h"
#include "core/files/raw_input.h"

namespace dnamamba::io {

/// A thread copies the input, from its first byte on, into a socket.
class PipeFeed {
 public:
  static constexpr std::size_t kTail = 64;  ///< bytes of the input's end that are kept

  explicit PipeFeed(std::unique_ptr<files::RawInput> input);
  /// The reading end must be closed by then, or the input be over: else this waits.
  ~PipeFeed();
  PipeFeed(const PipeFeed&) = delete;
  PipeFeed& operator=(const PipeFeed&) = delete;

  /// The reading end, for the caller to close. Once only.
  [[nodiscard]] int take_descriptor();
  /// Waits for the input's end, which the reader must have seen: its last kTail bytes. @throws what reading threw.
  const std::string& tail();

 private:
  void copy_all();

  std::unique_ptr<files::RawInput> input_;
  files::Descriptor reading_, writing_;
  std::string tail_;
  base::FirstError error_;
  std::thread thread_;
};

}  // namespace dnamamba::io
