#include "core/base/error.h"

#include <system_error>

namespace dnamamba::base {

std::string errno_text(int error_number) {
  return std::generic_category().message(error_number);
}

}  // namespace dnamamba::base
