#include "apps/completion.h"

#include <algorithm>
#include <cctype>

#include "apps/completion_shells.h"
#include "apps/help_text.h"

namespace dnamamba::apps {
namespace {

void add_alternative(Offer& offer, const std::string& name) {
  if (name == "FILE") {
    offer.files = true;
  } else if (name == "FOLDER") {
    offer.folders = true;
  } else if (name == "MODEL") {
    offer.models = offer.folders = true;
  } else if (name == "DEVICE") {
    offer.words.insert(offer.words.end(), {"auto", "cpu"});
  } else if (std::none_of(name.begin(), name.end(), [](unsigned char c) { return std::isupper(c); })) {
    offer.words.push_back(name);
  }
}

}  // namespace

std::optional<Shell> shell_named(std::string_view name) {
  if (name == "bash") return Shell::kBash;
  if (name == "zsh") return Shell::kZsh;
  return std::nullopt;
}

Offer offer_of(const std::string& value_name) {
  Offer offer;
  for (std::size_t begin = 0; begin < value_name.size();) {
    const std::size_t end = std::min(value_name.find('|', begin), value_name.size());
    add_alternative(offer, value_name.substr(begin, end - begin));
    begin = end + 1;
  }
  return offer;
}

CompletedOption completed(const boost::program_options::option_description& option) {
  CompletedOption out;
  if (const std::string name = short_name(option); !name.empty()) out.names.push_back(name);
  out.names.push_back("--" + option.long_name());
  out.description = option.description();
  out.value_name = value_name(option);
  out.repeats = option.semantic()->is_composing();
  return out;
}

std::string completion_head(Shell shell, const CompletedProgram& program) {
  return shell == Shell::kBash ? bash_head(program) : zsh_head(program);
}

std::string completion_of(Shell shell, const CompletedCommand& command) {
  return shell == Shell::kBash ? bash_command(command) : zsh_command(command);
}

std::string completion_tail(Shell shell) {
  return shell == Shell::kBash ? bash_tail() : zsh_tail();
}

}  // namespace dnamamba::apps
