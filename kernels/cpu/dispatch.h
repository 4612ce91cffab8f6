// The instance of a kernel's part for the type at hand and the instruction set of this processor.
#pragma once
#include "hwy/highway.h"
#include "kernels/instruction_set.h"

/// A pointer to the instance of `part`, which each instruction set has and HWY_EXPORT names.
#define DNAMAMBA_INSTANCE(part) (::dnamamba::kernels::cpu::instruction_set(), &HWY_DYNAMIC_DISPATCH(part))

/// From part_float and part_double makes part_for(T{}): a pointer to the instance of that type.
#define DNAMAMBA_DISPATCH(part)              \
  HWY_EXPORT(part##_float);                  \
  HWY_EXPORT(part##_double);                 \
  auto part##_for(float) {                   \
    return DNAMAMBA_INSTANCE(part##_float);  \
  }                                          \
  auto part##_for(double) {                  \
    return DNAMAMBA_INSTANCE(part##_double); \
  }                                          \
  static_assert(true, "for the semicolon")
