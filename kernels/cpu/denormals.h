// Numbers below the normal range count as 0 while one of these lives. States that decay towards 0 would otherwise spend
// most of their time in that range, where an operation takes a hundred times as long.
#pragma once
#if defined(__SSE2__)
#include <xmmintrin.h>
#endif

namespace dnamamba::kernels::cpu {

#if defined(__SSE2__)
class FlushDenormals {
 public:
  FlushDenormals() : saved_(_mm_getcsr()) { _mm_setcsr(saved_ | kFlushToZero | kDenormalsAreZero); }
  ~FlushDenormals() { _mm_setcsr(saved_); }
  FlushDenormals(const FlushDenormals&) = delete;
  FlushDenormals& operator=(const FlushDenormals&) = delete;

 private:
  static constexpr unsigned kFlushToZero = 0x8000;
  static constexpr unsigned kDenormalsAreZero = 0x0040;
  unsigned saved_;
};
#else
class FlushDenormals {
 public:
  FlushDenormals() {}  // other processors keep their setting
};
#endif

}  // namespace dnamamba::kernels::cpu
