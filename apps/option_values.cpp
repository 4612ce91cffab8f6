// The kinds of values, and the options that several commands share.
#include <algorithm>
#include <charconv>
#include <thread>
#include <vector>

#include "apps/cli.h"
#include "apps/option_value.h"
#include "core/base/error.h"

namespace dnamamba::apps::cli {
namespace {

using base::concat;
using base::UsageError;

constexpr std::int64_t kMost = std::numeric_limits<std::int64_t>::max();

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

[[noreturn]] void refuse_number(std::string_view text) {
  throw UsageError(concat("'", text, "' is not a number such as 1000, 1,000, 250k or 1.5M"));
}

// Takes "1,234" apart into "1234"; commas only where thousands end.
std::string without_commas(std::string_view whole, std::string_view text) {
  if (whole.find(',') == std::string_view::npos) return std::string(whole);
  std::string digits;
  for (std::size_t i = 0; i < whole.size(); ++i) {
    const bool place_of_comma = i > 0 && (whole.size() - i) % 4 == 0;
    if ((whole[i] == ',') != place_of_comma) refuse_number(text);
    if (whole[i] != ',') digits += whole[i];
  }
  return digits;
}

// How many zeros the suffix stands for; the suffix is taken off.
std::size_t zeros_of_suffix(std::string_view& text) {
  if (text.empty()) return 0;
  std::size_t zeros = 0;
  switch (text.back()) {
    case 'k':
    case 'K':
      zeros = 3;
      break;
    case 'm':
    case 'M':
      zeros = 6;
      break;
    case 'g':
    case 'G':
      zeros = 9;
      break;
    default:
      return 0;
  }
  text.remove_suffix(1);
  return zeros;
}

// cuda:N, N without sign or leading zeros.
bool is_cuda_device(std::string_view text) {
  if (!text.starts_with("cuda:")) return false;
  text.remove_prefix(5);
  return !text.empty() && text.size() <= 3 && std::all_of(text.begin(), text.end(), is_digit) &&
         (text.size() == 1 || text[0] != '0');
}

}  // namespace

std::int64_t parse_number(std::string_view text) {
  std::string_view rest = text;
  const bool negative = rest.starts_with('-');
  if (negative) rest.remove_prefix(1);
  const std::size_t zeros = zeros_of_suffix(rest);
  const std::size_t point = rest.find('.');
  std::string digits = without_commas(rest.substr(0, point), text);
  std::string_view fraction = point == std::string_view::npos ? std::string_view{} : rest.substr(point + 1);
  while (fraction.ends_with('0')) fraction.remove_suffix(1);
  if (digits.empty() || (point != std::string_view::npos && zeros == 0)) refuse_number(text);
  if (fraction.size() > zeros) throw UsageError(concat("'", text, "' is not a whole number"));
  digits += fraction;
  digits.append(zeros - fraction.size(), '0');
  if (!std::all_of(digits.begin(), digits.end(), is_digit)) refuse_number(text);
  std::int64_t value = 0;
  if (std::from_chars(digits.data(), digits.data() + digits.size(), value).ec != std::errc{})
    throw UsageError(concat("'", text, "' is too large"));
  return negative ? -value : value;
}

po::typed_value<std::int64_t>* number(std::int64_t* target, std::int64_t least, std::int64_t most) {
  const auto read = [least, most](const std::string& text) {
    const std::int64_t value = parse_number(text);
    if (value >= least && value <= most) return value;
    throw UsageError(most == kMost ? concat(text, " is less than ", least)
                                   : concat(text, " is not between ", least, " and ", most));
  };
  auto* value = new ReadValue<std::int64_t>(target, read);  // program_options owns it
  value->default_value(*target)->value_name("INT");
  return value;
}

po::typed_value<std::string>* choice(std::string* target, std::initializer_list<std::string_view> words) {
  std::string joined;
  for (const std::string_view word : words) joined += concat(joined.empty() ? "" : "|", word);
  const auto read = [known = std::vector<std::string>(words.begin(), words.end()), joined](const std::string& text) {
    if (std::find(known.begin(), known.end(), text) != known.end()) return text;
    throw UsageError(concat("'", text, "' is not one of ", joined));
  };
  auto* value = new ReadValue<std::string>(target, read);
  value->default_value(*target)->value_name(joined);
  return value;
}

void add_threads(po::options_description& group, std::int64_t* threads) {
  const bool all = *threads == 0;
  if (all) *threads = std::max(1U, std::thread::hardware_concurrency());
  auto* value = number(threads, 1, 1024);
  if (all) value->default_value(*threads, "all");  // a man page is read on other machines, too
  group.add_options()("threads,t", value, "processor threads; -@ is the same");
}

void add_output(po::options_description& group, std::string* output, bool* force, const std::string& what) {
  group.add_options()("output,o", po::value(output)->default_value(*output)->value_name("FILE"), what.c_str())(
      "force", po::bool_switch(force), "replace the output if it is there already");
}

void add_device(po::options_description& group, std::string* device) {
  const auto read = [](const std::string& text) {
    if (text == "auto" || text == "cpu" || text == "cuda" || is_cuda_device(text)) return text;
    throw UsageError(concat("'", text, "' is not auto, cpu, cuda or cuda:N"));
  };
  auto* value = new ReadValue<std::string>(device, read);
  value->default_value(*device)->value_name("DEVICE");
  group.add_options()("device", value, "auto: a GPU if there is one; cpu, cuda, or cuda:N for one of several");
}

void add_precision(po::options_description& group, std::string* precision) {
  group.add_options()("precision", choice(precision, {"auto", "fp32", "bf16", "fp64"}),
                      "type of the activations; auto: bf16 on a GPU, with float32 states, else fp32. fp64: on CPUs");
}

void add_segment(po::options_description& group, std::int64_t* segment) {
  auto* value = number(segment, 1);
  if (*segment == 0) value->default_value(*segment, "auto");
  group.add_options()("segment", value,
                      "tokens computed at a time: more take more memory, the answer is the same; auto: what suits "
                      "the device");
}

void add_seed(po::options_description& group, std::int64_t* seed) {
  group.add_options()("seed", number(seed), "what random numbers start from");
}

}  // namespace dnamamba::apps::cli
