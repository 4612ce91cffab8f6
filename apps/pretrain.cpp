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
#include "apps/run_description.h"
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
  std::string schedule = "cosine", on_nan = "stop", on_spike = "ignore", boundary_states = "device";
};

void add_checkpoint_options(cli::po::options_description& files, engine::PretrainOptions* job) {
  namespace po = cli::po;
  engine::CheckpointOptions& checkpoint = job->checkpoint;
  files.add_options()("checkpoint", po::value(&checkpoint.folder)->value_name("FOLDER"),
                      "where to save what the run needs to go on; if it is there, the run goes on from it, to the same "
                      "bits")("save-every", cli::number(&checkpoint.save_every, 0)->value_name("STEPS"),
                              "0: when stopped only")("keep", cli::number(&checkpoint.keep, 1)->value_name("N"),
                                                      "how many checkpoints stay, the newest ones")(
      "last-good", po::bool_switch(&checkpoint.last_good),
      "where checkpoints are damaged, go on from the newest one that is whole")(
      "time-limit", po::value(&job->time_limit)->value_name("SECONDS"), "end with a checkpoint after so much training")(
      "log", po::value(&job->records.log)->value_name("FILE"), "a line of JSON for each step and each validation")(
      "report", po::value(&job->records.report)->value_name("FILE"),
      "a page, such as training.html, with curves of loss, loss by context, rate, gradient and speed");
}

void add_schedule_options(cli::po::options_description& training, PretrainCommand* command) {
  namespace po = cli::po;
  train::ScheduleOptions& schedule = command->job.schedule;
  training.add_options()("steps", cli::number(&schedule.steps, 1)->value_name("N"),
                         "optimiser steps, the length of the schedule")(
      "schedule", cli::choice(&command->schedule, {"cosine", "wsd", "constant"}),
      "of the learning rate after the warm-up; wsd: stable, then a decay")(
      "rate", po::value(&schedule.rate)->default_value(schedule.rate, "0.004")->value_name("X"),
      "highest learning rate")("warmup",
                               po::value(&schedule.warmup)->default_value(schedule.warmup, "0.1")->value_name("X"),
                               "part of the steps in which the rate rises")(
      "decay", po::value(&schedule.decay)->default_value(schedule.decay, "0.2")->value_name("X"),
      "part of the steps in which it falls, of wsd");
}

void add_guard_options(cli::po::options_description& training, PretrainCommand* command) {
  namespace po = cli::po;
  train::GuardOptions& guard = command->job.guard;
  training.add_options()("on-nan", cli::choice(&command->on_nan, {"stop", "skip"}),
                         "a step whose loss or gradient is not finite; skip: it changes nothing")(
      "on-spike", cli::choice(&command->on_spike, {"ignore", "stop", "skip"}),
      "a step whose gradient is far larger than usual")(
      "spike-factor", po::value(&guard.spike_factor)->default_value(guard.spike_factor, "10")->value_name("X"),
      "how many times the median norm of the last 101 steps is a spike");
}

void add_streaming_options(cli::po::options_description& running, PretrainCommand* command) {
  running.add_options()("truncated-backprop", cli::po::bool_switch(&command->job.truncated),
                        "no gradient crosses segments: inexact, one forward less")(
      "boundary-states", cli::choice(&command->boundary_states, {"device", "host"}),
      "where the states between segments wait; host: in the memory of the host, for the longest contexts");
}

train::OnTrouble on_trouble(const std::string& word) {
  return word == "stop"   ? train::OnTrouble::kStop
         : word == "skip" ? train::OnTrouble::kSkip
                          : train::OnTrouble::kIgnore;
}

bool is_part(double value) {
  return value >= 0 && value <= 1;
}

void check_training_options(const PretrainCommand& command) {
  const engine::PretrainOptions& job = command.job;
  cli::require(job.schedule.rate > 0 && std::isfinite(job.schedule.rate), "--rate must be positive");
  cli::require(is_part(job.schedule.warmup), "--warmup is a part of the steps, 0 to 1");
  cli::require(is_part(job.schedule.decay), "--decay is a part of the steps, 0 to 1");
  cli::require(job.guard.spike_factor > 0 && std::isfinite(job.guard.spike_factor), "--spike-factor must be positive");
  cli::require(job.optimiser.weight_decay >= 0, "--weight-decay can't be negative");
  cli::require(job.optimiser.clip >= 0, "--clip can't be negative");
}

