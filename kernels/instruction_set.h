// Which of the CPU kernels' instances runs.
#pragma once
#include <string_view>

namespace dnamamba::kernels::cpu {

/// "avx512", "avx2" or "portable": the first of them that this build has and this processor can; none before the one
/// that the environment variable DNAMAMBA_SIMD names. Decided once. Results differ in the last bits from one to
/// another.
/// @throws std::invalid_argument where DNAMAMBA_SIMD names none of them.
std::string_view instruction_set();

}  // namespace dnamamba::kernels::cpu
