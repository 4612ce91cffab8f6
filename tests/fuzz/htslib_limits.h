// What fuzz targets that reach into htslib allow it: it asks for as much memory as a file says (16 GiB for a BAM header
// of a few bytes), and goes on if there is none; and on errors it forgets to free some. 2.5 GB are allowed, because a
// zstd file may ask for a window of 2 GiB. For one file of each program.
#pragma once

// Not inline: the sanitizers' own are weak too, and would win.
extern "C" const char* __asan_default_options() {
  return "allocator_may_return_null=1:max_allocation_size_mb=2500";
}

extern "C" const char* __lsan_default_suppressions() {
  return "leak:libhts.so";
}
