#include "apps/training_data_options.h"

#include <charconv>
#include <cmath>
#include <utility>

#include "core/base/error.h"
#include "core/io/region.h"
#include "core/train/data_options.h"

namespace dnamamba::apps::cli {
namespace {

using base::concat;

// A file's name may have any letter: the last '=' is ours.
std::pair<std::string, double> file_and_weight(const std::string& text) {
  const std::size_t at = text.rfind('=');
  double weight = 0;
  const char* const end = text.data() + text.size();
  const auto result = at == std::string::npos ? std::from_chars_result{end, std::errc::invalid_argument}
                                              : std::from_chars(text.data() + at + 1, end, weight);
  require(result.ec == std::errc{} && result.ptr == end && at > 0 && weight > 0 && std::isfinite(weight),
          concat("--weight: '", text, "' is not FILE=X with X above 0, such as human.fa=2.5"));
  return {text.substr(0, at), weight};
}

std::int64_t context_from(const std::string& text) {
  if (text == "whole") return 0;
  std::int64_t context = 0;
  try {
    context = parse_number(text);
  } catch (const base::UsageError& error) {
    throw base::UsageError(concat("--context: ", error.what(), ", nor is it whole"));
  }
  require(context >= 1, concat("--context: ", text, " is less than 1"));
  return context;
}

train::SampleBy sample_by_from(const std::string& word) {
  return word == "length" ? train::SampleBy::kLength
         : word == "file" ? train::SampleBy::kFile
                          : train::SampleBy::kSequence;
}

void add_sampling(po::options_description& group, train::DataOptions& data, TrainingDataWords& words) {
  group.add_options()("context", po::value(&words.context)->default_value(words.context)->value_name("BASES|whole"),
                      "length of a training sequence; whole: each record as one")(
      "context-start", number(&data.context_start, 0)->value_name("BASES"),
      "context of the first steps, doubled again and again up to --context; 0: all steps have that")(
      "context-warmup", po::value(&data.context_warmup)->default_value(data.context_warmup, "0.25")->value_name("X"),
      "part of the steps in which --context-start grows")("batch", number(&data.batch, 1)->value_name("TOKENS"),
                                                          "of an optimiser step, whatever the context")(
      "sample-by", choice(&words.sample_by, {"length", "file", "sequence"}),
      "length: all bases alike; file: all files alike, each by length; sequence: all files alike, and all sequences "
      "of a file. A file is also what was packed into a store from one")(
      "weight", po::value(&words.weights)->composing()->value_name("FILE=X"),
      "draw X times as often from an input, or from a file that was packed into a store; again for more files")(
      "one-strand", po::bool_switch(&words.one_strand), "train on sequences as they are, not on either strand")(
      "soft-mask-weight", po::value(&data.soft_mask_weight)->default_value(data.soft_mask_weight, "1")->value_name("X"),
      "of lower-case bases (repeats) in the loss, 0 to 1")("invalid", choice(&words.invalid, {"error", "n", "drop"}),
                                                           "letters that are no IUPAC code");
  add_seed(group, &words.seed);
}

void add_hold_out(po::options_description& group, train::DataOptions& data, TrainingDataWords& words) {
  train::HoldOutOptions& hold_out = data.hold_out;
  group.add_options()("validation", po::value(&data.validation)->composing()->value_name("FILE"),
                      "sequences or stores to measure bits per base on, never trained on; again for more files")(
      "hold-out", po::value(&words.hold_out)->composing()->value_name("REGION"),
      "validate on this part of the training files, and never train on a base of it: chr8 or chr8:1,000-2,000, counted "
      "from 1; may be given again")("hold-out-bed", po::value(&words.hold_out_bed)->value_name("FILE"),
                                    "the same of the parts that this BED file lists")(
      "hold-out-fraction", po::value(&hold_out.fraction)->default_value(hold_out.fraction, "0")->value_name("X"),
      "the same of this part of all blocks, chosen by name, number and --seed")(
      "hold-out-block", number(&hold_out.block, 1)->value_name("BASES"), "length of those blocks");
}

}  // namespace

void add_training_data(Description& description, train::DataOptions* data, TrainingDataWords* words) {
  description.positional("sequences", po::value(&data->inputs));
  add_sampling(description.group("Data"), *data, *words);
  add_hold_out(description.group("Validation"), *data, *words);
}

void fill_training_data(const TrainingDataWords& words, train::DataOptions* data) {
  require(!data->inputs.empty(), "no input: give sequence files, or token stores made by dnamamba pack");
  for (const std::string& text : words.weights) {
    const auto [file, weight] = file_and_weight(text);
    require(data->weights.emplace(file, weight).second, concat("--weight: ", file, " is given more than once"));
  }
  data->context = context_from(words.context);
  require(data->context_start == 0 || data->context == 0 || data->context_start < data->context,
          "--context-start must be less than --context");
  require(data->context_warmup >= 0 && data->context_warmup <= 1, "--context-warmup is a part of the steps, 0 to 1");
  require(data->soft_mask_weight >= 0 && data->soft_mask_weight <= 1, "--soft-mask-weight is between 0 and 1");
  require(data->hold_out.fraction >= 0 && data->hold_out.fraction < 1,
          "--hold-out-fraction is at least 0 and less than 1");
  std::vector<io::Region>& regions = data->hold_out.regions;
  for (const std::string& text : words.hold_out) regions.push_back(io::parse_region(text));
  if (!words.hold_out_bed.empty()) {
    const std::vector<io::Region> listed = io::read_bed(words.hold_out_bed);
    require(!listed.empty(), words.hold_out_bed + " lists no region");
    regions.insert(regions.end(), listed.begin(), listed.end());
  }
  data->sample_by = sample_by_from(words.sample_by);
  data->reverse_complement = !words.one_strand;
  data->invalid = tokens::parse_invalid_policy(words.invalid);
  data->seed = static_cast<std::uint64_t>(words.seed);
}

}  // namespace dnamamba::apps::cli
