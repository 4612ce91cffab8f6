#include "apps/cli.h"

#include <boost/program_options/cmdline.hpp>
#include <boost/program_options/errors.hpp>
#include <boost/program_options/parsers.hpp>
#include <filesystem>
#include <iostream>
#include <optional>
#include <utility>

#include "apps/help_text.h"
#include "apps/nearest.h"
#include "apps/option_value.h"
#include "core/base/error.h"
#include "core/base/log.h"

namespace dnamamba::apps::cli {
namespace {

using base::concat;
using base::UsageError;

constexpr int kStyle = po::command_line_style::unix_style & ~po::command_line_style::allow_guessing;

struct MessageOptions {
  bool quiet = false;
  bool verbose = false;
  std::string log_format = "text";
  std::string config;
};

void add_messages(po::options_description& group, MessageOptions& options) {
  group.add_options()("quiet,q", po::bool_switch(&options.quiet), "no progress; only warnings and errors")(
      "verbose,v", po::bool_switch(&options.verbose), "say more")(
      "log-format", choice(&options.log_format, {"text", "json"}), "text, or json: one object a line on stderr")(
      "config", po::value(&options.config)->value_name("FILE"),
      "more options, as lines like 'window = 1000'; those of the command line win")("help,h", "this text");
}

void apply(const MessageOptions& options) {
  require(!(options.quiet && options.verbose), "-q and -v contradict each other");
  const base::LogLevel level = options.quiet     ? base::LogLevel::kWarning
                               : options.verbose ? base::LogLevel::kDebug
                                                 : base::LogLevel::kInfo;
  base::configure_log(level, options.log_format == "json" ? base::LogFormat::kJson : base::LogFormat::kText);
}

// samtools' -@ is our -t; program_options knows one short name an option.
Arguments with_threads_as_t(const Arguments& arguments, const po::options_description& options) {
  Arguments out = arguments;
  if (options.find_nothrow("threads", false) == nullptr) return out;
  for (std::string& argument : out) {
    if (argument == "--") break;
    if (argument.starts_with("-@")) argument[1] = 't';
  }
  return out;
}

std::string with_dashes(const std::string& option) {
  return option.starts_with('-') ? option : "--" + option;
}

std::string unknown_option(const std::string& option, const po::options_description& options) {
  std::vector<std::string> names;
  for (const auto& known : options.options()) names.push_back("--" + known->long_name());
  const auto meant = option.starts_with("--") ? nearest(option, names) : std::nullopt;
  return concat("unknown option ", option, meant ? concat("; did you mean ", *meant, "?") : "");
}

std::string syntax_error(const po::invalid_syntax& error) {
  using Kind = po::invalid_syntax::kind_t;
  const std::string option = with_dashes(error.get_option_name());
  switch (error.kind()) {
    case Kind::missing_parameter:
    case Kind::empty_adjacent_parameter:
      return concat(option, " needs a value");
    case Kind::extra_parameter:
      return concat(option, " takes no value");
    default:
      return error.what();
  }
}

// One line of ours for each of program_options' complaints.
std::string explained(const po::error& error, const po::options_description& options) {
  if (const auto* bad = dynamic_cast<const BadValue*>(&error))
    return concat(with_dashes(bad->get_option_name()), ": ", bad->reason());
  if (const auto* unknown = dynamic_cast<const po::unknown_option*>(&error))
    return unknown_option(with_dashes(unknown->get_option_name()), options);
  if (const auto* syntax = dynamic_cast<const po::invalid_syntax*>(&error)) return syntax_error(*syntax);
  if (const auto* missing = dynamic_cast<const po::required_option*>(&error))
    return concat(with_dashes(missing->get_option_name()), " is missing");
  if (const auto* twice = dynamic_cast<const po::multiple_occurrences*>(&error))
    return concat(with_dashes(twice->get_option_name()), " is given more than once");
  if (dynamic_cast<const po::too_many_positional_options_error*>(&error) != nullptr)
    return "more arguments than the command takes";
  return error.what();
}

void store_config(const std::string& path, const po::options_description& options, po::variables_map& map) {
  if (path.empty()) return;
  require(std::filesystem::is_regular_file(path), concat("--config: ", path, " is not a file"));
  try {
    po::store(po::parse_config_file(path.c_str(), options), map);
  } catch (const po::error& error) {
    throw UsageError(concat(path, ": ", explained(error, options)));
  }
}

bool asks_for_help(const Arguments& arguments) {
  for (const std::string& argument : arguments) {
    if (argument == "--") return false;
    if (argument == "--help" || argument == "-h") return true;
  }
  return false;
}

std::optional<Shell> asks_for_completion(const Arguments& arguments) {
  return arguments.size() == 2 && arguments[0] == "--completion" ? shell_named(arguments[1]) : std::nullopt;
}

}  // namespace

Description::Description(std::string command, std::string usage, std::string purpose, bool is_program)
    : command_(std::move(command)), usage_(std::move(usage)), purpose_(std::move(purpose)), is_program_(is_program) {}

po::options_description& Description::group(const std::string& title) {
  for (Group& known : groups_)
    if (known.title == title) return known.options;
  return groups_.emplace_back(Group{title, po::options_description(title)}).options;
}

void Description::positional(const std::string& name, const po::value_semantic* value, int most) {
  hidden_.add_options()(name.c_str(), value, "");
  arguments_.push_back({name, most});
}

void Description::example(std::string what, std::string command) {
  examples_.push_back({std::move(what), std::move(command)});
}

std::string Description::help() const {
  std::string text =
      concat("Usage: ", is_program_ ? "" : "dnamamba ", command_, " ", usage_, "\n\n", wrapped(purpose_, 0));
  for (const Group& group : groups_)
    if (!group.options.options().empty()) text += concat("\n", group.title, ":\n", option_lines(group.options));
  if (!examples_.empty()) text += "\nExamples:\n";
  for (const Example& example : examples_) text += concat("  # ", example.what, "\n  ", example.command, "\n");
  text += concat("\n", wrapped("Numbers may be written 1,000,000, 1000k or 1M (1k = 1000).", 0));
  text += wrapped("Exit status: 0 done, 1 failed, 2 wrong usage, 3 out of memory.", 0);
  return text;
}

std::string Description::completion(Shell shell) const {
  CompletedCommand command{command_, {}, {}};
  for (const Group& group : groups_)
    for (const auto& option : group.options.options()) command.options.push_back(completed(*option));
  for (const Argument& argument : arguments_) {
    const std::string value = value_name(hidden_.find(argument.name, false));
    command.arguments.push_back({value == "arg" ? "FILE" : value, argument.most});  // "arg" is program_options' word
  }
  return completion_of(shell, command);
}

bool parse(const Arguments& arguments, Description& description, po::variables_map* given) {
  MessageOptions messages;
  add_messages(description.group("Messages and help"), messages);
  if (asks_for_help(arguments)) {
    std::cout << description.help();
    return false;
  }
  if (const auto shell = asks_for_completion(arguments)) {
    std::cout << description.completion(*shell);
    return false;
  }
  po::options_description options;
  for (const Description::Group& group : description.groups_) options.add(group.options);
  options.add(description.hidden_);
  po::positional_options_description positional;
  for (const Description::Argument& argument : description.arguments_)
    positional.add(argument.name.c_str(), argument.most);
  po::variables_map own_map;
  po::variables_map& map = given == nullptr ? own_map : *given;
  try {
    po::store(po::command_line_parser(with_threads_as_t(arguments, options))
                  .options(options)
                  .positional(positional)
                  .style(kStyle)
                  .run(),
              map);
    if (map.count("config") != 0) store_config(map["config"].as<std::string>(), options, map);
    po::notify(map);
  } catch (const po::error& error) {
    throw UsageError(explained(error, options));
  }
  apply(messages);
  return true;
}

void require(bool condition, const std::string& message) {
  if (!condition) throw UsageError(message);
}

}  // namespace dnamamba::apps::cli
