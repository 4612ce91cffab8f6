#include "core/model/state_dict_writer.h"

#include <ATen/core/Dict.h>
#include <torch/csrc/jit/serialization/pickle.h>

#include <span>

#include "core/files/atomic_file.h"

namespace dnamamba::model {

void write_torch_state_dict(const Parameters& tensors, const std::filesystem::path& path) {
  c10::Dict<std::string, at::Tensor> dict;
  for (const auto& [name, tensor] : tensors) dict.insert(name, tensor.detach());
  const std::vector<char> bytes = torch::jit::pickle_save(c10::IValue(dict));
  files::AtomicFile file(path, /*force=*/false);
  file.append(std::as_bytes(std::span(bytes)));
  file.commit();
}

}  // namespace dnamamba::model
