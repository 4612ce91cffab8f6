// The memory of `embed` does not grow with the record.
#include <gtest/gtest.h>

#include <fstream>
#include <random>

#include "tests/cli/tiny_model.h"
#include "tests/support/background_program.h"
#include "tests/support/throws.h"

namespace dnamamba::test {
namespace {

// One record of random bases.
std::string write_record(const TempDir& folder, const std::string& name, std::int64_t length) {
  std::ofstream out(folder.file(name));
  out << ">" << name << "\n";
  std::mt19937_64 random(1);
  std::string line(64, 'A');
  for (std::int64_t i = 0; i < length; i += 64) {
    std::uint64_t bits = random(), more = random();
    for (int j = 0; j < 64; ++j) {
      line[j] = "ACGT"[bits & 3];
      bits = j == 31 ? more : bits >> 2;
    }
    out << line << "\n";
  }
  return folder.file(name);
}

std::int64_t peak_memory(const TempDir& folder, const std::string& record) {
  BackgroundProgram program(DNAMAMBA_PROGRAM,
                            {"embed", "-q", "-m", tiny_model(), record, "--strand", "both", "-o", record + ".npz"},
                            folder.file("errors"));
  const auto ending = program.wait();
  EXPECT_EQ(ending.status, 0) << content_of(folder.file("errors"));
  return ending.peak_memory;
}

TEST(Memory, OfARecordOfFortyMegabasesIsThatOfSix) {
  const TempDir folder;
  const std::int64_t small = peak_memory(folder, write_record(folder, "small.fa", 6'000'000)),
                     large = peak_memory(folder, write_record(folder, "large.fa", 40'000'000));
  EXPECT_LT(static_cast<double>(large), 1.1 * static_cast<double>(small));
  EXPECT_LT(large, 1'500'000'000);
  RecordProperty("small_bytes", std::to_string(small));
  RecordProperty("large_bytes", std::to_string(large));
}

}  // namespace
}  // namespace dnamamba::test
