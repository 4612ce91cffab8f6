#include "core/base/error.h"

#include <algorithm>
#include <system_error>

namespace dnamamba::base {

std::string shown_name(std::string_view name) {
  constexpr std::size_t kMost = 80;
  std::string shown(name.substr(0, kMost));
  std::replace_if(
      shown.begin(), shown.end(), [](unsigned char byte) { return byte < 0x20 || byte == 0x7f; }, '?');
  return name.size() > kMost ? shown + "..." : shown;
}

std::string errno_text(int error_number) {
  return std::generic_category().message(error_number);
}

}  // namespace dnamamba::base
