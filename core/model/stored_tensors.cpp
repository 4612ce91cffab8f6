#include <ATen/ops/empty.h>

#include <cstring>

#include "core/base/error.h"
#include "core/model/model_folder.h"

namespace dnamamba::model {
namespace {

at::ScalarType scalar_type_of(files::TensorType type) {
  switch (type) {
    case files::TensorType::kFloat64:
      return at::kDouble;
    case files::TensorType::kFloat32:
      return at::kFloat;
    case files::TensorType::kFloat16:
      return at::kHalf;
    case files::TensorType::kBFloat16:
      return at::kBFloat16;
    case files::TensorType::kInt64:
      return at::kLong;
    case files::TensorType::kInt32:
      return at::kInt;
    case files::TensorType::kInt16:
      return at::kShort;
    case files::TensorType::kInt8:
      return at::kChar;
    case files::TensorType::kUint8:
      return at::kByte;
    case files::TensorType::kBool:
      return at::kBool;
  }
  throw base::Error("unknown tensor type");
}

files::TensorType tensor_type_of(at::ScalarType type) {
  switch (type) {
    case at::kDouble:
      return files::TensorType::kFloat64;
    case at::kFloat:
      return files::TensorType::kFloat32;
    case at::kHalf:
      return files::TensorType::kFloat16;
    case at::kBFloat16:
      return files::TensorType::kBFloat16;
    case at::kLong:
      return files::TensorType::kInt64;
    case at::kByte:
      return files::TensorType::kUint8;
    default:
      throw base::Error(base::concat("tensors of type ", type, " are not stored"));
  }
}

}  // namespace

at::Tensor to_tensor(const files::StoredTensor& stored) {
  at::Tensor tensor = at::empty(stored.shape, scalar_type_of(stored.type));
  const auto bytes = stored.bytes();
  if (!bytes.empty()) std::memcpy(tensor.mutable_data_ptr(), bytes.data(), bytes.size());
  return tensor;
}

files::StoredTensor to_stored(const at::Tensor& tensor) {
  const at::Tensor source = tensor.detach().cpu().contiguous();
  std::vector<std::byte> bytes(source.nbytes());
  if (!bytes.empty()) std::memcpy(bytes.data(), source.const_data_ptr(), bytes.size());
  return files::make_tensor(tensor_type_of(source.scalar_type()), source.sizes().vec(), std::move(bytes));
}

}  // namespace dnamamba::model
