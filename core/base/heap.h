// The C library's heap, for programs that ask for the same large buffers over and over.
#pragma once

namespace dnamamba::base {

/// Keeps freed memory in the process for the next buffer, where the C library would give it back and fetch it again page
/// by page: `embed` runs twice as fast. Peak memory stays as it is. For main(), before the first thread; glibc only.
void keep_freed_memory() noexcept;

}  // namespace dnamamba::base
