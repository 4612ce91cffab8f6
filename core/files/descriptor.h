// A POSIX file descriptor that closes itself, and whole reads and writes on it.
#pragma once
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <utility>

namespace dnamamba::files {

/// Owns an open descriptor, or none (-1).
class Descriptor {
 public:
  Descriptor() = default;
  explicit Descriptor(int number) : number_(number) {}
  ~Descriptor() { reset(); }
  Descriptor(Descriptor&& other) noexcept : number_(std::exchange(other.number_, -1)) {}
  Descriptor& operator=(Descriptor&& other) noexcept {
    if (this != &other) {
      reset();
      number_ = std::exchange(other.number_, -1);
    }
    return *this;
  }

  int number() const { return number_; }
  bool is_open() const { return number_ >= 0; }
  /// Closes, ignoring errors: for what was only read or is being given up.
  void reset() noexcept;
  /// Closes what was written. @throws IoError naming `name`.
  void close(const std::string& name);

 private:
  int number_ = -1;
};

/// Opens for reading. @throws IoError if `path` can't be opened or is a folder.
Descriptor open_to_read(const std::filesystem::path& path);

/// Bytes of an open regular file. @throws IoError naming `name`.
std::int64_t size_of(const Descriptor& file, const std::string& name);

/// What a failed write of `name` ends with: an IoError with the reason and, where one is known, the remedy.
[[noreturn]] void throw_write_error(const std::string& name, int error_number);

/// Writes all of `bytes` at the descriptor's position. @throws IoError naming `name`, e.g. on a full disk or a closed
/// pipe.
void write_all(const Descriptor& file, std::span<const std::byte> bytes, const std::string& name);

/// Writes all of `bytes` at `offset`. @throws IoError naming `name` and the offset.
void write_all_at(const Descriptor& file, std::int64_t offset, std::span<const std::byte> bytes,
                  const std::string& name);

/// Fills `bytes` from `offset`. @throws IoError naming `name` and the offset if the file ends before.
void read_all_at(const Descriptor& file, std::int64_t offset, std::span<std::byte> bytes, const std::string& name);

}  // namespace dnamamba::files
