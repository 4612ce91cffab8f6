// dnamamba embed: sequences to vectors.
#include <chrono>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "apps/commands.h"
#include "apps/loaded_model.h"
#include "apps/progress.h"
#include "apps/read_counts.h"
#include "apps/run_description.h"
#include "apps/sequence_options.h"
#include "core/base/error.h"
#include "core/base/log.h"
#include "core/engine/embed.h"
#include "core/engine/embed_map.h"
#include "core/engine/run_settings.h"
#include "core/model/model_folder.h"
#include "core/outputs/embedding_report.h"
#include "core/outputs/embedding_writer.h"

namespace dnamamba::apps {
namespace {

/// What `dnamamba embed` was asked for. The defaults here are the defaults of the command line.
struct EmbedCommand {
  cli::SequenceOptions sequences;
  cli::ModelOptions model;
  std::string output = "-";
  std::string format = "auto";
  std::string dtype = "float32";
  std::string report;
  bool force = false;
  std::string pool = "mean";
  std::int64_t window = 0;
  std::int64_t stride = 0;
  std::string context = "record";
  std::string strand = "auto";
  std::int64_t layer = -1;
  bool layer_given = false;
  std::int64_t threads = 0;
  std::string device = "auto";
  std::string precision = "auto";
};

bool same_file(const std::filesystem::path& one, const std::filesystem::path& other) {
  return std::filesystem::weakly_canonical(one) == std::filesystem::weakly_canonical(other);
}

std::optional<EmbedCommand> parse_embed(const Arguments& arguments) {
  namespace po = cli::po;
  EmbedCommand command;
  cli::Description description("embed", "[options] SEQUENCES...",
                               "Turns DNA into vectors: one a record, or one a window of a long record. The model's "
                               "state runs through each record from its "
                               "first base to its last, however long it is, in constant memory.");
  cli::add_sequences(description, &command.sequences);
  auto& model = description.group("Model");
  cli::add_model(model, &command.model);
  model.add_options()("layer", po::value(&command.layer)->value_name("N"),
                      "take the vectors after N layers (0: the embedding); default: after the final norm");
  auto& windows = description.group("What a vector stands for");
  windows.add_options()(
      "pool", cli::choice(&command.pool, {"mean", "max", "last", "none"}),
      "how positions become one vector; none: one vector a base. N is left out; a window of N only gives NaN")(
      "window,w", cli::number(&command.window, 0)->value_name("BASES"),
      "bases a vector stands for; 0: 1,000 for records over 10,000 bases, else the whole record")(
      "stride", cli::number(&command.stride, 0)->value_name("BASES"), "from one window to the next; 0: the window")(
      "context", cli::choice(&command.context, {"record", "window"}),
      "what the model has read before a base: all of the record, or the window alone")(
      "strand", cli::choice(&command.strand, {"auto", "forward", "reverse", "both"}),
      "which strand is read; both: the mean of the two; auto: as the model was made for");
  cli::add_letters(windows, &command.sequences);
  auto& output = description.group("Output");
  cli::add_output(
      output, &command.output, &command.force,
      ".npz, .npy (and .tsv beside it), .safetensors, .h5ad, .parquet, .tsv or .tsv.gz; - is TSV on standard output");
  output.add_options()(
      "format", cli::choice(&command.format, {"auto", "npz", "npy", "safetensors", "h5ad", "parquet", "tsv", "tsv.gz"}),
      "in the place of what the suffix says")("dtype", cli::choice(&command.dtype, {"float32", "float16"}),
                                              "type of the values; float16 halves all but TSV")(
      "report", po::value(&command.report)->value_name("FILE"),
      "also a page to look at, FILE.html: a map of the windows, GC, N, lengths, records, speed; any browser shows it");
  auto& running = description.group("Running");
  cli::add_threads(running, &command.threads);
  cli::add_device(running, &command.device);
  cli::add_precision(running, &command.precision);
  cli::add_segment(running, &command.sequences.segment);
  description.example("a vector for each 1 kb of a genome", "dnamamba embed genome.fa.gz -o genome.npz");
  description.example("one vector a read, as a table", "zcat reads.fastq.gz | dnamamba embed - > reads.tsv");
  description.example("the reads of a region, as they were sequenced",
                      "dnamamba embed -r chr20:1,000,000-2,000,000 reads.bam -o reads.npz");
  description.example("the same vectors, and a page that shows them",
                      "dnamamba embed genome.fa.gz -o genome.npz --report genome.html");
  description.example("overlapping windows of 5 kb, by a model of your own",
                      "dnamamba embed -m my-model/ -w 5k --stride 1k genome.fa -o genome.npy");
  po::variables_map given;
  if (!cli::parse(arguments, description, &given)) return std::nullopt;
  command.layer_given = given.count("layer") > 0;
  cli::require_sequences(command.sequences);
  cli::require(command.stride == 0 || command.window > 0, "--stride needs --window");
  cli::require(command.pool != "none" || command.window == 0, "--pool none gives a vector a base; leave out --window");
  cli::require(command.pool != "none" || command.context == "record", "--pool none goes with --context record");
  cli::require(!command.layer_given || command.layer >= 0, "--layer counts from 0");
  cli::require(command.report != "-", "--report needs the name of a file, such as report.html");
  cli::require(command.report.empty() || !same_file(command.report, command.output),
               "--report and --output name the same file");
  return command;
}

heads::Pool pool_from(const std::string& word) {
  if (word == "max") return heads::Pool::kMax;
  if (word == "last") return heads::Pool::kLast;
  return word == "none" ? heads::Pool::kNone : heads::Pool::kMean;
}

tokens::Strand strand_from(const std::string& word, const tokens::Alphabet& alphabet) {
  if (word == "forward") return tokens::Strand::kForward;
  if (word == "reverse") return tokens::Strand::kReverse;
  return word == "both" ? tokens::Strand::kBoth : alphabet.fields().default_strand;
}

engine::EmbedOptions job_of(const EmbedCommand& command, const engine::Compute& compute, const model::Model& model) {
  engine::EmbedOptions job;
  cli::fill_input(command.sequences, compute, &job);
  job.plan.pool = pool_from(command.pool);
  if (command.window > 0) job.plan.window = command.window;
  if (command.stride > 0) job.plan.stride = command.stride;
  job.plan.context = command.context == "window" ? engine::Context::kWindow : engine::Context::kRecord;
  job.plan.strand = strand_from(command.strand, *model.alphabet);
  job.layer = command.layer_given ? command.layer : model.alphabet->fields().default_layer;
  const auto layers = static_cast<std::int64_t>(model.config.layers.size());
  cli::require(job.layer <= layers, base::concat("--layer ", job.layer, ": the model has ", layers, " layers"));
  return job;
}

std::string_view word_of(tokens::Strand strand) {
  if (strand == tokens::Strand::kForward) return "forward";
  return strand == tokens::Strand::kReverse ? "reverse" : "both";
}

// What was asked for, and what "auto" came to.
std::string metadata_of(const EmbedCommand& command, const engine::EmbedOptions& job, const model::Model& model) {
  return nlohmann::json{{"program", "dnamamba " DNAMAMBA_VERSION},
                        {"model", command.model.model},
                        {"regions", command.sequences.input.regions},
                        {"regions_file", command.sequences.input.regions_file},
                        {"reference", command.sequences.input.reference},
                        {"min_mapq", command.sequences.input.min_mapq},
                        {"exclude_flags", command.sequences.input.exclude_flags},
                        {"model_config", model::config_to_json(model.config)},
                        {"pool", command.pool},
                        {"window", command.window},
                        {"stride", command.stride},
                        {"context", command.context},
                        {"strand", word_of(job.plan.strand)},
                        {"layer", job.layer},
                        {"invalid", command.sequences.invalid},
                        {"soft_mask", command.sequences.soft_mask},
                        {"precision", command.precision},
                        {"coordinates", "0-based, end exclusive"}}
      .dump();
}

void say_counts(const engine::EmbedCounts& counts, const outputs::EmbeddingWriter& writer, const EmbedCommand& command,
                std::int64_t width) {
  if (counts.ambiguous_rows > 0)
    base::log_warning(base::concat(counted(counts.ambiguous_rows, "vector"), " of windows of N only: all NaN"));
  report_input(counts.invalid, command.sequences.invalid, counts.left_out);
  if (writer.overflowed() > 0)
    base::log_warning(base::concat(counted(writer.overflowed(), "value"), " too large for float16: infinite"));
  base::log_info(base::concat(counted(counts.rows, "vector"), " of ", width, " from ",
                              counted(counts.records, "record"), ", ", counted(counts.bases, "base"),
                              command.output == "-" ? "" : base::concat(" in ", command.output),
                              command.report.empty() ? "" : base::concat("; a report in ", command.report)));
}

std::string windows_of(const EmbedCommand& command) {
  if (command.pool == "none") return "each base";
  if (command.window == 0) return "1,000 bases of records over 10,000, else the whole record";
  if (command.stride == 0) return base::concat(command.window, " bases");
  return base::concat(command.window, " bases, one each ", command.stride);
}

// What the report says of the run.
outputs::ReportRun run_of(const Arguments& arguments, const EmbedCommand& command, const engine::EmbedOptions& job,
                          const model::Model& model) {
  const std::string first = std::filesystem::path(command.sequences.paths.front()).filename().string();
  const auto more = static_cast<std::int64_t>(command.sequences.paths.size()) - 1;
  outputs::ReportRun run;
  run.title = base::concat("Embeddings of ", first == "-" ? "standard input" : first,
                           more > 0 ? base::concat(" and ", counted(more, "other")) : "");
  run.program = "dnamamba " DNAMAMBA_VERSION;
  run.command = typed("embed", arguments);
  run.inputs = command.sequences.paths;
  const auto add = [&](const char* name, const std::string& value) { run.settings.emplace_back(name, value); };
  add("Model", base::concat(command.model.model, ": ", model::describe(model.config)));
  add("Vector", base::concat(model.config.d_model, " numbers, ",
                             job.layer < 0 ? "after the final norm" : base::concat("after layer ", job.layer)));
  add("Windows", windows_of(command));
  add("Pooling", command.pool);
  add("Strand", std::string(word_of(job.plan.strand)));
  add("Context", command.context);
  std::string regions = command.sequences.input.regions_file;
  for (const std::string& region : command.sequences.input.regions) regions += (regions.empty() ? "" : ", ") + region;
  if (!regions.empty()) add("Regions", regions);
  if (command.sequences.invalid != "error")
    add("Other letters", command.sequences.invalid == "n" ? "taken as N" : "left out");
  if (command.sequences.soft_mask == "n") add("Lower case", "taken as N");
  add("Output", command.output == "-" ? "standard output" : command.output);
  add("Made", now());
  return run;
}

// The page of --report: told of the rows while they are made, written before the embeddings get their name and named
// after them, so that a disk too full for either leaves neither.
class Report {
 public:
  Report(const EmbedCommand& command, const model::Model& model)
      : page_(command.report, command.force), map_(page_, model.config.d_model, *model.alphabet) {}

