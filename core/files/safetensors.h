// The safetensors format: 8 bytes of header length, a JSON header, then the tensors' bytes without gaps.
#pragma once
#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "core/files/atomic_file.h"
#include "core/files/tensor_file.h"

namespace dnamamba::files {

using Metadata = std::map<std::string, std::string>;

struct SafetensorsHeader {
  struct Entry {
    TensorType type = TensorType::kFloat32;
    std::vector<std::int64_t> shape;
    std::int64_t offset = 0;  ///< Of the first byte, from the start of the file.
    std::int64_t size = 0;    ///< Bytes.
  };
  std::map<std::string, Entry> entries;
  Metadata metadata;
};

struct SafetensorsContent {
  TensorMap tensors;
  Metadata metadata;
};

/// Names, types, shapes and metadata without the tensors' bytes. Everything but the values is checked: header keys,
/// types, sizes, gaps, overlaps and the length of the file.
/// @throws IoError naming the file, the tensor and the offset.
SafetensorsHeader read_safetensors_header(const std::filesystem::path& path);

/// The whole file. @throws IoError as above. The format has no checksums: changed values are not noticed.
SafetensorsContent read_safetensors(const std::filesystem::path& path);

/// Transformers loads files that say "format": "pt".
inline const Metadata kDefaultMetadata = {{"format", "pt"}};

/// Larger elements first, then by name, so that every tensor is aligned; the same content gives the same bytes.
/// @throws IoError, also if `path` exists and `force` is false.
void write_safetensors(const std::filesystem::path& path, const TensorMap& tensors, bool force,
                       const Metadata& metadata = kDefaultMetadata);

/// Writes tensors of any size front to back; how many rows each has is put into the header on commit(). Tensors lie in
/// the file in the order of the parts: PyTorch loads them if each begins at a multiple of its element's size.
class SafetensorsWriter {
 public:
  struct Part {
    std::string name;
    TensorType type = TensorType::kFloat32;
    std::vector<std::int64_t> row_shape;  ///< The shape without its first extent.
  };

  /// @throws IoError as AtomicFile.
  SafetensorsWriter(const std::filesystem::path& path, bool force, std::vector<Part> parts, Metadata metadata);

  /// Any number of bytes to the part that is open, at first the first one. @throws IoError.
  void append(std::span<const std::byte> bytes);
  /// Bytes of all parts so far.
  std::int64_t size() const { return file_.size() - static_cast<std::int64_t>(header_size_); }
  /// Opens the next part.
  void next_part();

  /// @throws base::Error if a part is not a whole number of rows; IoError: then nothing is left of the file.
  void commit();

 private:
  struct Place {
    std::int64_t rows = 0;
    std::int64_t begin = 0;  // bytes, from the end of the header
    std::int64_t end = 0;
  };

  std::string header(std::span<const Place> places, std::size_t least_size) const;
  Place place_of_open_part() const;

  AtomicFile file_;
  std::vector<Part> parts_;
  Metadata metadata_;
  std::size_t header_size_ = 0;  // bytes, with those before the JSON
  std::vector<Place> places_;    // of the parts that are closed
};

}  // namespace dnamamba::files
