// HDF5 files, written front to back by the HDF5 library: groups, attributes, and datasets that grow row by row.
// The library is not made for threads: one thread at a time, over all files.
#pragma once
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/files/atomic_file.h"
#include "core/files/tensor_file.h"

namespace dnamamba::files {

/// Something of the HDF5 library that is open.
class Hdf5Handle {
 public:
  using Close = int (*)(std::int64_t);

  Hdf5Handle() = default;
  Hdf5Handle(std::int64_t id, Close close) : id_(id), close_(close) {}
  ~Hdf5Handle() { reset(); }
  Hdf5Handle(Hdf5Handle&& other) noexcept : id_(std::exchange(other.id_, -1)), close_(other.close_) {}
  Hdf5Handle& operator=(Hdf5Handle&& other) noexcept {
    reset();
    id_ = std::exchange(other.id_, -1);
    close_ = other.close_;
    return *this;
  }

  std::int64_t id() const { return id_; }
  /// Closes, ignoring errors.
  void reset() noexcept { release(); }
  /// Closes; negative if that failed.
  int release() noexcept;

 private:
  std::int64_t id_ = -1;
  Close close_ = nullptr;
};

/// A file that appears under its name on commit(). Paths of objects in it are written as "obs/record/codes"; the groups
/// on the way have been made before. Every method throws IoError, e.g. if the disk is full.
class Hdf5Writer {
 public:
  /// @throws IoError as AtomicFile, and for a pipe or device: the format needs a file.
  Hdf5Writer(const std::filesystem::path& path, bool force);

  void make_group(const std::string& path);
  /// A scalar dataset of UTF-8.
  void write_text(const std::string& path, const std::string& text);

  void set_attribute(const std::string& object, const std::string& name, const std::string& value);
  void set_attribute(const std::string& object, const std::string& name, const std::vector<std::string>& values);
  /// As h5py stores a bool.
  void set_attribute(const std::string& object, const std::string& name, bool value);

  /// Datasets are closed before.
  void commit();

 private:
  friend class Hdf5Dataset;
  void write_attribute(const std::string& object, const std::string& name, const Hdf5Handle& type,
                       const Hdf5Handle& space, const void* value);

  std::string name_;  // for errors
  AtomicFile file_;
  Hdf5Handle handle_;
};

/// Rows are gathered and written a chunk at a time.
class Hdf5Dataset {
 protected:
  Hdf5Dataset(Hdf5Writer& file, const std::string& path, Hdf5Handle type, std::span<const std::int64_t> row_shape,
              std::int64_t chunk_rows);
  ~Hdf5Dataset() = default;

  std::int64_t chunk_rows() const { return chunk_rows_; }
  /// `elements` are as many rows, in the type of the dataset.
  void write_rows(const void* elements, std::int64_t rows);
  void close_dataset();

 private:
  std::string name_;  // of the file, for errors
  Hdf5Handle type_;
  Hdf5Handle dataset_;
  std::vector<std::int64_t> row_shape_;
  std::int64_t chunk_rows_;
  std::int64_t rows_ = 0;
};

/// Numbers: [rows, row_shape…].
class Hdf5Numbers : private Hdf5Dataset {
 public:
  Hdf5Numbers(Hdf5Writer& file, const std::string& path, TensorType type,
              const std::vector<std::int64_t>& row_shape = {});

  /// Whole rows. @throws IoError.
  void append(std::span<const std::byte> rows);
  template <typename Number>
  void append(const Number& number) {
    append(std::as_bytes(std::span(&number, 1)));
  }
  /// Writes what waits. @throws IoError.
  void close();

 private:
  void flush();

  std::int64_t row_bytes_;
  std::vector<std::byte> waiting_;
};

/// UTF-8 strings of any length without NUL: [rows].
class Hdf5Strings : private Hdf5Dataset {
 public:
  Hdf5Strings(Hdf5Writer& file, const std::string& path);

  /// @throws IoError.
  void append(std::string_view text);
  /// Writes what waits. @throws IoError.
  void close();

 private:
  void flush();

  std::string waiting_;              // each string with a NUL behind it
  std::vector<std::size_t> begins_;  // of each, in waiting_
};

}  // namespace dnamamba::files
