// dnamamba pack: sequence files to one token store, which training reads from anywhere.
#include <optional>
#include <string>

#include "apps/commands.h"
#include "apps/input_options.h"
#include "apps/progress.h"
#include "apps/read_counts.h"
#include "core/base/error.h"
#include "core/base/log.h"
#include "core/engine/pack.h"

namespace dnamamba::apps {
namespace {

/// What `dnamamba pack` was asked for. The defaults here are the defaults of the command line.
struct PackCommand {
  engine::PackOptions job;
  cli::InputOptions input;
  std::string alphabet = "dnamamba";
  std::string invalid = "error";
  std::int64_t threads = 0;
};

std::optional<PackCommand> parse_pack(const Arguments& arguments) {
  namespace po = cli::po;
  PackCommand command;
  cli::Description description("pack", "[options] SEQUENCES... -o STORE.dnaz",
                               "Tokenises sequence files into one compressed and checksummed store, from which "
                               "pretrain draws without reading it all. Repeats in lower case stay marked. A run "
                               "that was interrupted goes on where it was, to the same bytes.");
  description.positional("sequences", po::value(&command.job.inputs));
  cli::add_input(description.group("Input"), &command.input);
  auto& letters = description.group("Letters");
  letters.add_options()("alphabet",
                        po::value(&command.alphabet)
                            ->default_value(command.alphabet)
                            ->value_name("dnamamba|caduceus|hyenadna|plantcad|FILE"),
                        "that of the model that is to be trained")(
      "invalid", cli::choice(&command.invalid, {"error", "n", "drop"}),
      "what to do with letters that are no IUPAC code, gaps among them");
  cli::add_output(description.group("Output"), &command.job.output, &command.job.force,
                  "the store; until it is whole it is called FILE.partial");
  cli::add_threads(description.group("Running"), &command.threads);
  description.example("three genomes in one store",
                      "dnamamba pack human.fa.gz mouse.fa.gz yeast.fa.gz -o genomes.dnaz");
  description.example("what is in it, every byte checked", "dnamamba info genomes.dnaz");
  if (!cli::parse(arguments, description)) return std::nullopt;
  cli::require(!command.job.inputs.empty(),
               "no input: give FASTA, FASTQ, SAM, BAM or CRAM files, or - for standard input");
  cli::require(!command.job.output.empty() && command.job.output != "-", "no output: name the store with -o");
  return command;
}

}  // namespace

int run_pack(const Arguments& arguments) {
  auto command = parse_pack(arguments);
  if (!command) return 0;
  engine::PackOptions& job = command->job;
  job.reading = cli::reading(command->input);
  job.reading.decompression_threads = command->threads > 1 ? 1 : 0;
  job.alphabet = tokens::Alphabet::named_or_file(command->alphabet);
  job.invalid = tokens::parse_invalid_policy(command->invalid);
  job.threads = command->threads;
  Progress progress("pack", "bases");
  const engine::PackCounts counts = engine::pack(
      job, [&](const engine::PackCounts& so_far, std::optional<double> part) { progress.update(so_far.tokens, part); });
  progress.finish();
  report_input(counts.invalid, command->invalid, counts.left_out);
  base::log_info(base::concat(
      job.output, ": ", counted(counts.records, "record"), " and ", counted(counts.tokens, "base"), " of ",
      counted(static_cast<std::int64_t>(job.inputs.size()) - counts.sources_kept, "file"),
      counts.sources_kept > 0 ? base::concat(", behind ", counted(counts.sources_kept, "file"), " packed before") : "",
      ", in ", quantity(static_cast<double>(counts.bytes), "bytes")));
  return 0;
}

}  // namespace dnamamba::apps
