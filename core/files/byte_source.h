// The decompressed bytes of a file or of standard input, front to back, whatever it is compressed with.
#pragma once
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

namespace dnamamba::files {

class RawInput;

enum class Compression { kNone, kGzip, kBgzf, kZstd };

/// "plain", "gzip", "bgzf" or "zstd".
std::string_view compression_name(Compression compression);

/// Tells the compression by the first bytes, never by the name. Memory is constant: half a megabyte, plus a megabyte
/// for each thread and, for zstd, the window that the file asks for. One thread at a time; movable, not copyable.
///
/// What is cut short, damaged or followed by something else is an error, with these exceptions that nobody can see:
/// plain files, files cut between two gzip members or two zstd frames (or after a BGZF end marker in the middle of a
/// file), and damage in zstd frames that were written without a checksum.
class ByteSource {
 public:
  /// `path` is a file, a pipe or a device; "-" is standard input. `decompression_threads` (0: the caller does it)
  /// inflate BGZF ahead of the reader; other compressions can't be divided and don't use them.
  /// @throws IoError if it can't be opened, is a folder, or is compressed in a way that is not read here.
  explicit ByteSource(const std::string& path, int decompression_threads = 0);
  /// From an input that was looked into, but not consumed.
  explicit ByteSource(std::unique_ptr<RawInput> input, int decompression_threads = 0);
  ~ByteSource();
  ByteSource(ByteSource&&) noexcept;
  ByteSource& operator=(ByteSource&&) noexcept;

  /// Up to `capacity` (at least 1) bytes into `out`, as many as are at hand; how many they were. 0 only at the true
  /// end; an empty input gives 0 at once.
  /// @throws IoError naming the file, the byte in the compressed file and a remedy; every later call throws it again.
  [[nodiscard]] std::size_t read(char* out, std::size_t capacity);

  const std::string& name() const;                      ///< for messages: the path, or "standard input"
  Compression kind() const;                             ///< of the input
  std::int64_t compressed_offset() const;               ///< bytes of the input used so far, with what was read ahead
  std::optional<std::int64_t> compressed_size() const;  ///< bytes of the input in all; nullopt for a pipe

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace dnamamba::files
