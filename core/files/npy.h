// NumPy's .npy files: a header that is a Python literal, then the elements in row-major order.
#pragma once
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "core/files/atomic_file.h"

namespace dnamamba::files {

/// What a header says. `descr` is NumPy's type string: "<f4", "<f2", "<i8", "|u1", "|S1" …
struct NpyHeader {
  std::string descr;
  std::vector<std::int64_t> shape;
};

/// Bytes of one element. @throws base::Error if `descr` is not a little-endian number, a bool or a byte string.
std::int64_t npy_element_size(const std::string& descr);

/// The bytes before the elements, a multiple of 64 of them. `least_size` pads further.
std::string npy_header_bytes(const NpyHeader& header, std::size_t least_size = 0);

/// The size of a header that has room for any number of rows of `row_shape`, to be overwritten once it is known.
std::size_t npy_growing_header_size(const std::string& descr, std::span<const std::int64_t> row_shape);

/// Rows of `row_shape` in `bytes`. @throws base::Error if that is not a whole number.
std::int64_t npy_row_count(const std::string& descr, std::span<const std::int64_t> row_shape, std::int64_t bytes);

/// Writes one array row by row; the number of rows is put into the header on commit().
class NpyWriter {
 public:
  /// @throws IoError as AtomicFile.
  NpyWriter(const std::filesystem::path& path, bool force, std::string descr, std::vector<std::int64_t> row_shape);
  /// Any number of bytes; rows may be given in pieces. @throws IoError.
  void append(std::span<const std::byte> bytes) { file_.append(bytes); }
  /// @throws IoError if the bytes are not a whole number of rows, or the disk is full.
  void commit();

 private:
  AtomicFile file_;
  std::string descr_;
  std::vector<std::int64_t> row_shape_;
  std::size_t header_size_;
};

/// An array in memory.
struct NpyArray {
  NpyHeader header;
  std::vector<std::byte> elements;
};

/// The content of a .npy file. Versions 1 to 3, C order, no Python objects. `name` is for errors.
/// @throws IoError if it is damaged, truncated or longer than its header says.
NpyArray parse_npy(std::span<const std::byte> content, const std::string& name);

/// The same from a file. @throws IoError.
NpyArray read_npy(const std::filesystem::path& path);

}  // namespace dnamamba::files
