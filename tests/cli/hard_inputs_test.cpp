// What goes wrong around a program, and inputs that are odd but right: each has one clear answer.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <random>

#include "tests/cli/tiny_model.h"
#include "tests/support/compress.h"
#include "tests/support/throws.h"

namespace dnamamba::test {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::StartsWith;

std::int64_t lines_of(const std::string& text) {
  return std::count(text.begin(), text.end(), '\n');
}

std::string random_bases(std::size_t length) {
  std::mt19937 random(5);
  std::string bases;
  while (bases.size() < length) bases += "ACGT"[random() % 4];
  return bases;
}

ProgramResult embed(std::vector<std::string> arguments) {
  arguments.insert(arguments.begin(), {"embed", "-q", "-m", tiny_model()});
  return dnamamba(arguments);
}

// ---- a disk that is full: a file system of its own with a quarter of a megabyte

class FullDisk : public ::testing::Test {
 protected:
  void SetUp() override {
    if (shell("unshare -m mount -t tmpfs none \"$2\"", {folder_.path().string()}).status != 0)
      GTEST_SKIP() << "no file system may be mounted here";
  }

  /// Runs the script on the small disk, its folder as $disk; then says what lies there on standard output.
  ProgramResult on_small_disk(const std::string& script, const std::vector<std::string>& arguments) {
    std::vector<std::string> words{"-m",
                                   "sh",
                                   "-c",
                                   "disk=$1; shift; mount -t tmpfs -o size=256k none \"$disk\" || exit 99\n" + script +
                                       "\nstatus=$?; ls -A \"$disk\"; exit $status",
                                   "sh",
                                   disk_,
                                   DNAMAMBA_PROGRAM};
    words.insert(words.end(), arguments.begin(), arguments.end());
    return run_program("/usr/bin/unshare", words);
  }