void check_files(const engine::PretrainOptions& job) {
  cli::require(job.time_limit >= 0, "--time-limit can't be negative");
  cli::require(job.time_limit == 0 || !job.checkpoint.folder.empty(),
               "--time-limit needs --checkpoint, or the work is lost");
  cli::require(job.checkpoint.save_every == 0 || !job.checkpoint.folder.empty(), "--save-every needs --checkpoint");
  cli::require(!job.checkpoint.last_good || !job.checkpoint.folder.empty(), "--last-good needs --checkpoint");
  cli::require(job.records.log != "-", "--log needs the name of a file, such as log.jsonl");
  cli::require(job.records.report != "-", "--report needs the name of a file, such as report.html");
  cli::require(job.records.report.empty() || job.records.report != job.records.log,
               "--report and --log name the same file");
}

std::optional<PretrainCommand> parse_pretrain(const Arguments& arguments) {
  namespace po = cli::po;
  PretrainCommand command;
  engine::PretrainOptions& job = command.job;
  job.schedule.steps = 1000;
  cli::Description description("pretrain", "[options] SEQUENCES... -o MODEL",
                               "Trains a model to predict the next base. Contexts may be of any length: beyond "
                               "--segment they are streamed, with the exact "
                               "gradient, in the memory of one segment.");
  auto& files = description.group("Files");
  cli::add_output(files, &job.output, &job.force, "folder of the model");
  add_checkpoint_options(files, &job);
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
  add_schedule_options(description.group("Training"), &command);
  description.group("Training")
      .add_options()("micro-batch",
                     cli::number(&command.micro_batch, 0)->default_value(0, "auto")->value_name("TOKENS"),
                     "computed at a time")(
          "weight-decay",
          po::value(&job.optimiser.weight_decay)->default_value(job.optimiser.weight_decay, "0.1")->value_name("X"),
          "not on norms, biases, A_log, D and the embedding")(
          "clip", po::value(&job.optimiser.clip)->default_value(job.optimiser.clip, "1")->value_name("X"),
          "largest norm of the gradient; 0: none");
  add_guard_options(description.group("Training"), &command);
  cli::add_training_data(description, &job.data, &command.data);
  description.group("Validation")
      .add_options()("validate-every", cli::number(&job.validate_every, 0)->value_name("STEPS"), "0: at the end")(
          "validation-context", cli::number(&job.validation_context, 0)->value_name("BASES"), "0: the whole record");
  auto& running = description.group("Running");
  cli::add_threads(running, &command.threads);
  cli::add_device(running, &command.device);
  cli::add_precision(running, &command.precision);
  cli::add_segment(running, &command.segment);
  add_streaming_options(running, &command);
  description.example("a small model of a genome, in minutes on a laptop",
                      "dnamamba pretrain genome.fa.gz --steps 300 -o my-model");
  description.example(
      "with held-out files, in a run that may be stopped at any time",
      "dnamamba pretrain train/*.fa.gz --validation held-out.fa.gz --checkpoint run --save-every 100 -o my-model");
  description.example("of many genomes, all alike, with a fiftieth of each held out",
                      "dnamamba pretrain genomes.dnaz --sample-by file --hold-out-fraction 0.02 -o my-model");
  description.example("the same, to be looked at",
                      "dnamamba pretrain train/*.fa.gz --validation held-out.fa.gz --validate-every 100 --report "
                      "training.html --log training.jsonl -o my-model");
  description.example("a Mamba-2 network", "dnamamba pretrain genome.fa.gz --mixer mamba2 -o my-mamba2");
  description.example("contexts of a million bases in the memory of 16,384",
                      "dnamamba pretrain chromosome.fa --context 1M --batch 1M --segment 16384 -o long-model");
  po::variables_map given;
  if (!cli::parse(arguments, description, &given)) return std::nullopt;
  cli::fill_training_data(command.data, &job.data);
  cli::require(given.count("output") > 0 && !job.output.empty() && job.output != "-",
               "no output: name the model's folder with -o");
  check_training_options(command);
  cli::require(command.mixer != "mamba2" || command.d_model * command.expand % command.headdim == 0,
               base::concat("--headdim ", command.headdim, " must divide --d-model times --expand, ",
                            command.d_model * command.expand));
  check_files(job);
  job.schedule.kind = command.schedule == "cosine" ? train::Schedule::kCosine
                      : command.schedule == "wsd"  ? train::Schedule::kWsd
                                                   : train::Schedule::kConstant;
  job.guard.on_nan = on_trouble(command.on_nan);
  job.guard.on_spike = on_trouble(command.on_spike);
  job.states_on_host = command.boundary_states == "host";
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

// "41.2 k tokens/s, 31.0 % of the device's peak, 2 min 10 s left": of this run.
std::string speed_of(const engine::PretrainReport& report) {
  std::string text;
  const auto add = [&](const std::string& part) { text += (text.empty() ? "" : ", ") + part; };
  if (report.step_seconds > 0) add(quantity(static_cast<double>(report.new_tokens) / report.step_seconds, "tokens/s"));
  if (report.utilisation > 0) add(number(100 * report.utilisation, 1) + " % of the device's peak");
  const auto done = static_cast<double>(report.step - report.first_step);
  if (report.step < report.steps && done > 0)
    add(duration(report.seconds / done * static_cast<double>(report.steps - report.step)) + " left");
  return text;
}

void log_step(const engine::PretrainReport& report) {
  const std::int64_t every = std::max<std::int64_t>(report.steps / 100, 1);
  if (!report.skipped.empty()) base::log_warning(base::concat("step ", report.step, " is skipped: ", report.skipped));
  if (report.step % every == 0 || report.step == report.steps || report.step == 1)
    base::log_info(base::concat("step ", report.step, " of ", report.steps, ": ", number(report.bits_per_base, 4),
                                " bits per base, gradient ", number(report.gradient_norm, 3), ", rate ",
                                number(report.rate, 5), ", ", quantity(static_cast<double>(report.tokens), "tokens"),
                                ", ", speed_of(report)));
  for (const auto& [file, bits] : report.validation)
    base::log_info(
        base::concat("validation after step ", report.step, ": ", number(bits, 4), " bits per base on ", file));
}

void show(const engine::PretrainReport& report, Progress& progress) {
  std::string note = number(report.bits_per_base, 3) + " bits per base";
  if (report.utilisation > 0) note += ", " + number(100 * report.utilisation, 1) + " % of the device's peak";
  progress.note(note);
  const std::int64_t to_do = std::max<std::int64_t>(report.steps - report.first_step, 1);
  progress.update(report.new_tokens, static_cast<double>(report.step - report.first_step) / static_cast<double>(to_do));
  log_step(report);
}

// What the report says of the run.
outputs::ReportRun run_of(const Arguments& arguments, const engine::PretrainOptions& job, const model::Model& model) {
  outputs::ReportRun run;
  run.title = "Training of " + std::filesystem::path(job.output).lexically_normal().filename().string();
  run.program = "dnamamba " DNAMAMBA_VERSION;
  run.command = typed("pretrain", arguments);
  run.inputs = job.data.inputs;
  const auto add = [&](const char* name, const std::string& value) { run.settings.emplace_back(name, value); };
  add("Network",
      base::concat(model::describe(model.config), ", ", model::count_parameters(model.config), " parameters"));
  add("Context", job.data.context == 0 ? "whole records" : base::concat(job.data.context, " bases"));
  add("Batch", base::concat(job.data.batch, " tokens"));
  add("Segment", base::concat(job.segment, " tokens", job.truncated ? ", no gradient crosses them" : ""));
  add("Device", job.compute.device.str());
  add("Activations", c10::toString(job.compute.activations));
  add("Seed", base::concat(job.data.seed));
  add("Output", job.output);
  add("Begun", now());
  return run;
}

}  // namespace

