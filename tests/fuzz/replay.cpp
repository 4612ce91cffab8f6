// Runs a fuzz target over files, and over each of them cut anywhere: what libFuzzer found stays found, without clang.
#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "tests/fuzz/fuzz_target.h"
#include "tests/support/damage.h"

namespace {

namespace fs = std::filesystem;

void run(std::string_view bytes) {
  // A copy of its own, so that the address sanitizer sees a read behind its end.
  const std::vector<std::uint8_t> copy(bytes.begin(), bytes.end());
  LLVMFuzzerTestOneInput(copy.data(), copy.size());
}

}  // namespace

int main(int count, char** words) {
  LLVMFuzzerInitialize(&count, &words);
  int files = 0;
  for (int i = 1; i < count; ++i)
    for (const auto& entry : fs::directory_iterator(words[i])) {
      std::fprintf(stderr, "%s\n", entry.path().filename().c_str());  // the last one is to blame
      std::ifstream file(entry.path(), std::ios::binary);
      const std::string bytes(std::istreambuf_iterator<char>(file), {});
      run(bytes);
      for (const std::size_t length : dnamamba::test::cuts(bytes.size(), 300, 200))
        run(std::string_view(bytes).substr(0, length));
      ++files;
    }
  std::printf("%d files\n", files);
  return files > 0 ? 0 : 1;
}
