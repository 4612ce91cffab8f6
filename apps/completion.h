// Completion scripts for shells, made from the commands' own descriptions of their options, so that they can't go
// stale.
//
// A script is a head, a piece for each command, and a tail, printed one after the other.
#pragma once
#include <boost/program_options/options_description.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace dnamamba::apps {

enum class Shell { kBash, kZsh };

/// Nothing for a shell that we don't know.
std::optional<Shell> shell_named(std::string_view name);

/// What may be written where a value is due. A value's name says it: words are themselves, FILE, FOLDER, MODEL and
/// DEVICE are what they say, `|` is between alternatives; any other name, INT say, offers nothing.
struct Offer {
  std::vector<std::string> words;
  bool files = false;
  bool folders = false;
  bool models = false;  ///< those that ship
};
Offer offer_of(const std::string& value_name);

struct CompletedOption {
  std::vector<std::string> names;  ///< as they are written: -m, --model
  std::string description;
  std::string value_name;  ///< empty: it takes no value
  bool repeats = false;
};
CompletedOption completed(const boost::program_options::option_description& option);

struct CompletedArgument {
  std::string value_name;
  int most = -1;  ///< how many in a row; −1: all that are left
};

struct CompletedCommand {
  std::string name;
  std::vector<CompletedOption> options;
  std::vector<CompletedArgument> arguments;
};

struct CompletedProgram {
  struct Command {
    std::string name;
    std::string summary;
  };
  std::vector<Command> commands;
  std::vector<Command> options;  ///< in the place of a command
  std::vector<std::string> models;
};

std::string completion_head(Shell shell, const CompletedProgram& program);
std::string completion_of(Shell shell, const CompletedCommand& command);
std::string completion_tail(Shell shell);

}  // namespace dnamamba::apps
