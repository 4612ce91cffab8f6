// Operators by name, through LibTorch's dispatcher.
#pragma once
#include <ATen/core/dispatch/Dispatcher.h>

namespace dnamamba::ops {

/// The operator `name` ("dnamamba::x"), to be called like `Function`; keep it, finding it takes a while.
template <typename Function>
auto find_operator(const char* name) {
  return c10::Dispatcher::singleton().findSchemaOrThrow(name, "").typed<Function>();
}

}  // namespace dnamamba::ops
