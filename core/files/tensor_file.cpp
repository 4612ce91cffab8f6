#include "core/files/tensor_file.h"

#include <utility>

#include "core/base/error.h"

namespace dnamamba::files {

std::int64_t element_size(TensorType type) {
  switch (type) {
    case TensorType::kFloat64:
    case TensorType::kInt64:
      return 8;
    case TensorType::kFloat32:
    case TensorType::kInt32:
      return 4;
    case TensorType::kFloat16:
    case TensorType::kBFloat16:
    case TensorType::kInt16:
      return 2;
    case TensorType::kInt8:
    case TensorType::kUint8:
    case TensorType::kBool:
      break;
  }
  return 1;
}

const char* name_of(TensorType type) {
  switch (type) {
    case TensorType::kFloat64:
      return "float64";
    case TensorType::kFloat32:
      return "float32";
    case TensorType::kFloat16:
      return "float16";
    case TensorType::kBFloat16:
      return "bfloat16";
    case TensorType::kInt64:
      return "int64";
    case TensorType::kInt32:
      return "int32";
    case TensorType::kInt16:
      return "int16";
    case TensorType::kInt8:
      return "int8";
    case TensorType::kUint8:
      return "uint8";
    case TensorType::kBool:
      break;
  }
  return "bool";
}

std::optional<std::int64_t> element_count(std::span<const std::int64_t> shape) {
  std::int64_t count = 1;
  bool empty = false;
  for (const std::int64_t extent : shape) {
    if (extent < 0) return std::nullopt;
    if (extent == 0) {
      empty = true;
    } else if (__builtin_mul_overflow(count, extent, &count)) {
      return std::nullopt;
    }
  }
  return empty ? 0 : count;
}

std::optional<std::int64_t> byte_count(TensorType type, std::span<const std::int64_t> shape) {
  const auto elements = element_count(shape);
  std::int64_t bytes = 0;
  if (!elements || __builtin_mul_overflow(*elements, element_size(type), &bytes)) return std::nullopt;
  return bytes;
}

std::string text_of_shape(std::span<const std::int64_t> shape) {
  std::string text = "[";
  for (const std::int64_t extent : shape) text += (text.size() > 1 ? ", " : "") + std::to_string(extent);
  return text + "]";
}

StoredTensor make_tensor(TensorType type, std::vector<std::int64_t> shape, std::vector<std::byte> bytes) {
  const auto expected = byte_count(type, shape);
  if (!expected || *expected != static_cast<std::int64_t>(bytes.size()))
    throw base::Error(base::concat("a ", name_of(type), " tensor of shape ", text_of_shape(shape), " can't have ",
                                   bytes.size(), " bytes"));
  StoredTensor tensor;
  tensor.type = type;
  tensor.shape = std::move(shape);
  tensor.size = *expected;
  const auto owner = std::make_shared<const std::vector<std::byte>>(std::move(bytes));
  tensor.elements = std::shared_ptr<const std::byte>(owner, owner->data());
  return tensor;
}

}  // namespace dnamamba::files
