// context_length: bits per base of a model on windows of sequences, after contexts of more and more bases.
#include <csignal>
#include <iostream>
#include <optional>
#include <string>
#include <vector>

#include "apps/cli.h"
#include "apps/exit_status.h"
#include "apps/progress.h"
#include "core/base/error.h"
#include "core/base/heap.h"
#include "core/base/log.h"
#include "core/base/stop.h"
#include "core/engine/run_settings.h"
#include "core/io/region.h"
#include "core/model/registry.h"
#include "core/outputs/text_output.h"
#include "core/train/validation.h"
#include "pipelines/studies/context_length/context_loss.h"

namespace dnamamba::studies {
namespace {

namespace cli = apps::cli;

/// What the program was asked for. The defaults here are the defaults of the command line.
struct Command {
  std::vector<std::string> sequences;
  std::vector<std::string> regions;
  std::string model = model::kDefaultModel;
  WindowOptions windows;
  std::int64_t seed = 1;
  std::string output = "-";
  bool force = false;
  std::int64_t threads = 0, segment = 0;
  std::string device = "auto", precision = "auto";
};

void add_contexts(cli::Description& description, WindowOptions& windows) {
  description.group("Contexts and windows")
      .add_options()("shortest", cli::number(&windows.shortest, 1)->value_name("BASES"),
                     "context; the next one is 4 times as long, and so on")(
          "longest", cli::number(&windows.longest, 1)->value_name("BASES"),
          "context; all windows have it before them, inside the region")(
          "window", cli::number(&windows.window, 1)->value_name("BASES"), "that are predicted behind a context")(
          "windows", cli::number(&windows.windows, 1, 1'000'000)->value_name("N"),
          "how many at most, evenly spread; fewer if no more fit in")(
          "word", cli::number(&windows.word, 1)->value_name("BASES"),
          "that stay together in shuffled contexts; 1: a permutation of the bases");
}

std::optional<Command> parse(const apps::Arguments& arguments) {
  namespace po = cli::po;
  Command command;
  cli::Description description(
      "context_length", "[options] SEQUENCES...",
      "Says whether a longer context helps a model: how many bits per base it needs for windows of the sequences after "
      "contexts of more and more bases. Beside each true context stand two that differ from it behind the nearest "
      "bases: one with its words in random order, and one from elsewhere in the sequences.",
      /*is_program=*/true);
  description.positional("sequences", po::value(&command.sequences));
  description.group("Input").add_options()(
      "region,r", po::value(&command.regions)->composing()->value_name("REGION"),
      "windows and contexts lie in this part alone, chr8 or chr8:1,000-2,000, such as what was held out of training; "
      "may be given again")("model,m", po::value(&command.model)->default_value(command.model)->value_name("MODEL"),
                            "a model that ships, by name, or a folder");
  add_contexts(description, command.windows);
  cli::add_seed(description.group("Contexts and windows"), &command.seed);
  cli::add_output(description.group("Output"), &command.output, &command.force, "a table as TSV; - is standard output");
  auto& running = description.group("Running");
  cli::add_threads(running, &command.threads);
  cli::add_device(running, &command.device);
  cli::add_precision(running, &command.precision);
  cli::add_segment(running, &command.segment);
  description.example("of what was held out of the training of a model",
                      "context_length -m my-model -r chr20:50,000,001-54,000,001 genome.dnaz -o bits.tsv");
  description.example("of a bacterium, by the model that ships",
                      "context_length --longest 65536 tests/data/genomes/Mycoplasmoides_genitalium.fa.gz");
  if (!cli::parse(arguments, description)) return std::nullopt;
  cli::require(!command.sequences.empty(), "no input: give sequence files, or token stores made by dnamamba pack");
  cli::require(command.windows.shortest <= command.windows.longest, "--shortest must not be more than --longest");
  command.windows.seed = static_cast<std::uint64_t>(command.seed);
  return command;
}

// Of regions that overlap, what is in any of them.
std::vector<WindowSource> sources_of(const train::TrainingFiles& files, const std::vector<std::string>& words) {
  std::vector<io::Region> parsed;
  parsed.reserve(words.size());
  for (const std::string& word : words) parsed.push_back(io::parse_region(word));
  io::RegionList regions(parsed);
  std::vector<WindowSource> sources;
  for (const auto& file : files)
    for (std::int64_t s = 0; s < file->sequences(); ++s) {
      if (words.empty()) sources.push_back({file.get(), {s, 0, file->length(s)}});
      std::int64_t end = 0;
      for (const io::Region& region : regions.of(std::string(file->name(s)), file->length(s), file->path())) {
        if (region.end > end) sources.push_back({file.get(), {s, std::max(region.begin, end), region.end}});
        end = std::max(end, region.end);
      }
    }
  regions.require_all_found("the sequences");
  return sources;
}

std::string line_of(const ContextLoss& loss) {
  std::string line = base::concat(loss.context, "\t", name_of(loss.kind), "\t", loss.windows, "\t", loss.bases);
  for (const double value : {loss.bits_per_base, loss.standard_error, loss.gain, loss.gain_error}) {
    line += '\t';
    outputs::put_number(static_cast<float>(value), line);
  }
  return line + "\n";
}

void write(const std::vector<ContextLoss>& losses, outputs::TextOutput& out) {
  out.append("context\tkind\twindows\tbases\tbits_per_base\tstandard_error\tgain\tgain_error\n");
  for (const ContextLoss& loss : losses) out.append(line_of(loss));
  out.commit();
}

void run(const Command& command) {
  outputs::TextOutput out(command.output, command.force, outputs::Compression::kNone);
  engine::Compute compute = engine::choose_compute(command.device, command.precision);
  engine::set_threads(command.threads);
  model::Model model = model::load_model(model::find_model(command.model), compute.wide());
  if (!model.alphabet) throw base::UsageError("the model " + command.model + " carries no alphabet");
  compute = engine::compute_for(model.config, compute);
  engine::place_for_inference(model, compute);
  const model::Backbone backbone(model.config, model.parameters, model.activations);
  const auto files = train::open_training_files(command.sequences, tokens::Tokenizer(*model.alphabet));
  const ContextWindows windows(sources_of(files, command.regions), *model.alphabet, command.windows);
  base::log_info(base::concat(windows.count(), " windows",
                              windows.left_out() > 0 ? base::concat("; ", windows.left_out(), " left out for N") : ""));
  std::int64_t done = 0;
  apps::Progress progress("context_length", "tokens");
  write(measure_context_losses(backbone, windows, *model.alphabet, compute.inference_segment(command.segment),
                               [&](std::int64_t tokens) { progress.update(done += tokens); }),
        out);
  progress.finish();
}

}  // namespace
}  // namespace dnamamba::studies

int main(int count, char** words) {
  using namespace dnamamba;
  base::keep_freed_memory();
  try {
    base::install_stop_signals();
    std::signal(SIGPIPE, SIG_IGN);  // a reader that went away is an error of the write, with a message
    if (const auto command = studies::parse({words + 1, words + count})) studies::run(*command);
    return apps::kDone;
  } catch (const std::exception& error) {
    const std::string text = error.what();
    std::cerr << "context_length: " << text.substr(0, text.find('\n')) << "\n";  // LibTorch's go on with a stack trace
    return apps::ending_of(error, "").status;
  }
}
