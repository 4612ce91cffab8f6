#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <optional>

#include "apps/cli.h"
#include "core/base/error.h"
#include "core/base/log.h"

namespace dnamamba::apps {
namespace {

namespace po = boost::program_options;
using base::UsageError;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

struct Options {
  std::vector<std::string> sequences;
  std::string output = "-";
  bool force = false;
  std::int64_t threads = 2;
  std::int64_t window = 1'000;
  std::int64_t layer = -1;
  std::int64_t segment = 65'536;
  std::int64_t seed = 0;
  std::string device = "auto";
  std::string precision = "auto";
};

cli::Description describe(Options& options) {
  cli::Description description("embed", "[options] SEQUENCES...", "Turns DNA into vectors. One row a record.");
  description.positional("sequences", po::value(&options.sequences));
  po::options_description& rows = description.group("Rows");
  rows.add_options()("window", cli::number(&options.window, 1), "bases a row");
  rows.add_options()("layer,l", cli::number(&options.layer, -100, 100), "which layer");
  cli::add_output(description.group("Output"), &options.output, &options.force, ".npz, .npy or .tsv; - for stdout");
  po::options_description& computing = description.group("Computing");
  cli::add_threads(computing, &options.threads);
  cli::add_device(computing, &options.device);
  cli::add_precision(computing, &options.precision);
  cli::add_segment(computing, &options.segment);
  cli::add_seed(computing, &options.seed);
  description.example("a genome", "dnamamba embed -o genome.npz genome.fa");
  return description;
}

Options parsed(const Arguments& arguments) {
  Options options;
  cli::Description description = describe(options);
  EXPECT_TRUE(cli::parse(arguments, description));
  return options;
}

std::string refusal_of(const Arguments& arguments) {
  try {
    parsed(arguments);
  } catch (const UsageError& error) {
    return error.what();
  }
  return "not refused";
}

TEST(CommandLine, GivesTheDefaultsWhenNothingIsSaid) {
  const Options options = parsed({});
  EXPECT_THAT(options.sequences, IsEmpty());
  EXPECT_EQ(options.window, 1'000);
  EXPECT_EQ(options.threads, 2);
  EXPECT_EQ(options.output, "-");
  EXPECT_FALSE(options.force);
}

TEST(CommandLine, ReadsOptionsInEverySpellingThatUnixKnows) {
  EXPECT_EQ(parsed({"-t8"}).threads, 8);
  EXPECT_EQ(parsed({"-t", "8"}).threads, 8);
  EXPECT_EQ(parsed({"--threads=8"}).threads, 8);
  EXPECT_EQ(parsed({"--threads", "8"}).threads, 8);
  EXPECT_EQ(parsed({"-@8"}).threads, 8);
  EXPECT_EQ(parsed({"-@", "8"}).threads, 8);
  EXPECT_EQ(parsed({"--layer", "-3"}).layer, -3);
  EXPECT_EQ(parsed({"-l-3"}).layer, -3);
}

TEST(CommandLine, TakesADashForAFileAndTwoForTheEndOfOptions) {
  const Options options = parsed({"a.fa", "-o", "-", "-", "--force", "--", "-@x", "--window"});
  EXPECT_THAT(options.sequences, ElementsAre("a.fa", "-", "-@x", "--window"));
  EXPECT_EQ(options.output, "-");
  EXPECT_TRUE(options.force);
}

TEST(CommandLine, SaysInOneLineWhatIsWrong) {
  EXPECT_EQ(refusal_of({"--windw", "5"}), "unknown option --windw; did you mean --window?");
  EXPECT_EQ(refusal_of({"--wind", "5"}), "unknown option --wind; did you mean --window?");
  EXPECT_EQ(refusal_of({"-z"}), "unknown option -z");
  EXPECT_EQ(refusal_of({"--window"}), "--window needs a value");
  EXPECT_EQ(refusal_of({"--window="}), "--window needs a value");
  EXPECT_EQ(refusal_of({"--force=yes"}), "--force takes no value");
  EXPECT_EQ(refusal_of({"--window", "0"}), "--window: 0 is less than 1");
  EXPECT_EQ(refusal_of({"-t", "x"}), "--threads: 'x' is not a number such as 1000, 1,000, 250k or 1.5M");
  EXPECT_EQ(refusal_of({"-t2", "-t3"}), "--threads is given more than once");
  EXPECT_EQ(refusal_of({"--precision", "fp8"}), "--precision: 'fp8' is not one of auto|fp32|bf16|fp64");
  EXPECT_EQ(refusal_of({"-q", "-v"}), "-q and -v contradict each other");
}

TEST(CommandLine, RefusesArgumentsThatACommandDoesNotTake) {
  cli::Description description("doctor", "[options]", "Looks around.");
  EXPECT_THROW(cli::parse({"genome.fa"}, description), UsageError);
}

TEST(CommandLine, KnowsDevicesByName) {
  for (const char* device : {"auto", "cpu", "cuda", "cuda:0", "cuda:12"})
    EXPECT_EQ(parsed({"--device", device}).device, device);
  for (const char* device : {"gpu", "cuda:", "cuda:-1", "cuda:x", "cuda:01", "cuda0", ""})
    EXPECT_THAT(refusal_of({"--device", device}), HasSubstr("--device: '")) << device;
}

TEST(CommandLine, SetsUpTheLog) {
  parsed({"-q"});
  EXPECT_EQ(base::log_level(), base::LogLevel::kWarning);
  parsed({"--verbose"});
  EXPECT_EQ(base::log_level(), base::LogLevel::kDebug);
  parsed({});
  EXPECT_EQ(base::log_level(), base::LogLevel::kInfo);
  EXPECT_EQ(base::log_format(), base::LogFormat::kText);
}

class ConfigFile : public ::testing::Test {
 protected:
  void SetUp() override { std::filesystem::create_directories(folder_); }
  void TearDown() override { std::filesystem::remove_all(folder_); }
  std::string write(const std::string& text) {
    std::ofstream(folder_ / "options.ini") << text;
    return (folder_ / "options.ini").string();
  }
  const std::filesystem::path folder_ = std::filesystem::path(::testing::TempDir()) / "dnamamba_config_file_test";
};

TEST_F(ConfigFile, GivesWhatTheCommandLineDoesNot) {
  const std::string path = write("# of the project\nwindow = 5k\nthreads=3\nforce = true\nsequences = a.fa\n");
  const Options options = parsed({"--config", path, "-t", "4"});
  EXPECT_EQ(options.window, 5'000);
  EXPECT_EQ(options.threads, 4);
  EXPECT_TRUE(options.force);
  EXPECT_THAT(options.sequences, ElementsAre("a.fa"));
}

TEST_F(ConfigFile, IsNamedWhereItIsWrong) {
  EXPECT_THAT(refusal_of({"--config", write("windw = 5\n")}),
              HasSubstr("options.ini: unknown option --windw; did you mean --window?"));
  EXPECT_THAT(refusal_of({"--config", write("window = many\n")}), HasSubstr("options.ini: --window: 'many'"));
  EXPECT_THAT(refusal_of({"--config", write("no equals sign\n")}), HasSubstr("options.ini: "));
  EXPECT_THAT(refusal_of({"--config", (folder_ / "absent.ini").string()}), HasSubstr("absent.ini is not a file"));
  EXPECT_THAT(refusal_of({"--config", folder_.string()}), HasSubstr("is not a file"));
}

TEST(Help, TellsUsageOptionsWithDefaultsExamplesAndExitStatuses) {
  Options options;
  const std::string help = describe(options).help();
  for (const char* part : {"Usage: dnamamba embed [options] SEQUENCES...", "Turns DNA into vectors. One row a record.",
                           "Rows:", "  -t, --threads INT       processor threads; -@ is the same [2]",
                           "      --window INT", "[1000]", "--precision auto|fp32|bf16|fp64", "# a genome",
                           "Exit status: 0 done, 1 failed, 2 wrong usage, 3 out of memory."})
    EXPECT_THAT(help, HasSubstr(part));
  EXPECT_LT(help.find("Rows:"), help.find("Output:"));
  EXPECT_LT(help.find("Output:"), help.find("Computing:"));
}

TEST(Help, IsTheSameOnEveryMachine) {
  Options options;
  options.threads = 0;  // all that there are
  EXPECT_THAT(describe(options).help(), HasSubstr("processor threads; -@ is the same [all]"));
}

TEST(Help, FitsEightyColumns) {
  Options options;
  std::istringstream lines(describe(options).help());
  for (std::string line; std::getline(lines, line);) EXPECT_LE(line.size(), 80U) << line;
}

TEST(Help, IsShownWhateverElseIsWrong) {
  for (const Arguments& arguments : {Arguments{"-h"}, Arguments{"--nonsense", "--help"}}) {
    Options options;
    cli::Description description = describe(options);
    ::testing::internal::CaptureStdout();
    EXPECT_FALSE(cli::parse(arguments, description));
    EXPECT_THAT(::testing::internal::GetCapturedStdout(), HasSubstr("--config FILE"));
  }
}

TEST(Number, IsReadWithCommasAndSuffixes) {
  const std::vector<std::pair<std::string, std::int64_t>> cases{{"0", 0},
                                                                {"1000", 1'000},
                                                                {"1,000", 1'000},
                                                                {"12,345,678", 12'345'678},
                                                                {"1k", 1'000},
                                                                {"1K", 1'000},
                                                                {"2M", 2'000'000},
                                                                {"3g", 3'000'000'000},
                                                                {"1.5k", 1'500},
                                                                {"0.25M", 250'000},
                                                                {"1.500k", 1'500},
                                                                {"-3", -3},
                                                                {"9223372036854775807", INT64_MAX}};
  for (const auto& [text, value] : cases) EXPECT_EQ(cli::parse_number(text), value) << text;
}

TEST(Number, IsRefusedWhereItCouldMeanSomethingElse) {
  for (const char* text : {"", "-", "k", "1,00", "1,0000", ",100", "1,,000", "1.5", "1.", ".5k", "1.0005k", "1kk",
                           "1 000", "0x10", "1e3", "+1", "--1", "9223372036854775808", "10000000000G"})
    EXPECT_THROW(cli::parse_number(text), UsageError) << text;
}

}  // namespace
}  // namespace dnamamba::apps
