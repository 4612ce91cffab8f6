#include "kernels/instruction_set.h"

#include <cstdint>
#include <cstdlib>
#include <stdexcept>
#include <string>

#include "hwy/highway.h"

namespace dnamamba::kernels::cpu {
namespace {

struct InstructionSet {
  std::string_view name;
  std::int64_t target;  ///< Highway's bit: the lower, the better
};
constexpr InstructionSet kSets[] = {{"avx512", HWY_AVX3}, {"avx2", HWY_AVX2}, {"portable", HWY_STATIC_TARGET}};

std::string_view choose() {
  const char* const wanted = std::getenv("DNAMAMBA_SIMD");
  bool allowed = wanted == nullptr || *wanted == '\0';
  for (const InstructionSet& set : kSets) {
    allowed = allowed || set.name == wanted;
    if (!allowed || (hwy::SupportedTargets() & HWY_TARGETS & set.target) == 0) continue;
    hwy::DisableTargets(set.target - 1);  // all better ones
    return set.name;
  }
  throw std::invalid_argument("DNAMAMBA_SIMD is '" + std::string(wanted) +
                              "', which is none of avx512, avx2, portable");
}

}  // namespace

std::string_view instruction_set() {
  static const std::string_view chosen = choose();
  return chosen;
}

}  // namespace dnamamba::kernels::cpu
