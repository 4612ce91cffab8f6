// Any text as an alphabet.json.
#include "core/tokens/alphabet.h"
#include "tests/fuzz/fuzz_target.h"

int LLVMFuzzerInitialize(int*, char***) {
  return 0;
}

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace dnamamba;
  fuzz::refusal([&] {
    const auto alphabet = tokens::Alphabet::from_json(fuzz::text_of(data, size), "fuzz");
    fuzz::require(tokens::Alphabet::from_json(alphabet.to_json(), "again") == alphabet, "it says the same again");
  });
  return 0;
}
