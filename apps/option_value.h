// A value of program_options that is read by a function of ours and complains in our words.
#pragma once
#include <boost/any.hpp>
#include <boost/program_options/errors.hpp>
#include <boost/program_options/value_semantic.hpp>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "core/base/error.h"

namespace dnamamba::apps::cli {

/// A value that was refused; program_options adds the option's name on the way up.
class BadValue : public boost::program_options::error_with_option_name {
 public:
  explicit BadValue(std::string reason)
      : error_with_option_name("%canonical_option% has a bad value"), reason_(std::move(reason)) {}
  ~BadValue() noexcept override = default;
  [[nodiscard]] const std::string& reason() const { return reason_; }

 private:
  std::string reason_;
};

/// `read` turns the text into the value or throws base::UsageError.
template <typename T>
class ReadValue : public boost::program_options::typed_value<T> {
 public:
  using Read = std::function<T(const std::string&)>;
  ReadValue(T* target, Read read) : boost::program_options::typed_value<T>(target), read_(std::move(read)) {}

  void xparse(boost::any& value, const std::vector<std::string>& tokens) const override {
    namespace validators = boost::program_options::validators;
    validators::check_first_occurrence(value);
    const std::string& text = validators::get_single_string(tokens);
    try {
      value = boost::any(read_(text));
    } catch (const base::UsageError& error) {
      throw BadValue(error.what());
    }
  }

 private:
  Read read_;
};

}  // namespace dnamamba::apps::cli
