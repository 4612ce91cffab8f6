// The C library's heap, for programs that ask for the same large buffers over and over.
#pragma once

namespace dnamamba::base {

/// Keeps freed memory in the process for the next buffer, where the C library would give it back and fetch it again
/// page by page: `embed` on 16 threads runs twice as fast (docs/performance.md), for some percent more memory at the
/// peak. For main(), before the first thread; glibc only.
void keep_freed_memory() noexcept;

}  // namespace dnamamba::base
