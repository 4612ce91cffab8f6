// dnamamba score: how much of a surprise each base is to the language model.
#include <filesystem>
#include <iomanip>
#include <optional>
#include <sstream>
#include <string>
#include <vector>

#include "apps/commands.h"
#include "apps/loaded_model.h"
#include "apps/progress.h"
#include "apps/read_counts.h"
#include "apps/sequence_options.h"
#include "core/base/error.h"
#include "core/base/log.h"
#include "core/engine/run_settings.h"
#include "core/engine/score.h"
#include "core/model/model_folder.h"

namespace dnamamba::apps {
namespace {

/// What `dnamamba score` was asked for. The defaults here are the defaults of the command line.
struct ScoreCommand {
  cli::SequenceOptions sequences;
  cli::ModelOptions model;
  std::string output = "-";
  bool force = false;
  std::int64_t window = 0;
  std::string strand = "forward";
  std::int64_t threads = 0;
  std::string device = "auto";
  std::string precision = "auto";
};

// A track has one value a base, at the base's place in its record.
void require_places(const ScoreCommand& command) {
  if (!outputs::has_each_base(outputs::track_format_of(command.output))) return;
  cli::require(command.window == 0, "--window is for .tsv; " + command.output + " has a value for each base");
  cli::require(command.sequences.input.regions.empty() && command.sequences.input.regions_file.empty(),
               command.output + " is of whole records: leave out -r and -R, or write .tsv");
  cli::require(command.sequences.invalid != "drop",
               command.output + " has the places of bases, which --invalid drop moves: use --invalid n, or write .tsv");
}

std::optional<ScoreCommand> parse_score(const Arguments& arguments) {
  namespace po = cli::po;
  ScoreCommand command;
  cli::Description description("score", "[options] SEQUENCES...",
                               "Says how much of a surprise each base is to the model, in bits: 2 is knowing nothing. "
                               "The model has read all of the record before the base, however long it is, in constant "
                               "memory.");
  cli::add_sequences(description, &command.sequences);
  cli::add_model(description.group("Model"), &command.model);
  auto& scored = description.group("What is scored");
  scored.add_options()("strand", cli::choice(&command.strand, {"forward", "reverse", "both"}),
                       "what the model has read before a base: all on its left, all on its right (as the reverse "
                       "complement), or the mean of the two")(
      "window,w", cli::number(&command.window, 0)->value_name("BASES"), "bases a line stands for; 0: the record");
  cli::add_letters(scored, &command.sequences);
  cli::add_output(
      description.group("Output"), &command.output, &command.force,
      ".tsv or .tsv.gz: means of records or windows; .bw (bigWig), .bedGraph or .bedGraph.gz: each base; - is "
      "TSV on standard output");
  auto& running = description.group("Running");
  cli::add_threads(running, &command.threads);
  cli::add_device(running, &command.device);
  cli::add_precision(running, &command.precision);
  cli::add_segment(running, &command.sequences.segment);
  description.example("bits per base of each record", "dnamamba score genome.fa.gz");
  description.example("a track of a genome, for a browser", "dnamamba score --strand both genome.fa.gz -o genome.bw");
  description.example("bits per base of each 10 kb, by a model of your own",
                      "dnamamba score -m my-model/ -w 10k genome.fa.gz -o genome.tsv");
  if (!cli::parse(arguments, description)) return std::nullopt;
  cli::require_sequences(command.sequences);
  require_places(command);
  return command;
}

tokens::Strand strand_from(const std::string& word) {
  if (word == "both") return tokens::Strand::kBoth;
  return word == "reverse" ? tokens::Strand::kReverse : tokens::Strand::kForward;
}

engine::ScoreOptions job_of(const ScoreCommand& command, const engine::Compute& compute) {
  engine::ScoreOptions job;
  cli::fill_input(command.sequences, compute, &job);
  job.strand = strand_from(command.strand);
  return job;
}

void report(const engine::ScoreCounts& counts, const ScoreCommand& command) {
  report_input(counts.invalid, command.sequences.invalid, counts.left_out);
  std::ostringstream mean;
  mean << std::fixed << std::setprecision(4) << counts.bits / static_cast<double>(counts.scored) << " bits per base, ";
  base::log_info(base::concat(counts.scored > 0 ? mean.str() : "", counted(counts.scored, "base"), " of ", counts.bases,
                              " scored, ", counted(counts.records, "record"),
                              command.output == "-" ? "" : base::concat(", in ", command.output)));
}

}  // namespace

int run_score(const Arguments& arguments) {
  const auto command = parse_score(arguments);
  if (!command) return 0;
  engine::Compute compute = engine::choose_compute(command->device, command->precision);
  engine::set_threads(command->threads);
  const model::Model model = cli::load_model(command->model, &compute);
  const engine::ScoreOptions job = job_of(*command, compute);
  const auto writer = outputs::open_track_writer(
      command->output, {.force = command->force, .window = command->window, .quantity = "bits_per_base"});
  Progress progress("score", "bases");
  const engine::ScoreCounts counts = engine::score(job, model, *writer, [&](std::int64_t bases, double fraction) {
    progress.update(bases, fraction > 0 ? std::optional(fraction) : std::nullopt);
  });
  writer->close();  // a full disk is an error here; a destructor could only swallow it
  progress.finish();
  report(counts, *command);
  return 0;
}

}  // namespace dnamamba::apps
