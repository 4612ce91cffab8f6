// zsh: _arguments is given what each command takes.
#include "apps/completion_shells.h"
#include "core/base/error.h"

namespace dnamamba::apps {
namespace {

using base::concat;

// For the inside of a quoted [description], where brackets and colons end something.
std::string escaped(const std::string& text) {
  std::string out;
  for (const char c : text) {
    if (c == '\'') {
      out += "'\\''";
      continue;
    }
    if (c == '[' || c == ']' || c == ':' || c == '\\') out += '\\';
    out += c;
  }
  return out;
}

// ":NAME:action" of _arguments.
std::string zsh_value(const std::string& value_name) {
  const Offer offer = offer_of(value_name);
  std::string words;
  for (const std::string& word : offer.words) words += " " + word;
  std::string action;
  if (offer.models) action += "compadd -a models; ";
  if (!words.empty()) action += concat("compadd --", words, "; ");
  if (offer.files) action += "_files; ";
  if (offer.folders && !offer.files) action += "_files -/; ";
  return concat(":", escaped(value_name), ":", action.empty() ? " " : "{" + action + "}");
}

std::string zsh_option(const CompletedOption& option) {
  const bool valued = !option.value_name.empty();
  std::string exclusive, spelled;
  for (const std::string& name : option.names) {
    const std::string with_value = name.starts_with("--") ? name + "=" : name + "+";
    exclusive += concat(exclusive.empty() ? "" : " ", name);
    spelled += concat(spelled.empty() ? "" : ",", valued ? with_value : name);
  }
  if (option.names.size() > 1) spelled = concat("{", spelled, "}");
  const std::string times = option.repeats ? "'*'" : concat("'(", exclusive, ")'");
  return concat("        ", times, spelled, "'[", escaped(option.description), "]",
                valued ? zsh_value(option.value_name) : "", "' \\\n");
}

std::string zsh_argument(const CompletedArgument& argument) {
  const std::string spec = zsh_value(argument.value_name) + "' \\\n";
  if (argument.most < 0) return "        '*" + spec;
  std::string out;
  for (int i = 0; i < argument.most; ++i) out += "        '" + spec;
  return out;
}

std::string described(const std::vector<CompletedProgram::Command>& entries) {
  std::string out;
  for (const auto& entry : entries) out += concat("    '", entry.name, ":", escaped(entry.summary), "'\n");
  return out;
}

}  // namespace

std::string zsh_head(const CompletedProgram& program) {
  std::string models;
  for (const std::string& model : program.models) models += concat(models.empty() ? "" : " ", model);
  return concat(R"(#compdef dnamamba
# Completions of dnamamba for zsh; 'dnamamba completion zsh' prints them.

_dnamamba() {
  local -a models commands options
  models=()",
                models, ")\n  commands=(\n", described(program.commands), "  )\n  options=(\n",
                described(program.options), R"(  )
  if ((CURRENT == 2)); then
    _describe command commands
    _describe option options
    return
  fi
  local command=$words[2]
  shift words
  ((CURRENT -= 1))
  case $command in
    help) _arguments ':command:{_describe command commands}' ;;
    completion) _arguments ':shell:(bash zsh)' ;;
)");
}

std::string zsh_command(const CompletedCommand& command) {
  std::string text = concat("    ", command.name, ")\n      _arguments -s -S \\\n");
  for (const CompletedOption& option : command.options) text += zsh_option(option);
  for (const CompletedArgument& argument : command.arguments) text += zsh_argument(argument);
  text.erase(text.size() - 3);  // the last " \<newline>"
  return text + "\n      ;;\n";
}

std::string zsh_tail() {
  return R"(  esac
}

# Loaded from $fpath, this is the body of _dnamamba on its first call; sourced, it is not.
if [[ ${funcstack[1]} == _dnamamba ]]; then _dnamamba "$@"; else compdef _dnamamba dnamamba; fi
)";
}

}  // namespace dnamamba::apps