int run_pretrain(const Arguments& arguments) {
  auto command = parse_pretrain(arguments);
  if (!command) return 0;
  engine::PretrainOptions& job = command->job;
  engine::set_threads(command->threads);
  model::Model model = initial_model(*command);
  const engine::Compute compute =
      engine::compute_for(model.config, engine::choose_compute(command->device, command->precision));
  job.compute = compute;
  job.segment = compute.training_segment(command->segment);
  job.micro_batch = compute.training_segment(command->micro_batch);
  job.records.description = run_of(arguments, job, model);
  base::log_info(
      base::concat(model::describe(model.config), "; ", model::count_parameters(model.config), " parameters"));
  Progress progress("pretrain", "tokens");
  const engine::PretrainResult result =
      engine::pretrain(job, std::move(model), [&](const engine::PretrainReport& report) { show(report, progress); });
  progress.finish();
  if (result.device_bytes > 0)
    base::log_info(base::concat("device memory: ", static_cast<double>(result.device_bytes) / 1e9, " GB at most"));
  if (result.skipped > 0) base::log_warning(base::concat(result.skipped, " steps were skipped"));
  base::log_info(result.complete ? base::concat("the model is in ", job.output)
                                 : base::concat("stopped after step ", result.steps, " of ", job.schedule.steps,
                                                "; the same command goes on from ", job.checkpoint.folder));
  return 0;
}

}  // namespace dnamamba::apps
