// Damaged input as users meet it: one line, status 1, and no output under its name.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>

#include "tests/cli/tiny_model.h"
#include "tests/support/damage.h"
#include "tests/support/python.h"
#include "tests/support/sequence_files.h"

namespace dnamamba::test {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::StartsWith;

class DamagedInput : public ::testing::TestWithParam<std::string> {};

TEST_P(DamagedInput, EndsEmbedInOneLineWithoutAnOutput) {
  if (needs_samtools(GetParam()) && !has_samtools()) GTEST_SKIP() << "samtools is not installed";
  const TempDir folder;
  const std::string whole = sequence_file(GetParam()), out = folder.file("out.npz");
  std::string flipped = whole;
  flipped[whole.size() * 2 / 3] = static_cast<char>(flipped[whole.size() * 2 / 3] ^ 4);
  for (const std::string& bytes : {whole.substr(0, whole.size() - 30), flipped}) {
    const std::string input = folder.write("reads." + GetParam(), bytes);
    const ProgramResult result = dnamamba({"embed", "-q", "-t", "2", "-m", tiny_model(), input, "-o", out});
    EXPECT_EQ(result.status, 1);
    EXPECT_THAT(result.err, AllOf(StartsWith("dnamamba embed: " + input + ": "), HasSubstr("again")));
    EXPECT_EQ(std::count(result.err.begin(), result.err.end(), '\n'), 1) << result.err;
    EXPECT_EQ(std::distance(fs::directory_iterator(folder.path()), fs::directory_iterator()), 1) << "only the input";
  }
}

INSTANTIATE_TEST_SUITE_P(Of, DamagedInput, ::testing::ValuesIn(kSequenceSuffixes), [](const auto& suffix) {
  std::string name = suffix.param;
  std::replace(name.begin(), name.end(), '.', '_');
  return name;
});

// Nothing here reads .npz: NumPy has to see what happens to ours.
TEST(DamagedOutput, OfNpzIsSeenByNumpyOrHarmless) {
  DNAMAMBA_REQUIRE_PYTHON("numpy");
  const TempDir folder;
  const std::string out = folder.file("rows.npz");
  const std::string input = folder.write("s.fa", ">a\nACGTTGCA\n>b\nGGCATNNACCA\n>c\nACCATTAGGATAC\n");
  ASSERT_EQ(dnamamba({"embed", "-q", "-t", "1", "-m", tiny_model(), input, "-o", out}).status, 0);
  const PythonResult result = run_python(R"(
import io, random, sys, numpy
whole = open(sys.argv[1], "rb").read()
def read(data):
    with numpy.load(io.BytesIO(data)) as z:
        return {name: (z[name].dtype, z[name].shape, z[name].tobytes()) for name in z.files}
expected = read(whole)
def outcome(data):
    try:
        found = read(data)  # an array that is missing is seen by who asks for it
        return "same" if all(expected.get(name) == array for name, array in found.items()) else "other"
    except Exception:
        return "refused"
random.seed(1)
places = sorted(random.sample(range(len(whole)), 250))
cuts = [outcome(whole[:n]) for n in places]
flips = [outcome(whole[:n] + bytes([whole[n] ^ 1 << random.randrange(8)]) + whole[n + 1:]) for n in places]
print(sorted(set(cuts)), "other" in flips, flips.count("refused") > 150)
)",
                                         {out});
  EXPECT_EQ(result.output, "['refused'] False True\n");
}

}  // namespace
}  // namespace dnamamba::test
