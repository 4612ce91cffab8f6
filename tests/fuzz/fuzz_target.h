// What fuzz targets share. Each file *_fuzz.cpp here defines LLVMFuzzerTestOneInput for one reader: clang's libFuzzer
// calls it with what it makes up (`./do fuzz`), replay.cpp with what is in corpus/.
#pragma once
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>
#include <utility>

#include "core/base/error.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);
/// Once, before all inputs; for what needs it.
extern "C" int LLVMFuzzerInitialize(int* count, char*** words);

namespace dnamamba::fuzz {

inline std::string_view text_of(const std::uint8_t* data, std::size_t size) {
  return {reinterpret_cast<const char*>(data), size};
}

/// Ends the process unless `holds`.
inline void require(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "not so: %s\n", what);
  std::abort();
}

/// What `work` refused its input with, "" if it did not. Anything but our own errors ends the process, as does one of
/// several lines.
template <typename Work>
std::string refusal(Work&& work) {
  std::string text;
  try {
    std::forward<Work>(work)();
    return text;
  } catch (const base::Error& error) {
    text = error.what();
  } catch (const base::UsageError& error) {
    text = error.what();
  }
  require(!text.empty(), "an error says something");
  return text;
}

}  // namespace dnamamba::fuzz
