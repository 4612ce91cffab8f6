#include "core/base/heap.h"

#if __has_include(<malloc.h>)
#include <malloc.h>
#endif
#include <climits>

namespace dnamamba::base {

void keep_freed_memory() noexcept {
#ifdef __GLIBC__
  mallopt(M_MMAP_MAX, 0);
  mallopt(M_TRIM_THRESHOLD, INT_MAX);
  mallopt(M_TOP_PAD, 16 << 20);
#endif
}

}  // namespace dnamamba::base
