// Any bytes as the .fai of a FASTA file.
#include "core/io/sequence_reader.h"
#include "tests/fuzz/fuzz_target.h"
#include "tests/fuzz/htslib_limits.h"
#include "tests/support/temp_dir.h"

int LLVMFuzzerInitialize(int*, char***) {
  return 0;
}

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace dnamamba;
  static const test::TempDir folder;
  static const std::string fasta = folder.write("a.fa", ">c1\nACGTACGTAC\nGGT\n>c2\nTTTT\n");
  folder.write("a.fa.fai", fuzz::text_of(data, size));
  for (const char* region : {"c1", "c1:3-12", "c2:2-2"})
    fuzz::refusal([&] {
      io::SequenceReader reader(fasta, {.chunk_length = 100, .regions = {io::parse_region(region)}});
      std::size_t bases = 0;
      while (const auto chunk = reader.next()) bases += chunk->bases.size();
      fuzz::require(bases <= 100, "there are no more bases than in the file");
    });
  return 0;
}
