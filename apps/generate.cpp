// dnamamba generate: DNA drawn from a language model.
#include <charconv>
#include <cmath>
#include <optional>
#include <string>

#include "apps/commands.h"
#include "apps/loaded_model.h"
#include "apps/option_value.h"
#include "apps/progress.h"
#include "apps/read_counts.h"
#include "apps/sequence_options.h"
#include "core/base/error.h"
#include "core/base/log.h"
#include "core/engine/generate.h"
#include "core/engine/run_settings.h"
#include "core/model/model_folder.h"

namespace dnamamba::apps {
namespace {

/// What `dnamamba generate` was asked for. The defaults here are the defaults of the command line.
struct GenerateCommand {
  cli::SequenceOptions prompts;
  cli::ModelOptions model;
  std::string output = "-";
  bool force = false;
  std::int64_t length = 1000;
  std::int64_t number = 1;
  double temperature = 1;
  std::int64_t top_k = 4;
  std::int64_t seed = 1;
  std::string weights = "fp32";
  std::int64_t threads = 2;
};

double read_temperature(const std::string& text) {
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size() || !std::isfinite(value) || value < 0)
    throw base::UsageError("'" + text + "' is not a number from 0 on");
  return value;
}

cli::po::typed_value<double>* temperature(double* target) {
  auto* value = new cli::ReadValue<double>(target, read_temperature);  // program_options owns it
  value->default_value(*target, "1")->value_name("NUMBER");
  return value;
}

std::optional<GenerateCommand> parse_generate(const Arguments& arguments) {
  namespace po = cli::po;
  GenerateCommand command;
  cli::Description description("generate", "[options] [PROMPTS...]",
                               "Draws DNA from a language model, base after base. Each record of the prompts is read "
                               "whole, however long it is, and continued; without prompts, sequences begin with a base "
                               "drawn evenly.");
  description.positional("prompts", po::value(&command.prompts.paths));
  cli::add_model(description.group("Model"), &command.model);
  auto& drawn = description.group("What is drawn");
  drawn.add_options()("length,n", cli::number(&command.length, 1), "bases of each sequence, its prompt not counted")(
      "number", cli::number(&command.number, 1, 1'000'000'000), "sequences of each prompt")(
      "temperature", temperature(&command.temperature),
      "1: as probable as the model says; less: the more probable bases more often; 0: always the most probable")(
      "top-k", cli::number(&command.top_k, 1, 4), "draw only from so many of the most probable bases");
  cli::add_seed(drawn, &command.seed);
  cli::add_input(description.group("Prompts"), &command.prompts.input);
  cli::add_letters(description.group("Prompts"), &command.prompts);
  cli::add_output(description.group("Output"), &command.output, &command.force,
                  "FASTA, without the prompts; - is standard output");
  auto& running = description.group("Running");
  cli::add_threads(running, &command.threads);
  running.add_options()("weights", cli::choice(&command.weights, {"fp32", "bf16"}),
                        "how weights are held while drawing: bf16 rounds them, and is up to twice as fast");
  cli::add_segment(running, &command.prompts.segment);
  description.example("ten sequences of 5,000 bases", "dnamamba generate -n 5k --number 10 -o drawn.fa");
  description.example("a sequence continued", "dnamamba generate -n 200 --temperature 0.8 prompt.fa");
  description.example("what the model holds most probable behind a region",
                      "dnamamba generate --temperature 0 -n 100 -r chr1:1-50,000 genome.fa");
  if (!cli::parse(arguments, description)) return std::nullopt;
  return command;
}

engine::GenerateOptions job_of(const GenerateCommand& command) {
  engine::GenerateOptions job;
  cli::fill_input(command.prompts, engine::Compute{}, &job);
  job.length = command.length;
  job.number = command.number;
  job.temperature = command.temperature;
  job.top_k = command.top_k;
  job.seed = static_cast<std::uint64_t>(command.seed);
  job.weights = command.weights == "bf16" ? kernels::StepWeights::kBfloat16 : kernels::StepWeights::kFloat32;
  return job;
}

}  // namespace

int run_generate(const Arguments& arguments) {
  const auto command = parse_generate(arguments);
  if (!command) return 0;
  engine::set_threads(command->threads);
  engine::Compute compute;  // a step at a time is for processors
  const model::Model model = cli::load_model(command->model, &compute);
  files::AtomicFile out = command->output == "-" ? files::AtomicFile::standard_output()
                                                 : files::AtomicFile(command->output, command->force);
  Progress progress("generate", "bases");
  const engine::GenerateCounts counts =
      engine::generate(job_of(*command), model, out, [&](std::int64_t bases) { progress.update(bases); });
  out.commit();
  progress.finish();
  report_input(counts.invalid, command->prompts.invalid, 0);
  base::log_info(base::concat(counted(counts.bases, "base"), " in ", counted(counts.sequences, "sequence"),
                              command->output == "-" ? "" : base::concat(", in ", command->output)));
  return 0;
}

}  // namespace dnamamba::apps
