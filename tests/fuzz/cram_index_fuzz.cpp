// Any bytes as the .crai of a CRAM file.
#include <algorithm>

#include "core/io/cram_index.h"
#include "tests/fuzz/fuzz_target.h"
#include "tests/support/memory_file.h"

int LLVMFuzzerInitialize(int*, char***) {
  return 0;
}

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace dnamamba;
  const test::MemoryFile file(fuzz::text_of(data, size));
  fuzz::refusal([&] {
    const auto containers = io::containers_with({{{0, 100}}, {}, {{50, 50}, {70, 1'000}}}, file.path());
    fuzz::require(std::is_sorted(containers.begin(), containers.end()), "containers are in the order of the file");
  });
  return 0;
}
