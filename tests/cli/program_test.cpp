// The program as users and scripts meet it: what is on stdout, what on stderr, and the exit status.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>

#include "tests/support/run_program.h"

namespace dnamamba::test {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::StartsWith;

ProgramResult dnamamba(const std::vector<std::string>& arguments, const ProgramInput& input = {}) {
  return run_program(DNAMAMBA_PROGRAM, arguments, input);
}

std::ptrdiff_t lines_in(const std::string& text) {
  return std::count(text.begin(), text.end(), '\n');
}

TEST(Program, SaysItsVersionAndNothingElse) {
  const ProgramResult result = dnamamba({"--version"});
  EXPECT_EQ(result.status, 0);
  EXPECT_EQ(result.out, "dnamamba " DNAMAMBA_VERSION "\n");
  EXPECT_THAT(result.err, IsEmpty());
}

TEST(Program, SaysHowToCiteItAsCitationCffDoes) {
  const ProgramResult result = dnamamba({"--citation"});
  EXPECT_EQ(result.status, 0);
  EXPECT_THAT(result.err, IsEmpty());
  std::ifstream file(PROJECT_FOLDER "/CITATION.cff");
  const std::string cff(std::istreambuf_iterator<char>(file), {});
  EXPECT_THAT(result.out, AllOf(HasSubstr("@software{dnamamba,"), HasSubstr("version = {" DNAMAMBA_VERSION "}")));
  EXPECT_THAT(cff, HasSubstr("\nversion: " DNAMAMBA_VERSION "\n"));
  for (const char* part : {"Mamba: Linear-Time Sequence Modeling with Selective State Spaces", "arXiv:2312.00752",
                           "10.48550/arXiv.2312.00752", "The dnamamba authors"}) {
    EXPECT_THAT(result.out, HasSubstr(part));
    EXPECT_THAT(cff, HasSubstr(part));
  }
}

TEST(Program, PrintsCompletionsForShellsThatItKnowsOnly) {
  EXPECT_THAT(dnamamba({"completion", "bash"}).out, HasSubstr("complete -F _dnamamba dnamamba"));
  EXPECT_THAT(dnamamba({"completion", "zsh"}).out, StartsWith("#compdef dnamamba\n"));
  for (const std::vector<std::string>& arguments : {std::vector<std::string>{"completion"}, {"completion", "fish"}}) {
    const ProgramResult result = dnamamba(arguments);
    EXPECT_EQ(result.status, 2);
    EXPECT_THAT(result.out, IsEmpty());
  }
}

TEST(Program, ListsItsCommandsOnStdoutWhenAskedForHelp) {
  for (const std::vector<std::string>& arguments : {std::vector<std::string>{"--help"}, {"-h"}, {"help"}}) {
    const ProgramResult result = dnamamba(arguments);
    EXPECT_EQ(result.status, 0);
    EXPECT_THAT(result.out, AllOf(StartsWith("Usage: dnamamba COMMAND"), HasSubstr("  doctor  ")));
    EXPECT_THAT(result.err, IsEmpty());
  }
}

TEST(Program, WithoutACommandIsWrongUsageAndStdoutStaysEmpty) {
  const ProgramResult result = dnamamba({});
  EXPECT_EQ(result.status, 2);
  EXPECT_THAT(result.out, IsEmpty());
  EXPECT_THAT(result.err, HasSubstr("Usage: dnamamba COMMAND"));
}

TEST(Program, GivesTheSameHelpForACommandInBothOrders) {
  const ProgramResult one = dnamamba({"help", "doctor"}), other = dnamamba({"doctor", "--help"});
  EXPECT_EQ(one.status, 0);
  EXPECT_EQ(other.status, 0);
  EXPECT_EQ(one.out, other.out);
  EXPECT_THAT(one.out, AllOf(StartsWith("Usage: dnamamba doctor"), HasSubstr("Exit status:"), HasSubstr("Examples:")));
}

TEST(Program, SuggestsTheCommandThatWasMeant) {
  const ProgramResult result = dnamamba({"docter", "x"});
  EXPECT_EQ(result.status, 2);
  EXPECT_EQ(result.err, "dnamamba: there is no command 'docter'; did you mean doctor? (try 'dnamamba --help')\n");
  EXPECT_EQ(dnamamba({"help", "assemble"}).status, 2);
  EXPECT_EQ(dnamamba({"--threads", "doctor"}).status, 2);
}

TEST(Program, AnswersWrongUsageOfACommandWithTwoAndOneLine) {
  for (const std::vector<std::string>& arguments : {std::vector<std::string>{"doctor", "--nonsense"},
                                                    {"doctor", "file.fa"},
                                                    {"doctor", "-q", "-v"},
                                                    {"doctor", "--log-format", "xml"}}) {
    const ProgramResult result = dnamamba(arguments);
    EXPECT_EQ(result.status, 2);
    EXPECT_THAT(result.out, IsEmpty());
    EXPECT_THAT(result.err, AllOf(StartsWith("dnamamba doctor: "), HasSubstr("(try 'dnamamba doctor --help')")));
    EXPECT_EQ(lines_in(result.err), 1);
  }
}

TEST(Program, FailsWhenStdoutCannotTakeWhatItSays) {
  const ProgramResult result =
      dnamamba({"--help"}, {.standard_input = {}, .environment = {}, .standard_output = "/dev/full"});
  EXPECT_EQ(result.status, 1);
  EXPECT_THAT(result.err, HasSubstr("standard output"));
}

TEST(Doctor, NamesVersionsAndTheMachine) {
  const ProgramResult result = dnamamba({"doctor"});
  for (const char* part : {"dnamamba      " DNAMAMBA_VERSION, "htslib        1.", "zstd          1.",
                           "LibTorch      2.", "threads       ", " GB available"})
    EXPECT_THAT(result.out, HasSubstr(part));
}

TEST(Doctor, FailsWhereNoModelIsFound) {
  const ProgramResult result = dnamamba(
      {"doctor"}, {.standard_input = {}, .environment = {"DNAMAMBA_PRETRAINED=/nowhere"}, .standard_output = {}});
  EXPECT_EQ(result.status, 1);
  EXPECT_THAT(result.out, HasSubstr("missing       "));
}

}  // namespace
}  // namespace dnamamba::test
