// Any bytes as a safetensors file; what is read is the same once written and read again.
#include "core/files/safetensors.h"
#include "tests/fuzz/fuzz_target.h"
#include "tests/support/memory_file.h"
#include "tests/support/temp_dir.h"

namespace dnamamba::fuzz {
namespace {

bool equal(const files::TensorMap& a, const files::TensorMap& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](const auto& x, const auto& y) {
    const auto left = x.second.bytes(), right = y.second.bytes();
    return x.first == y.first && x.second.type == y.second.type && x.second.shape == y.second.shape &&
           std::equal(left.begin(), left.end(), right.begin(), right.end());
  });
}

}  // namespace
}  // namespace dnamamba::fuzz

int LLVMFuzzerInitialize(int*, char***) {
  return 0;
}

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace dnamamba;
  static const test::TempDir folder;
  const test::MemoryFile file(fuzz::text_of(data, size));
  files::SafetensorsContent content;
  if (!fuzz::refusal([&] { content = files::read_safetensors(file.path()); }).empty()) return 0;
  const std::string copy = folder.file("copy.safetensors");
  files::write_safetensors(copy, content.tensors, /*force=*/true, content.metadata);
  const files::SafetensorsContent again = files::read_safetensors(copy);
  fuzz::require(again.metadata == content.metadata, "the metadata is the same again");
  fuzz::require(fuzz::equal(again.tensors, content.tensors), "the tensors are the same again");
  return 0;
}
