// Any text as a region of the command line; printed and read again it is the same.
#include "core/io/region.h"
#include "tests/fuzz/fuzz_target.h"

int LLVMFuzzerInitialize(int*, char***) {
  return 0;
}

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace dnamamba;
  io::Region region;
  if (!fuzz::refusal([&] { region = io::parse_region(fuzz::text_of(data, size)); }).empty()) return 0;
  fuzz::require(region.begin >= 0 && region.begin < region.end && !region.name.empty(), "it is a region");
  if (region.name.find('}') != std::string::npos) return 0;
  const io::Region again = io::parse_region(base::concat("{", region.name, "}:", region.begin + 1, "-", region.end));
  fuzz::require(again.name == region.name && again.begin == region.begin && again.end == region.end,
                "it is the same again");
  return 0;
}
