// pytorch_model.bin, as torch.load reads it.
#pragma once
#include <filesystem>

#include "core/model/parameters.h"

namespace dnamamba::model {

/// Writes a dict of name to tensor in the form of torch.save. @throws base::IoError.
void write_torch_state_dict(const Parameters& tensors, const std::filesystem::path& path);

}  // namespace dnamamba::model
