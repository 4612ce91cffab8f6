#include "core/files/bgzf_writer.h"

#include <htslib/bgzf.h>

#include <algorithm>
#include <array>

#include "core/base/error.h"

namespace dnamamba::files {
namespace {

constexpr int kDefaultLevel = -1;  // zlib's choice

}  // namespace

// Not bgzf_write(): that opens files by itself and loses the reason of a failed write.
void BgzfWriter::append(std::string_view text) {
  while (!text.empty()) {
    const std::string_view part = text.substr(0, BGZF_BLOCK_SIZE - block_.size());
    block_ += part;
    text.remove_prefix(part.size());
    if (block_.size() < BGZF_BLOCK_SIZE) continue;
    write_block(block_);
    block_.clear();
  }
}

void BgzfWriter::finish() {
  if (!block_.empty()) write_block(block_);
  block_.clear();
  write_block({});  // an empty block is the mark of the end
}

void BgzfWriter::write_block(std::string_view text) {
  std::array<char, BGZF_MAX_BLOCK_SIZE> compressed;
  std::size_t size = compressed.size();
  if (bgzf_compress(compressed.data(), &size, text.data(), text.size(), kDefaultLevel) != 0)
    throw base::Error(base::concat(file_.target().string(), ": can't compress ", text.size(), " bytes"));
  file_.append(std::string_view(compressed.data(), size));
}

}  // namespace dnamamba::files
