// The instance of a kernel's part for the type at hand and the instruction set of this processor.
#pragma once
#include "hwy/highway.h"
#include "kernels/instruction_set.h"

/// From part_float and part_double, which each instruction set has, makes part_for(T{}): a pointer to the one to call.
#define DNAMAMBA_DISPATCH(part)                  \
  HWY_EXPORT(part##_float);                      \
  HWY_EXPORT(part##_double);                     \
  auto part##_for(float) {                       \
    instruction_set();                           \
    return &HWY_DYNAMIC_DISPATCH(part##_float);  \
  }                                              \
  auto part##_for(double) {                      \
    instruction_set();                           \
    return &HWY_DYNAMIC_DISPATCH(part##_double); \
  }                                              \
  static_assert(true, "for the semicolon")
