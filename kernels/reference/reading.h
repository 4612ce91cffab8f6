// One sequence in the order in which a recurrence reads it.
#pragma once
#include <cstdint>

#include "kernels/ragged.h"

namespace dnamamba::kernels::reference {

struct Reading {
  std::int64_t begin, end;
  bool reverse;
  [[nodiscard]] std::int64_t length() const { return end - begin; }
  [[nodiscard]] std::int64_t row(std::int64_t position) const {
    return reverse ? end - 1 - position : begin + position;
  }
};

inline Reading reading(const Ragged& ragged, std::int64_t sequence, bool reverse) {
  return {ragged.offsets[sequence], ragged.offsets[sequence + 1], reverse};
}

}  // namespace dnamamba::kernels::reference
