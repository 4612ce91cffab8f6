// Command lines, once for all subcommands: options, --help that teaches, --config, and usage errors in one line.
#pragma once
#include <boost/program_options/options_description.hpp>
#include <boost/program_options/positional_options.hpp>
#include <boost/program_options/value_semantic.hpp>
#include <boost/program_options/variables_map.hpp>
#include <cstdint>
#include <deque>
#include <initializer_list>
#include <limits>
#include <string>
#include <string_view>
#include <vector>

#include "apps/completion.h"

namespace dnamamba::apps {

using Arguments = std::vector<std::string>;

namespace cli {

namespace po = boost::program_options;

/// What a command says about itself and what it takes. Groups are shown in the order in which they were first named.
///
///     cli::Description description("embed", "[options] SEQUENCES...", "Turns DNA into vectors. …");
///     description.positional("sequences", po::value(&options.sequences));
///     cli::add_output(description.group("Output"), &options.output, &options.force);
///     description.example("a vector for each 1 kb of a genome", "dnamamba embed -o genome.npz genome.fa.gz");
///     if (!cli::parse(arguments, description)) return 0;
class Description {
 public:
  /// `purpose` is what --help begins with: two sentences. A program without commands has its name for the command.
  Description(std::string command, std::string usage, std::string purpose, bool is_program = false);

  /// The group of that title; made empty the first time.
  po::options_description& group(const std::string& title);
  /// Arguments without a dash go to the option `name`, `most` of them (−1: all that are left), then to the next one.
  /// The name of their value says what shells offer, FILE if it has none; so it does for options (see offer_of()).
  void positional(const std::string& name, const po::value_semantic* value, int most = -1);
  /// A line for --help: what it does, how it is written.
  void example(std::string what, std::string command);

  /// What --help prints.
  [[nodiscard]] std::string help() const;
  /// The command's piece of a completion script.
  [[nodiscard]] std::string completion(Shell shell) const;

 private:
  friend bool parse(const Arguments& arguments, Description& description, po::variables_map* given);
  struct Example {
    std::string what;
    std::string command;
  };
  struct Group {
    std::string title;
    po::options_description options;
  };
  std::string command_, usage_, purpose_;
  bool is_program_;
  std::vector<Example> examples_;
  std::deque<Group> groups_;  // a deque: group() hands out references
  struct Argument {
    std::string name;
    int most;
  };
  po::options_description hidden_;
  std::vector<Argument> arguments_;
};

/// Reads the command line into the variables that the options were bound to, then `--config FILE` for those not given,
/// and sets up the log from -q, -v and --log-format, which every command has, as -h/--help. Unix style, no guessing of
/// abbreviations: -t8,
/// --threads=8, `-` and `--` mean what they usually do, and -@ is -t.
/// `given`, if there, is filled with what was given (and the defaults, marked as such).
/// False if help was asked for: it is on stdout, and the command has nothing more to do. The same for `--completion
/// SHELL`, which no help mentions: `dnamamba completion` asks each command for its piece with it.
/// @throws base::UsageError
bool parse(const Arguments& arguments, Description& description, po::variables_map* given = nullptr);

/// @throws base::UsageError(message) unless `condition`.
void require(bool condition, const std::string& message);

/// "1,000,000", "1000k", "1M", "1.5G": a whole number that may have commas between thousands or end in k, M or G
/// (powers of 1000, in either case, as samtools and minimap2 have it). @throws base::UsageError saying what is wrong
/// with `text`.
std::int64_t parse_number(std::string_view text);

// Kinds of values for add_options(); each has the variable's present value for its default.

/// A number as parse_number reads it, within the limits given.
po::typed_value<std::int64_t>* number(std::int64_t* target, std::int64_t least = 0,
                                      std::int64_t most = std::numeric_limits<std::int64_t>::max());
/// One of a few words.
po::typed_value<std::string>* choice(std::string* target, std::initializer_list<std::string_view> words);

// Options that several commands have, spelled the same everywhere.

/// -t, --threads; the default is all that this process may run on if *threads is 0.
void add_threads(po::options_description& group, std::int64_t* threads);
/// -o, --output, with what files it makes, and --force.
void add_output(po::options_description& group, std::string* output, bool* force, const std::string& what);
/// --device auto|cpu|cuda[:N].
void add_device(po::options_description& group, std::string* device);
/// --precision auto|fp32|bf16|fp64.
void add_precision(po::options_description& group, std::string* precision);
/// --segment, in tokens.
void add_segment(po::options_description& group, std::int64_t* segment);
/// --seed.
void add_seed(po::options_description& group, std::int64_t* seed);

}  // namespace cli
}  // namespace dnamamba::apps
