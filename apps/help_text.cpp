#include "apps/help_text.h"

#include <boost/program_options/cmdline.hpp>
#include <boost/program_options/value_semantic.hpp>

#include "core/base/error.h"

namespace dnamamba::apps {
namespace {

namespace po = boost::program_options;

constexpr std::size_t kColumns = 80;
constexpr std::size_t kTextColumn = 26;  // where the descriptions of options begin

struct Value {
  std::string name;
  std::string default_text;  // empty: none
};

// program_options tells the two only together: "INT (=4)".
Value value_of(const po::option_description& option) {
  if (option.semantic()->max_tokens() == 0) return {};
  const std::string both = option.semantic()->name();
  const std::size_t at = both.find(" (=");
  if (at == std::string::npos) return {both, {}};
  return {both.substr(0, at), both.substr(at + 3, both.size() - at - 4)};
}

std::string names_of(const po::option_description& option) {
  const std::string letter = short_name(option);
  return (letter.empty() ? "    " : letter + ", ") + "--" + option.long_name();
}

}  // namespace

std::string short_name(const po::option_description& option) {
  const std::string name = option.canonical_display_name(po::command_line_style::allow_dash_for_short);
  return name.size() == 2 && name[0] == '-' ? name : "";
}

std::string value_name(const po::option_description& option) {
  return value_of(option).name;
}

std::string wrapped(std::string_view text, std::size_t indent) {
  std::string out;
  std::size_t column = indent;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find(' '), text.size());
    const std::string_view word = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    if (column > indent && column + 1 + word.size() > kColumns) {
      out += '\n';
      out.append(indent, ' ');
      column = indent;
    }
    if (column > indent) {
      out += ' ';
      ++column;
    }
    out += word;
    column += word.size();
  }
  return out + "\n";
}

std::string option_lines(const po::options_description& group) {
  std::string out;
  for (const auto& option : group.options()) {
    const Value value = value_of(*option);
    std::string left = base::concat("  ", names_of(*option), value.name.empty() ? "" : " ", value.name);
    if (left.size() + 2 > kTextColumn) {
      left += '\n';
      left.append(kTextColumn, ' ');
    } else {
      left.resize(kTextColumn, ' ');
    }
    const std::string shown_default = value.default_text.empty() ? "" : base::concat(" [", value.default_text, "]");
    out += left;
    out += wrapped(option->description() + shown_default, kTextColumn);
  }
  return out;
}

}  // namespace dnamamba::apps
