// NumPy's .npz files: .npy arrays in an uncompressed zip archive, each streamed row by row.
#pragma once
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "core/files/npy.h"
#include "core/files/zip_writer.h"

namespace dnamamba::files {

/// Arrays one after the other, of any size; nothing is kept in memory. numpy.load reads the file.
class NpzWriter {
 public:
  /// @throws IoError as AtomicFile.
  NpzWriter(const std::filesystem::path& path, bool force) : zip_(path, force) {}

  /// Begins an array [rows, row_shape...] whose number of rows is not known yet.
  void begin_array(const std::string& name, std::string descr, std::vector<std::int64_t> row_shape);
  /// Any number of bytes; rows may be given in pieces. @throws IoError.
  void append(std::span<const std::byte> bytes) { zip_.append(bytes); }
  /// @throws base::Error if the bytes are not a whole number of rows; IoError.
  void end_array();

  /// @throws IoError: then nothing is left of the file.
  void commit() { zip_.commit(); }

 private:
  ZipWriter zip_;
  std::string descr_;
  std::vector<std::int64_t> row_shape_;
  std::size_t header_size_ = 0;
};

/// All arrays of a file, as numpy.savez or NpzWriter wrote it, by name (without ".npy"). @throws IoError.
std::map<std::string, NpyArray> read_npz(const std::filesystem::path& path);

}  // namespace dnamamba::files
