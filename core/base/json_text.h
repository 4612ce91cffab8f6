// What a JSON value is, for messages.
#pragma once
#include <string>

namespace dnamamba::base {

/// "3", "\"x\"", "true"; "an array" or "an object", which could be nested deeper than the stack is when it is written
/// out. `Json`: one of nlohmann's.
template <typename Json>
std::string json_text(const Json& value) {
  return value.is_structured() ? std::string("an ") + value.type_name() : value.dump();
}

}  // namespace dnamamba::base
