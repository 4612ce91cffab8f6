// The dnamamba program: a table of subcommands, and the one place where an exception becomes an exit status.
#include <csignal>
#include <exception>
#include <iostream>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "apps/citation.h"
#include "apps/commands.h"
#include "apps/completion.h"
#include "apps/exit_status.h"
#include "apps/nearest.h"
#include "core/base/error.h"
#include "core/base/heap.h"
#include "core/base/log.h"
#include "core/base/stop.h"
#include "core/io/alignment_source.h"
#include "core/model/registry.h"

namespace dnamamba::apps {
namespace {

struct Command {
  std::string_view name;
  std::string_view summary;
  int (*run)(const Arguments& arguments);
};

constexpr Command kCommands[] = {
    {"embed", "sequences to vectors: one a record, or one a window", run_embed},
    {"score", "how much of a surprise each base is to the model", run_score},
    {"generate", "draws sequences from a model, base after base", run_generate},
    {"pack", "sequence files to one compressed store to train on", run_pack},
    {"pretrain", "trains a model to predict the next base", run_pretrain},
    {"models", "lists, shows, checks and exports models", run_models},
    {"info", "what a sequence file or a model holds", run_info},
    {"doctor", "what this program and machine have, and what is missing", run_doctor},
};

struct Question {
  std::string_view name;
  std::string_view summary;
};

constexpr Question kQuestions[] = {
    {"--help", "this text"},
    {"--version", "which version this is"},
    {"--citation", "how to cite it, also as BibTeX"},
};

template <typename Entries>
std::string lines_of(const Entries& entries) {
  std::string text;
  for (const auto& entry : entries) {
    std::string name(entry.name);
    name.resize(10, ' ');
    text += base::concat("  ", name, "  ", entry.summary, "\n");
  }
  return text;
}

std::string overview() {
  return base::concat(
      "Usage: dnamamba COMMAND [options] FILES\n\n"
      "Very long DNA through state-carrying sequence models.\n\nCommands:\n",
      lines_of(kCommands), "\nOptions:\n", lines_of(kQuestions),
      "\n'dnamamba COMMAND --help' says what a command takes, with examples. 'dnamamba\n"
      "completion bash' (or zsh) prints what that shell needs to complete commands,\n"
      "options and their values.\n");
}

const Command& command_named(const std::string& name) {
  std::vector<std::string> names;
  for (const Command& command : kCommands) {
    if (command.name == name) return command;
    names.emplace_back(command.name);
  }
  const auto meant = nearest(name, names);
  throw base::UsageError(
      base::concat("there is no command '", name, "'", meant ? base::concat("; did you mean ", *meant, "?") : ""));
}

CompletedProgram completed_program() {
  CompletedProgram program;
  for (const Command& command : kCommands)
    program.commands.push_back({std::string(command.name), std::string(command.summary)});
  for (const Question& question : kQuestions)
    program.options.push_back({std::string(question.name), std::string(question.summary)});
  program.models = model::shipped_models();
  return program;
}

int print_completion(const Arguments& arguments) {
  const auto shell = arguments.size() == 2 ? shell_named(arguments[1]) : std::nullopt;
  if (!shell) throw base::UsageError("completion: name the shell, bash or zsh");
  std::cout << completion_head(*shell, completed_program());
  for (const Command& command : kCommands) command.run({"--completion", arguments[1]});
  std::cout << completion_tail(*shell);
  return kDone;
}

int run(const Arguments& arguments) {
  if (arguments.empty()) {
    std::cerr << overview();
    return kWrongUsage;
  }
  const std::string& first = arguments[0];
  if (first == "--version" || first == "-V") {
    std::cout << "dnamamba " DNAMAMBA_VERSION "\n";
    return kDone;
  }
  if (first == "--citation") {
    std::cout << citation(DNAMAMBA_VERSION);
    return kDone;
  }
  if (first == "completion") return print_completion(arguments);
  const bool help = first == "help";
  if (first == "--help" || first == "-h" || (help && arguments.size() == 1)) {
    std::cout << overview();
    return kDone;
  }
  if (help) return command_named(arguments[1]).run({"--help"});
  if (first.starts_with('-')) throw base::UsageError(base::concat("unknown option ", first, " before the command"));
  return command_named(first).run({arguments.begin() + 1, arguments.end()});
}

bool is_command(const std::string& name) {
  for (const Command& command : kCommands)
    if (command.name == name) return true;
  return false;
}

// As a line of text, or of JSON where the log is JSON.
void tell(const std::string& text) {
  if (base::log_format() == base::LogFormat::kJson)
    base::log_error(text);
  else
    std::cerr << text << "\n";
}

int status_of(const Arguments& arguments) {
  try {
    base::install_stop_signals();
    std::signal(SIGPIPE, SIG_IGN);  // a reader that went away is an error of the write, with a message
    const int status = run(arguments);
    if (!std::cout.flush()) throw base::IoError("standard output can't be written");
    return status;
  } catch (const std::exception& error) {
    const bool known = !arguments.empty() && is_command(arguments[0]);
    const Ending ending = ending_of(error, known ? arguments[0] : "");
    tell(ending.text);
    return ending.status;
  }
}

}  // namespace
}  // namespace dnamamba::apps

int main(int count, char** words) {
  dnamamba::base::keep_freed_memory();
  dnamamba::io::forbid_reference_downloads();
  return dnamamba::apps::status_of({words + 1, words + count});
}
