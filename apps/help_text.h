// Text for --help, laid out in lines of at most 80 columns.
#pragma once
#include <boost/program_options/options_description.hpp>
#include <string>
#include <string_view>

namespace dnamamba::apps {

/// `text` broken at blanks, each line after the first indented by `indent` blanks; ends with a newline.
std::string wrapped(std::string_view text, std::size_t indent);

/// "-t", or empty where there is none.
std::string short_name(const boost::program_options::option_description& option);

/// "INT"; empty for an option that takes no value.
std::string value_name(const boost::program_options::option_description& option);

/// One paragraph an option: `  -t, --threads INT   description [default]`.
std::string option_lines(const boost::program_options::options_description& group);

}  // namespace dnamamba::apps
