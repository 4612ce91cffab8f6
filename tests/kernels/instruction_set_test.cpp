#include "kernels/instruction_set.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <iostream>
#include <stdexcept>

namespace {

using dnamamba::kernels::cpu::instruction_set;

// It is decided once: in a process of its own each time.
void say(const char* wanted) {
  if (wanted == nullptr) {
    unsetenv("DNAMAMBA_SIMD");
  } else {
    setenv("DNAMAMBA_SIMD", wanted, 1);
  }
  try {
    std::cerr << "it is " << instruction_set() << "\n";
  } catch (const std::invalid_argument& error) {
    std::cerr << error.what() << "\n";
  }
  std::exit(0);
}

TEST(InstructionSet, IsTheBestThatTheProcessorCan) {
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  EXPECT_EXIT(say(nullptr), testing::ExitedWithCode(0), avx2 ? "it is avx" : "it is portable");
  EXPECT_EXIT(say(""), testing::ExitedWithCode(0), avx2 ? "it is avx" : "it is portable");
}

TEST(InstructionSet, IsNoBetterThanTheEnvironmentSays) {
  EXPECT_EXIT(say("portable"), testing::ExitedWithCode(0), "it is portable");
  EXPECT_EXIT(say("avx2"), testing::ExitedWithCode(0), "it is (avx2|portable)");
  EXPECT_EXIT(say("sse9"), testing::ExitedWithCode(0),
              "DNAMAMBA_SIMD is 'sse9', which is none of avx512, avx2, portable");
}

}  // namespace
