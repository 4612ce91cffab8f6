// Any bytes as a pytorch_model.bin: the archive, and what it holds.
#include "core/files/torch_state_dict.h"
#include "tests/fuzz/fuzz_target.h"
#include "tests/support/memory_file.h"

int LLVMFuzzerInitialize(int*, char***) {
  return 0;
}

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace dnamamba;
  const test::MemoryFile file(fuzz::text_of(data, size));
  fuzz::refusal([&] {
    for (const auto& [name, tensor] : files::read_torch_state_dict(file.path()))
      fuzz::require(tensor.size == files::byte_count(tensor.type, tensor.shape), "a tensor is as large as its shape");
  });
  return 0;
}
