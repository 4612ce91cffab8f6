// The safetensors format: 8 bytes of header length, a JSON header, then the tensors' bytes without gaps.
#pragma once
#include <filesystem>
#include <map>
#include <string>

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

}  // namespace dnamamba::files
