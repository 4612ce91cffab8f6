// The pickle inside a torch.save archive, read as data: an allow-list of opcodes and globals, nothing is ever called.
#pragma once
#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "core/files/tensor_file.h"

namespace dnamamba::files {

/// A tensor as a view into a storage of the archive. Counts, strides and offsets are in elements.
struct PickledTensor {
  std::string storage;  ///< The storage's key: its bytes are the member `data/KEY`.
  TensorType type = TensorType::kFloat32;
  std::int64_t storage_elements = 0;
  std::int64_t offset = 0;
  std::vector<std::int64_t> shape;
  std::vector<std::int64_t> strides;
};

/// A dict of name to tensor, pickled with protocol 2 by torch.save(model.state_dict(), ...).
/// Every tensor lies within its storage_elements.
/// @throws IoError naming `file`, the offset in the pickle and what is not allowed there.
std::map<std::string, PickledTensor> read_torch_pickle(std::span<const std::byte> pickle, const std::string& file);

}  // namespace dnamamba::files
