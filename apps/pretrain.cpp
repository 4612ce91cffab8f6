// dnamamba pretrain: next-token training from sequence files to a model folder.
#include <cmath>
#include <filesystem>
#include <fstream>
#include <iomanip>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "apps/commands.h"
#include "apps/progress.h"
#include "apps/training_data_options.h"
#include "core/base/error.h"
#include "core/base/log.h"
#include "core/engine/pretrain.h"
#include "core/engine/run_settings.h"
#include "core/model/registry.h"

namespace dnamamba::apps {
namespace {

/// What `dnamamba pretrain` was asked for. The defaults here are the defaults of the command line.
struct PretrainCommand {
  engine::PretrainOptions job;
  cli::TrainingDataWords data;
  std::string model;  // begins from it
  std::string architecture;
  std::int64_t d_model = 128;
  std::int64_t layers = 4;
  std::string mixer = "mamba1";
  std::int64_t d_state = 0;  // 0: the mixer's own
  std::int64_t expand = 2;
  std::int64_t headdim = 64;
  std::string alphabet = "dnamamba";
  std::int64_t threads = 0;
  std::string device = "auto", precision = "auto";
  std::int64_t micro_batch = 0, segment = 0;  // 0: what suits the device
};

std::optional<PretrainCommand> parse_pretrain(const Arguments& arguments) {
  namespace po = cli::po;
  PretrainCommand command;
  engine::PretrainOptions& job = command.job;
  job.optimiser.steps = 1000;
  cli::Description description("pretrain", "[options] SEQUENCES... -o MODEL",
                               "Trains a model to predict the next base. Contexts may be of any length: beyond "
                               "--segment they are streamed, with the exact "
                               "gradient, in the memory of one segment.");
  auto& files = description.group("Files");
  cli::add_output(files, &job.output, &job.force, "folder of the model");
  files.add_options()(
      "checkpoint", po::value(&job.checkpoint)->value_name("FOLDER"),
      "where to save what the run needs to go on; if it is there, the run goes on from it, to the same bits")(
      "save-every", cli::number(&job.save_every, 0)->value_name("STEPS"), "0: when stopped only")(
      "time-limit", po::value(&job.time_limit)->value_name("SECONDS"), "end with a checkpoint after so much training");
  description.group("Model").add_options()("model,m", po::value(&command.model)->value_name("MODEL"),
                                           "begin with the weights of a model")(
      "architecture", po::value(&command.architecture)->value_name("FILE"),
      "a config.json, in the place of the six below")("mixer", cli::choice(&command.mixer, {"mamba1", "mamba2"}),
                                                      "kind of layer")(
      "d-model", cli::number(&command.d_model, 1)->value_name("N"), "width")(
      "layers", cli::number(&command.layers, 1)->value_name("N"), "how many layers")(
      "d-state", cli::number(&command.d_state, 0, 256)->value_name("N"),
      "states of a channel; 0: 16 of mamba1, 128 of mamba2")("expand", cli::number(&command.expand, 1)->value_name("N"),
                                                             "channels of the scan, times the width")(
      "headdim", cli::number(&command.headdim, 1, 256)->value_name("N"), "channels of a head, of mamba2")(
      "alphabet",
      po::value(&command.alphabet)
          ->default_value(command.alphabet)
          ->value_name("dnamamba|caduceus|hyenadna|plantcad|FILE"),
      "letters");
  description.group("Training")
      .add_options()("steps", cli::number(&job.optimiser.steps, 1)->value_name("N"),
                     "optimiser steps, the length of the schedule")(
          "micro-batch", cli::number(&command.micro_batch, 0)->default_value(0, "auto")->value_name("TOKENS"),
          "computed at a time")(
          "rate", po::value(&job.optimiser.rate)->default_value(job.optimiser.rate, "0.004")->value_name("X"),
          "highest learning rate; then a cosine")(
          "warmup", po::value(&job.optimiser.warmup)->default_value(job.optimiser.warmup, "0.1")->value_name("X"),
          "part of the steps in which the rate rises")(
          "weight-decay",
          po::value(&job.optimiser.weight_decay)->default_value(job.optimiser.weight_decay, "0.1")->value_name("X"),
          "not on norms, biases, A_log, D and the embedding")(
          "clip", po::value(&job.optimiser.clip)->default_value(job.optimiser.clip, "1")->value_name("X"),
          "largest norm of the gradient; 0: none");
  cli::add_training_data(description, &job.data, &command.data);
  description.group("Validation")
      .add_options()("validate-every", cli::number(&job.validate_every, 0)->value_name("STEPS"), "0: at the end")(
          "validation-context", cli::number(&job.validation_context, 0)->value_name("BASES"), "0: the whole record");
  auto& running = description.group("Running");
  cli::add_threads(running, &command.threads);
  cli::add_device(running, &command.device);
  cli::add_precision(running, &command.precision);
  cli::add_segment(running, &command.segment);
  description.example("a small model of a genome, in minutes on a laptop",
                      "dnamamba pretrain genome.fa.gz --steps 300 -o my-model");
  description.example(
      "with held-out files, in a run that may be stopped at any time",
      "dnamamba pretrain train/*.fa.gz --validation held-out.fa.gz --checkpoint run --save-every 100 -o my-model");
  description.example("of many genomes, all alike, with a fiftieth of each held out",
                      "dnamamba pretrain genomes.dnaz --sample-by file --hold-out-fraction 0.02 -o my-model");
  description.example("a Mamba-2 network", "dnamamba pretrain genome.fa.gz --mixer mamba2 -o my-mamba2");
  description.example("contexts of a million bases in the memory of 16,384",
                      "dnamamba pretrain chromosome.fa --context 1M --batch 1M --segment 16384 -o long-model");
  po::variables_map given;
  if (!cli::parse(arguments, description, &given)) return std::nullopt;
  cli::fill_training_data(command.data, &job.data);
  cli::require(given.count("output") > 0 && !job.output.empty() && job.output != "-",
               "no output: name the model's folder with -o");
  cli::require(job.optimiser.rate > 0 && std::isfinite(job.optimiser.rate), "--rate must be positive");
  cli::require(job.optimiser.warmup >= 0 && job.optimiser.warmup <= 1, "--warmup is a part of the steps, 0 to 1");
  cli::require(job.optimiser.weight_decay >= 0, "--weight-decay can't be negative");
  cli::require(job.optimiser.clip >= 0, "--clip can't be negative");
  cli::require(command.mixer != "mamba2" || command.d_model * command.expand % command.headdim == 0,
               base::concat("--headdim ", command.headdim, " must divide --d-model times --expand, ",
                            command.d_model * command.expand));
  cli::require(job.time_limit >= 0, "--time-limit can't be negative");
  cli::require(job.time_limit == 0 || !job.checkpoint.empty(), "--time-limit needs --checkpoint, or the work is lost");
  cli::require(job.save_every == 0 || !job.checkpoint.empty(), "--save-every needs --checkpoint");
  return command;
}

model::ModelConfig architecture_of(const PretrainCommand& command, const tokens::Alphabet& alphabet) {
  if (command.architecture.empty()) {
    const bool mamba2 = command.mixer == "mamba2";
    const std::int64_t d_state = command.d_state > 0 ? command.d_state : mamba2 ? 128 : 16;
    model::ModelConfig config =
        mamba2 ? model::mamba2_config(command.d_model, command.layers, d_state, command.expand, command.headdim)
               : model::mamba1_config(command.d_model, command.layers, d_state, command.expand);
    config.vocabulary = (alphabet.vocabulary() + 7) / 8 * 8;
    return config;
  }
  std::ifstream in(command.architecture);
  if (!in) throw base::IoError(command.architecture + ": can't be opened");
  std::ostringstream text;
  text << in.rdbuf();
  try {
    return model::any_config_from_json(model::parse_config(text.str()));
  } catch (const nlohmann::json::exception& error) {
    throw base::IoError(command.architecture + ": not JSON: " + error.what());
  }
}

model::Model initial_model(const PretrainCommand& command) {
  if (!command.model.empty()) {
    model::Model model = model::load_model(model::find_model(command.model));
    if (!model.alphabet) model.alphabet = tokens::Alphabet::named_or_file(command.alphabet);
    return model;
  }
  model::Model model;
  model.alphabet = tokens::Alphabet::named_or_file(command.alphabet);
  model.config = architecture_of(command, *model.alphabet);
  cli::require(model.alphabet->vocabulary() <= model.config.vocabulary, "the alphabet has more ids than the model");
  model.parameters = model::initialise_parameters(model.config, command.job.data.seed);
  return model;
}

std::string number(double value, int digits) {
  std::ostringstream out;
  out << std::fixed << std::setprecision(digits) << value;
  return out.str();
}

void log_step(const engine::PretrainReport& report, std::int64_t steps) {
  const std::int64_t every = std::max<std::int64_t>(steps / 100, 1);
  if (report.step % every == 0 || report.step == steps || report.step == 1)
    base::log_info(base::concat("step ", report.step, " of ", steps, ": ", number(report.bits_per_base, 4),
                                " bits per base, gradient ", number(report.gradient_norm, 3), ", rate ",
                                number(report.rate, 5), ", ", quantity(static_cast<double>(report.tokens), "tokens")));
  for (const auto& [file, bits] : report.validation)
    base::log_info(
        base::concat("validation after step ", report.step, ": ", number(bits, 4), " bits per base on ", file));
}

}  // namespace

int run_pretrain(const Arguments& arguments) {
  auto command = parse_pretrain(arguments);
  if (!command) return 0;
  engine::set_threads(command->threads);
  model::Model model = initial_model(*command);
  const engine::Compute compute =
      engine::compute_for(model.config, engine::choose_compute(command->device, command->precision));
  command->job.compute = compute;
  command->job.segment = compute.training_segment(command->segment);
  command->job.micro_batch = compute.training_segment(command->micro_batch);
  base::log_info(
      base::concat(model::describe(model.config), "; ", model::count_parameters(model.config), " parameters"));
  const std::int64_t steps = command->job.optimiser.steps;
  Progress progress("pretrain", "tokens");
  const engine::PretrainResult result =
      engine::pretrain(command->job, std::move(model), [&](const engine::PretrainReport& report) {
        progress.update(report.tokens, static_cast<double>(report.step) / static_cast<double>(steps));
        log_step(report, steps);
      });
  progress.finish();
  base::log_info(result.complete ? base::concat("the model is in ", command->job.output)
                                 : base::concat("stopped after step ", result.steps, " of ", steps,
                                                "; the same command goes on from ", command->job.checkpoint));
  return 0;
}

}  // namespace dnamamba::apps
