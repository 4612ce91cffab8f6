// Any bytes as a BED file, compressed or not; written and read again it is the same.
#include <algorithm>

#include "core/io/region.h"
#include "tests/fuzz/fuzz_target.h"
#include "tests/support/memory_file.h"

int LLVMFuzzerInitialize(int*, char***) {
  return 0;
}

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace dnamamba;
  const test::MemoryFile file(fuzz::text_of(data, size));
  std::vector<io::Region> regions;
  if (!fuzz::refusal([&] { regions = io::read_bed(file.path()); }).empty()) return 0;
  std::string text = "#\n";  // a name could look like a compression
  for (const io::Region& region : regions) {
    fuzz::require(0 <= region.begin && region.begin <= region.end, "it is a region");
    text += base::concat(region.name, "\t", region.begin, "\t", region.end, "\n");
  }
  fuzz::require(io::read_bed(test::MemoryFile(text).path()) == regions, "it is the same again");
  return 0;
}
