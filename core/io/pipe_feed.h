// Hands an input that was already looked into to a library that wants a descriptor.
#pragma once
#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <thread>

#include "core/base/first_error.h"
#include "core/files/descriptor.h"
#include "core/files/raw_input.h"

namespace dnamamba::io {

/// A thread copies the input into a socket.
class PipeFeed {
 public:
  static constexpr std::size_t kTail = 64;  ///< bytes of the input's end that are kept

  /// False once nobody reads any more: what is left need not be sent.
  using Send = std::function<bool(std::string_view)>;
  /// What of the input is sent. An exception ends the reader's input; tail() and rethrow() throw it.
  using Copy = std::function<void(files::RawInput&, const Send&)>;

  /// All of it.
  static void copy_all(files::RawInput& input, const Send& send);

  explicit PipeFeed(std::unique_ptr<files::RawInput> input, Copy copy = copy_all);
  /// The reading end must be closed by then. Does not wait for an input that is silent.
  ~PipeFeed();
  PipeFeed(const PipeFeed&) = delete;
  PipeFeed& operator=(const PipeFeed&) = delete;

  /// The reading end, for the caller to close. Once only.
  [[nodiscard]] int take_descriptor();
  /// Waits for the input's end, which the reader must have seen: the last kTail bytes that were sent.
  /// @throws what copying threw.
  const std::string& tail();
  /// Throws what copying threw, if the reader has seen an end because of that.
  void rethrow() { error_.rethrow(); }
  /// Bytes of the input that were sent or passed over, somewhat ahead of the reader.
  std::int64_t position() const { return position_; }

 private:
  bool send_all(std::string_view bytes);

  std::unique_ptr<files::RawInput> input_;
  files::Descriptor reading_, writing_;
  std::atomic<std::int64_t> position_ = 0;
  std::string tail_;
  base::FirstError error_;
  std::thread thread_;
};

}  // namespace dnamamba::io
