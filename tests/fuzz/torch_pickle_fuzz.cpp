// Any bytes as the pickle in a pytorch_model.bin, which no checksum would let through.
#include "core/files/torch_pickle.h"
#include "tests/fuzz/fuzz_target.h"

int LLVMFuzzerInitialize(int*, char***) {
  return 0;
}

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace dnamamba;
  fuzz::refusal([&] {
    for (const auto& [name, tensor] : files::read_torch_pickle(std::as_bytes(std::span(data, size)), "fuzz")) {
      fuzz::require(tensor.shape.size() == tensor.strides.size(), "a stride for each extent");
      fuzz::require(files::element_count(tensor.shape) <= tensor.storage_elements, "a tensor fits into its storage");
    }
  });
  return 0;
}
