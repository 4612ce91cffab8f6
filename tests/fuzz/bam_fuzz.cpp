// Any bytes inside of the blocks of a BAM file: what checksums do not protect from, a file that was written so.
#include "core/io/alignment_source.h"
#include "core/io/sequence_reader.h"
#include "tests/fuzz/fuzz_target.h"
#include "tests/fuzz/htslib_limits.h"
#include "tests/support/compress.h"
#include "tests/support/memory_file.h"

int LLVMFuzzerInitialize(int*, char***) {
  dnamamba::io::forbid_reference_downloads();
  return 0;
}

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace dnamamba::fuzz;
  const dnamamba::test::MemoryFile file(dnamamba::test::bgzipped("BAM\1" + std::string(text_of(data, size))));
  refusal([&] {
    dnamamba::io::SequenceReader reader(file.path());
    while (const auto chunk = reader.next()) require(!chunk->bases.empty(), "reads without bases are left out");
  });
  return 0;
}