  const TempDir folder_;
  const std::string disk_ = [this] {
    fs::create_directory(folder_.path() / "disk");
    return folder_.file("disk");
  }();
  const std::string contig_ = folder_.write("contig.fa", ">contig\n" + random_bases(25'000) + "\n");
};

TEST_F(FullDisk, IsOneLineAndLeavesNoFileOfAnyFormat) {
  for (const char* name : {"x.npz", "x.npy", "x.tsv", "x.tsv.gz", "x.safetensors", "x.h5ad"}) {
    const ProgramResult result =
        on_small_disk(std::string("\"$1\" embed -q --strand forward -m \"$2\" -w 10 \"$3\" -o \"$disk\"/") + name,
                      {tiny_model(), contig_});
    EXPECT_EQ(result.status, 1) << name;
    EXPECT_THAT(result.out, IsEmpty()) << name;
    EXPECT_THAT(result.err, AllOf(StartsWith("dnamamba embed: " + disk_ + "/x."), HasSubstr("No space left on device")))
        << name;
    EXPECT_EQ(lines_of(result.err), 1) << result.err;
  }
}

TEST_F(FullDisk, IsSaidOfATemporaryFolderToo) {
  const std::string long_one = folder_.write("long.fa", ">long\n" + std::string(9'000'000, 'C') + "\n");
  const ProgramResult result = on_small_disk(R"(TMPDIR=$disk "$1" embed -q -m "$2" "$3" -o "$4")",
                                             {tiny_model(), long_one, folder_.file("rows.npz")});
  EXPECT_EQ(result.status, 1);
  EXPECT_THAT(result.err, AllOf(HasSubstr("No space left on device"), HasSubstr("TMPDIR")));
  EXPECT_EQ(lines_of(result.err), 1) << result.err;
  EXPECT_FALSE(fs::exists(folder_.file("rows.npz")));
}

TEST_F(FullDisk, LeavesNoHalfATrainedModel) {
  const ProgramResult result = on_small_disk(
      R"("$1" pretrain -q "$2" -o "$disk"/model --d-model 128 --layers 2 --steps 1 --batch 64 --context 32)",
      {contig_});
  EXPECT_EQ(result.status, 1);
  EXPECT_THAT(result.err, AllOf(StartsWith("dnamamba pretrain: "), HasSubstr("No space left on device")));
  EXPECT_EQ(lines_of(result.err), 1) << result.err;
  EXPECT_THAT(result.out, ::testing::Not(HasSubstr("model\n")));
}

// Checkpoints of some 100 kB each: the third, while two are kept, finds no room.
TEST_F(FullDisk, LeavesTheLastGoodCheckpointToGoOnFrom) {
  const std::string command =
      R"("$1" pretrain -q "$2" -o "$3" --d-model 32 --layers 1 --steps 12 --batch 64 --context 32 -t 1 )";
  const ProgramResult full = on_small_disk(
      command + R"(--checkpoint "$disk"/run --save-every 2; status=$?; cp -r "$disk"/run "$4"; (exit $status))",
      {contig_, folder_.file("pieces"), folder_.file("run")});
  EXPECT_EQ(full.status, 1);
  EXPECT_THAT(full.err,
              AllOf(StartsWith("dnamamba pretrain: " + disk_ + "/run/"), HasSubstr("No space left on device")));
  EXPECT_EQ(lines_of(full.err), 1) << full.err;
  EXPECT_FALSE(fs::exists(folder_.file("pieces")));
  std::vector<std::string> left;
  for (const auto& entry : fs::directory_iterator(folder_.file("run")))
    left.push_back(entry.path().filename().string());
  EXPECT_THAT(left, ::testing::Not(IsEmpty()));
  EXPECT_THAT(left, ::testing::Each(StartsWith("step-"))) << "nothing half is left";
  const ProgramResult rest =
      shell(command + R"(--checkpoint "$4")", {contig_, folder_.file("pieces"), folder_.file("run")});
  EXPECT_EQ(rest.status, 0) << rest.err;
  ASSERT_EQ(shell(command, {contig_, folder_.file("whole")}).status, 0);
  EXPECT_EQ(content_of(folder_.file("pieces/model.safetensors")), content_of(folder_.file("whole/model.safetensors")));
}

// ---- files that can't be read

TEST(Unreadable, FilesAreNamedAndAFailedReadIsNoEndOfFile) {
  const TempDir folder;
  const std::string secret = folder.write("secret.fa", ">a\nACGT\n");
  fs::permissions(secret, fs::perms::none);
  // Root may read everything, unless it gives that up.
  const std::string as_reader = geteuid() == 0 ? "exec setpriv --inh-caps=-dac_override,-dac_read_search "
                                                 "--bounding-set=-dac_override,-dac_read_search "
                                               : "exec ";
  const ProgramResult result = shell(as_reader + R"("$1" info "$2")", {secret});
  if (result.status == 127 || result.err.starts_with("setpriv"))
    GTEST_SKIP() << "root can't give up reading: " << result.err;
  EXPECT_EQ(result.status, 1);
  EXPECT_EQ(result.err, "dnamamba info: " + secret + ": can't open: Permission denied\n");

  const ProgramResult failed = dnamamba({"info", "/proc/self/mem"});  // opens, but its first page can't be read
  EXPECT_EQ(failed.status, 1);
  EXPECT_EQ(failed.err, "dnamamba info: /proc/self/mem: can't be read: Input/output error\n");
}

// ---- odd, and right

TEST(OddInput, AHundredThousandContigsAreAHundredThousandRows) {
  constexpr std::int64_t kContigs = 100'000;
  std::string text;
  for (std::int64_t i = 0; i < kContigs; ++i) text += ">contig_" + std::to_string(i) + "\nACGTTGCA\n";
  const TempDir folder;
  const std::string contigs = folder.write("contigs.fa.gz", bgzipped(text));
  const ProgramResult info = dnamamba({"info", contigs});
  EXPECT_THAT(info.out, AllOf(HasSubstr("records      100000\n"), HasSubstr("bases        800000\n")));
  const ProgramResult rows = embed({"--strand", "forward", contigs});
  EXPECT_EQ(rows.status, 0) << rows.err;
  EXPECT_EQ(lines_of(rows.out), kContigs + 1);
  EXPECT_THAT(rows.out, HasSubstr("\ncontig_99999\t0\t8\t+\t"));
  const ProgramResult last = dnamamba({"info", "-r", "contig_99999:2-3", "--bases", contigs});
  EXPECT_EQ(last.out, ">contig_99999:2-3\nCG\n");
}

TEST(OddInput, ANameOfTenThousandBytesIsKeptWhole) {
  const TempDir folder;
  std::string name = "chr";
  while (name.size() < 10'240) name += static_cast<char>('!' + name.size() % 90);
  const std::string path = folder.write("named.fa", ">" + name + "\nACGTTGCA\n");
  EXPECT_THAT(embed({path}).out, HasSubstr("\n" + name + "\t0\t8\t.\t"));
  EXPECT_EQ(dnamamba({"info", "--bases", path}).out, ">" + name + "\nACGTTGCA\n");
  const std::string bad = folder.write("bad.fa", ">" + name + "\nAC-T\n");
  const ProgramResult refused = embed({bad});
  EXPECT_EQ(refused.status, 1);
  EXPECT_EQ(lines_of(refused.err), 1);
  EXPECT_LT(refused.err.size(), 600U);  // a name of this length must not bury what is wrong
}

TEST(OddInput, RecordsWithoutBasesAreKeptAndAFileOfThemIsRead) {
  const TempDir folder;
  const std::string path = folder.write("empty.fa", ">first\n>second\n\n>third\r\n");
  EXPECT_THAT(dnamamba({"info", path}).out, AllOf(HasSubstr("records      3\n"), HasSubstr("bases        0\n")));
  const ProgramResult rows = embed({path});
  EXPECT_EQ(rows.status, 0) << rows.err;
  EXPECT_EQ(lines_of(rows.out), 1);
}

}  // namespace
}  // namespace dnamamba::test
