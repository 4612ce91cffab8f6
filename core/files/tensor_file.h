// Tensors as files hold them: a type, a shape and bytes, without any tensor library.
#pragma once
#include <bit>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace dnamamba::files {

static_assert(std::endian::native == std::endian::little, "the file formats here are little-endian and not swapped");

enum class TensorType { kFloat64, kFloat32, kFloat16, kBFloat16, kInt64, kInt32, kInt16, kInt8, kUint8, kBool };

/// Bytes of one element.
std::int64_t element_size(TensorType type);

/// "float32" and so on, for messages and listings.
const char* name_of(TensorType type);

/// Elements of a shape; the empty shape is a scalar. nullopt if an extent is negative or the product passes 2^63 - 1.
std::optional<std::int64_t> element_count(std::span<const std::int64_t> shape);

/// Bytes of a tensor; nullopt as above.
std::optional<std::int64_t> byte_count(TensorType type, std::span<const std::int64_t> shape);

/// "[2, 3]".
std::string text_of_shape(std::span<const std::int64_t> shape);

/// Elements in row-major order, little-endian. Copies share the elements, which never change.
struct StoredTensor {
  TensorType type = TensorType::kFloat32;
  std::vector<std::int64_t> shape;
  std::shared_ptr<const std::byte> elements;  ///< Aligned for its type. Null only if `size` is 0.
  std::int64_t size = 0;                      ///< Bytes: byte_count(type, shape).

  std::span<const std::byte> bytes() const { return {elements.get(), static_cast<std::size_t>(size)}; }
};

/// Takes `bytes` as the elements. @throws base::Error if their count is not that of the shape.
StoredTensor make_tensor(TensorType type, std::vector<std::int64_t> shape, std::vector<std::byte> bytes);

/// By name, in the order of the names.
using TensorMap = std::map<std::string, StoredTensor>;

}  // namespace dnamamba::files
