// bash: one function that says what may follow, case by case, and one that finds out which case it is.
#include "apps/completion_shells.h"
#include "core/base/error.h"

namespace dnamamba::apps {
namespace {

using base::concat;

std::string joined(const std::vector<std::string>& words, const std::string& between) {
  std::string out;
  for (const std::string& word : words) out += concat(out.empty() ? "" : between, word);
  return out;
}

// "pattern) words='...' kind=files ;;"
std::string bash_case(const std::string& pattern, const Offer& offer) {
  std::string line = concat("    ", pattern, ") words=", offer.models ? "$models" : "");
  if (!offer.words.empty()) line += concat("'", offer.models ? " " : "", joined(offer.words, " "), "'");
  if (offer.files || offer.folders) line += concat(" kind=", offer.files ? "files" : "folders");
  return line + " ;;\n";
}

std::string bash_option(const std::string& command, const CompletedOption& option) {
  std::string pattern;
  for (const std::string& name : option.names) pattern += concat(pattern.empty() ? "" : " | ", command, ":", name);
  return bash_case(pattern, offer_of(option.value_name));
}

}  // namespace

std::string bash_head(const CompletedProgram& program) {
  std::vector<std::string> commands, all;
  for (const auto& command : program.commands) commands.push_back(command.name);
  all = commands;
  for (const auto& option : program.options) all.push_back(option.name);
  return concat(R"(# Completions of dnamamba for bash; 'dnamamba completion bash' prints them.

# COMMAND:OPTION or COMMAND:argument:N to what may be written there; false for an option that takes no value.
_dnamamba_offers() {
  local models=')",
                joined(program.models, " "), R"('
  words='' kind=''
  case $1 in
)",
                bash_case("first", {.words = all}), bash_case("help:argument:1", {.words = commands}),
                bash_case("completion:argument:1", {.words = {"bash", "zsh"}}));
}

std::string bash_command(const CompletedCommand& command) {
  std::string text;
  std::vector<std::string> names;
  for (const CompletedOption& option : command.options) {
    names.insert(names.end(), option.names.begin(), option.names.end());
    if (!option.value_name.empty()) text += bash_option(command.name, option);
  }
  int position = 1;
  for (const CompletedArgument& argument : command.arguments) {
    const Offer offer = offer_of(argument.value_name);
    if (argument.most < 0) text += bash_case(command.name + ":argument:*", offer);
    for (int i = 0; i < argument.most; ++i) text += bash_case(concat(command.name, ":argument:", position++), offer);
  }
  return bash_case(command.name + ":options", {.words = names}) + text;
}

std::string bash_tail() {
  return R"(    *) return 1 ;;
  esac
}

_dnamamba() {
  local command=${COMP_WORDS[1]} current=${COMP_WORDS[COMP_CWORD]} words kind option='' argument=1 word
  for word in "${COMP_WORDS[@]:2:COMP_CWORD > 2 ? COMP_CWORD - 2 : 0}"; do
    if [[ -n $option ]]; then
      [[ $word == '=' ]] || option=''  # bash takes --option=value apart into three words
    elif [[ $word != -?* ]]; then
      argument=$((argument + 1))
    elif _dnamamba_offers "$command:$word"; then
      option=$word
    fi
  done
  [[ $current != '=' || -z $option ]] || current=''
  if [[ $COMP_CWORD == 1 ]]; then _dnamamba_offers first
  elif [[ -n $option ]]; then _dnamamba_offers "$command:$option"
  elif [[ $current == -* ]]; then _dnamamba_offers "$command:options"
  else _dnamamba_offers "$command:argument:$argument"
  fi
  mapfile -t COMPREPLY < <(
    compgen -W "$words" -- "$current"
    [[ $kind != files ]] || compgen -f -- "$current"
    [[ $kind != folders ]] || compgen -d -- "$current"
  )
  [[ -z $kind ]] || compopt -o filenames 2>/dev/null  # there is nothing to set where no completion is under way
}

complete -F _dnamamba dnamamba
)";
}

}  // namespace dnamamba::apps
