// pytorch_model.bin: what torch.save(model.state_dict(), path) writes, read and written without Python.
#pragma once
#include <filesystem>

#include "core/files/tensor_file.h"

namespace dnamamba::files {

/// The tensors of a state dict, made contiguous. Tensors that share a storage share their elements here too.
/// Nothing in the file is executed. @throws IoError naming the file, and the member and offset, if it is damaged or
/// holds anything but a dict of name to tensor.
TensorMap read_torch_state_dict(const std::filesystem::path& path);

/// What torch.load reads, with weights_only too. Tensors whose elements are the same ones in memory share a storage.
/// @throws IoError if the file exists and `force` is false, or can't be written.
void write_torch_state_dict(const std::filesystem::path& path, const TensorMap& tensors, bool force);

}  // namespace dnamamba::files
