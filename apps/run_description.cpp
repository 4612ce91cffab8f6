#include "apps/run_description.h"

#include <algorithm>
#include <cctype>
#include <ctime>
#include <string_view>

namespace dnamamba::apps {
namespace {

bool is_plain(const std::string& word) {
  const auto plain = [](unsigned char c) {
    return std::isalnum(c) != 0 || std::string_view("@%+=:,./_-").find(static_cast<char>(c)) != std::string_view::npos;
  };
  return !word.empty() && std::all_of(word.begin(), word.end(), plain);
}

std::string quoted(const std::string& word) {
  if (is_plain(word)) return word;
  std::string out = "'";
  for (const char c : word) {
    if (c == '\'') {
      out += "'\\''";
    } else {
      out += c;
    }
  }
  return out + "'";
}

}  // namespace

std::string typed(const std::string& command, const Arguments& arguments) {
  std::string line = "dnamamba " + command;
  for (const std::string& word : arguments) line += " " + quoted(word);
  return line;
}

std::string now() {
  const std::time_t seconds = std::time(nullptr);
  std::tm parts{};
  char text[64];
  std::strftime(text, sizeof text, "%Y-%m-%d %H:%M UTC", gmtime_r(&seconds, &parts));
  return text;
}

}  // namespace dnamamba::apps