  engine::EmbedMap& map() { return map_; }
  void update(std::int64_t bases) {
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start_;
    throughput_.add(seconds.count(), bases);
  }
  void write(const outputs::ReportRun& run) { page_.write(run, throughput_, map_.finish()); }
  void commit() { page_.commit(); }

 private:
  outputs::EmbeddingReport page_;
  engine::EmbedMap map_;
  outputs::ThroughputTrace throughput_;
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

}  // namespace

int run_embed(const Arguments& arguments) {
  const auto command = parse_embed(arguments);
  if (!command) return 0;
  engine::Compute compute = engine::choose_compute(command->device, command->precision);
  engine::set_threads(command->threads);
  const model::Model model = cli::load_model(command->model, &compute);
  const engine::EmbedOptions job = job_of(*command, compute, model);
  const auto report = command->report.empty() ? nullptr : std::make_unique<Report>(*command, model);
  const auto writer = outputs::open_embedding_writer(command->output, outputs::parse_embedding_format(command->format),
                                                     {.width = model.config.d_model,
                                                      .type = outputs::parse_embedding_type(command->dtype),
                                                      .force = command->force,
                                                      .metadata = metadata_of(*command, job, model)});
  Progress progress("embed", "bases");
  const auto update = [&](std::int64_t bases, double fraction) {
    progress.update(bases, fraction > 0 ? std::optional(fraction) : std::nullopt);
    if (report) report->update(bases);
  };
  const engine::EmbedCounts counts = engine::embed(job, model, *writer, update, report ? &report->map() : nullptr);
  if (report) report->write(run_of(arguments, *command, job, model));
  writer->close();  // a full disk is an error here; a destructor could only swallow it
  if (report) report->commit();
  progress.finish();
  say_counts(counts, *writer, *command, model.config.d_model);
  return 0;
}

}  // namespace dnamamba::apps
