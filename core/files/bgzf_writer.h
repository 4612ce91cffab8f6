// BGZF: gzip in blocks, which bgzip and tabix can seek in and every gunzip reads.
#pragma once
#include <string>
#include <string_view>

#include "core/files/atomic_file.h"

namespace dnamamba::files {

/// Compresses into a file that outlives it, in constant memory. One thread at a time.
class BgzfWriter {
 public:
  explicit BgzfWriter(AtomicFile& file) : file_(file) {}

  /// @throws IoError, e.g. if the disk is full.
  void append(std::string_view text);

  /// Adds what waits, and the mark that the file is whole; nothing may follow. @throws IoError.
  void finish();

 private:
  void write_block(std::string_view text);

  AtomicFile& file_;
  std::string block_;  // not compressed yet
};

}  // namespace dnamamba::files
