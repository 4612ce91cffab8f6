// Any bytes as a sequence file: FASTA and FASTQ in every compression, SAM, BAM, CRAM.
#include <vector>

#include "core/io/alignment_source.h"
#include "core/io/sequence_reader.h"
#include "tests/fuzz/fuzz_target.h"
#include "tests/fuzz/htslib_limits.h"
#include "tests/support/memory_file.h"

namespace dnamamba::fuzz {
namespace {

constexpr std::int64_t kMostBases = 50'000;  // a few bytes can decompress to gigabytes

struct Outcome {
  std::vector<std::string> records;  // name, a blank, bases
  std::string error;
  bool whole = true;  // not given up at kMostBases
};

Outcome read(const std::string& path, std::int64_t chunk_length, int threads) {
  Outcome outcome;
  outcome.error = refusal([&] {
    io::SequenceReader reader(path, {.chunk_length = chunk_length, .decompression_threads = threads});
    std::int64_t bases = 0;
    while (auto chunk = reader.next()) {
      if (chunk->offset == 0) outcome.records.push_back(chunk->name + " ");
      require(chunk->ends_record || static_cast<std::int64_t>(chunk->bases.size()) == chunk_length,
              "only a record's last chunk is short");
      outcome.records.back() += chunk->bases;
      bases += static_cast<std::int64_t>(chunk->bases.size()) + 1;
      if (bases <= kMostBases) continue;
      outcome.whole = false;
      break;
    }
  });
  require(outcome.error.empty() || outcome.error.starts_with(path), "an error begins with the file");
  return outcome;
}

bool by_htslib(const std::string& error) {
  return error.find("(near byte") != std::string::npos || error.find("alignment") != std::string::npos;
}

}  // namespace
}  // namespace dnamamba::fuzz

int LLVMFuzzerInitialize(int*, char***) {
  dnamamba::io::forbid_reference_downloads();
  return 0;
}

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace dnamamba::fuzz;
  const dnamamba::test::MemoryFile file(text_of(data, size));
  const Outcome whole = read(file.path(), 1 << 16, 0), cut = read(file.path(), 7, 0);
  if (!whole.whole || !cut.whole) return 0;
  // Of alignments either we or htslib sees first what is wrong.
  const bool either = text_of(data, size).starts_with("CRAM") || by_htslib(whole.error) || by_htslib(cut.error);
  const bool same = either ? whole.error.empty() == cut.error.empty() : whole.error == cut.error;
  require(same, "the error does not depend on the chunks");
  require(!whole.error.empty() || whole.records == cut.records, "the records do not depend on the chunks");
  if (!text_of(data, size).starts_with("\x1f\x8b")) return 0;
  const Outcome threaded = read(file.path(), 1 << 16, 2);
  // Without threads htslib reads BAM itself, and takes a block's wrong length if its CRC is right.
  require(!threaded.error.empty() || whole.error.empty(), "threads refuse no less");
  require(!threaded.error.empty() || whole.records == threaded.records, "threads read the same");
  return 0;
}
