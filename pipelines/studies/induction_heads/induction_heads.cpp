// Trains a Mamba on induction heads at one length and asks it at lengths far beyond: see README.md.
#include <ATen/core/grad_mode.h>
#include <ATen/ops/argmax.h>
#include <ATen/ops/from_blob.h>

#include <algorithm>
#include <bit>
#include <boost/program_options.hpp>
#include <chrono>
#include <cmath>
#include <iostream>
#include <optional>
#include <string>
#include <vector>

#include "apps/exit_status.h"
#include "core/base/error.h"
#include "core/base/log.h"
#include "core/base/stop.h"
#include "core/engine/run_settings.h"
#include "core/heads/language_head.h"
#include "core/outputs/text_output.h"
#include "core/train/adamw.h"
#include "core/train/schedule.h"
#include "core/train/streamed_gradient.h"
#include "pipelines/studies/induction_heads/sequence.h"

namespace dnamamba::studies {
namespace {

using base::concat;

struct Options {
  std::string device = "auto";
  std::int64_t threads = 0;  // 0: all
  std::int64_t seed = 1;
  std::int64_t length = 256, steps = 8'000, batch = 64;
  double rate = 4e-3;
  std::int64_t min_length = 64, max_length = 1'048'576, samples = 64;
  double require = 0;
  std::string output = "-";
  bool force = false;
};

/// Streams of a seed: 0 is trained on, the others are asked, one for each length.
constexpr std::uint32_t kTraining = 0;

/// Answers are right long before the steps of the scan at other tokens are small enough for 2^20 of them. What drives
/// them on is the small rest of the loss: no decay holds against it, and epsilon is far below its gradient.
constexpr train::AdamWOptions kOptimiser{.weight_decay = 0, .epsilon = 1e-20};

constexpr std::int64_t kMostSequences = std::int64_t{1} << 32;  // a number of InductionSequence has 32 bits
constexpr std::int64_t kLongest = std::int64_t{1} << 40;

void require(bool condition, const std::string& message) {
  if (!condition) throw base::UsageError(message);
}

void check(const Options& options) {
  const std::string& device = options.device;
  const bool one_of_several = device.starts_with("cuda:") && device.size() == 6 && device[5] >= '0' && device[5] <= '9';
  require(device == "auto" || device == "cpu" || device == "cuda" || one_of_several,
          "--device: '" + device + "' is not auto, cpu, cuda or cuda:N");
  require(options.threads >= 0 && options.threads <= 1024, "--threads must be between 0 and 1024");
  require(options.seed >= 0, "--seed must not be negative");
  require(options.length >= 3, "--length must be at least 3 tokens");
  require(options.steps >= 0, "--steps must not be negative");
  require(options.batch >= 1, "--batch must be at least 1 sequence");
  require(options.steps <= kMostSequences / options.batch, "--steps times --batch must be at most 2^32 sequences");
  require(options.rate > 0 && options.rate < 1, "--rate must be between 0 and 1");
  require(options.min_length >= 3, "--min-length must be at least 3 tokens");
  require(options.max_length >= options.min_length && options.max_length <= kLongest,
          "--max-length must be between --min-length and 2^40");
  require(options.require >= 0 && options.require <= 1, "--require must be between 0 and 1");
  require(options.samples >= 1 && options.samples <= 65'536, "--samples must be between 1 and 65,536");
}

/// Nothing if help was asked for.
std::optional<Options> parse(int count, char** words) {
  namespace po = boost::program_options;
  Options options;
  po::options_description description(
      "Usage: induction_heads [options]\n\n"
      "Trains a Mamba of 2 layers of 64 to repeat what followed a special token, on sequences of one length,\n"
      "and asks it at every power of two from --min-length to --max-length. The table has the part of right\n"
      "answers; chance is 1 in 15.\n\nOptions");
  const auto value = [](auto* target, const char* name) {
    return po::value(target)->default_value(*target, concat(*target))->value_name(name);
  };
  description.add_options()("device", value(&options.device, "DEVICE"), "auto, cpu, cuda or cuda:N; float32 on each")(
      "threads,t", value(&options.threads, "INT"), "of the processor; 0: all")(
      "seed", value(&options.seed, "INT"), "what parameters and sequences start from")(
      "length", value(&options.length, "INT"), "tokens of a training sequence")(
      "steps", value(&options.steps, "INT"), "of training")("batch", value(&options.batch, "INT"),
                                                            "sequences of a step, all new")(
      "rate", value(&options.rate, "X"), "the highest learning rate")("min-length", value(&options.min_length, "INT"),
                                                                      "tokens of the shortest sequences asked")(
      "max-length", value(&options.max_length, "INT"), "tokens of the longest")(
      "samples", value(&options.samples, "INT"), "sequences asked of each length")(
      "require", value(&options.require, "X"), "exit with 1 if an accuracy is below")(
      "output,o", value(&options.output, "FILE"), "the table; -: standard output")(
      "force", po::bool_switch(&options.force), "replace the table if it is there")("help,h", "this text");
  try {
    po::variables_map given;
    po::store(po::command_line_parser(count, words).options(description).positional({}).run(), given);
    if (given.count("help") != 0) {
      std::cout << description << "\nExample, a quarter of a minute on two processors:\n"
                << "  induction_heads --length 32 --batch 16 --rate 0.006 --steps 800 --max-length 256\n";
      return std::nullopt;
    }
    po::notify(given);
  } catch (const po::error& error) {
    throw base::UsageError(error.what());
  }
  check(options);
  return options;
}

class Study {
 public:
  Study(const Options& options, const engine::Compute& compute)
      : options_(options),
        compute_(compute),
        config_(model::mamba1_config(64, 2)),
        parameters_(placed(model::initialise_parameters(config_, options.seed), compute.device)),
        optimiser_(config_, parameters_, kOptimiser),
        backbone_(config_, parameters_) {}

  void train() {
    const train::ScheduleOptions schedule{
        .kind = train::Schedule::kWsd, .rate = options_.rate, .steps = options_.steps};
    const auto start = std::chrono::steady_clock::now();
    auto shown = start;
    double loss = 0, weight = 0;
    for (std::int64_t step = 0; step < options_.steps; ++step) {
      base::throw_if_stopped();
      const train::NextTokenBatch batch = draw(step);
      const auto sum = train::streamed_gradient(backbone_, batch, {.segment = options_.length}, batch.total_weight());
      optimiser_.step(train::rate_at(schedule, step), optimiser_.gradient_norm());
      loss += sum.loss;
      weight += sum.weight;
      const auto now = std::chrono::steady_clock::now();
      if (now - shown < std::chrono::seconds(2) && step + 1 < options_.steps) continue;
      const double seconds = std::chrono::duration<double>(now - start).count();
      base::log_info(concat("step ", step + 1, " of ", options_.steps, ", ", std::lround(seconds), " s: loss ",
                            loss / weight, " nats"));
      loss = weight = 0;
      shown = now;
    }
  }

  /// The part of right answers.
  double accuracy(std::int64_t length) const {
    const at::NoGradGuard no_graph;
    std::vector<InductionSequence> sequences;
    for (std::int64_t s = 0; s < options_.samples; ++s)
      sequences.emplace_back(static_cast<std::uint64_t>(options_.seed),
                             std::bit_width(static_cast<std::uint64_t>(length)), s, length);
    const std::int64_t segment = std::max<std::int64_t>(compute_.inference_segment(0) / options_.samples, 16);
    model::State state;
    at::Tensor last;
    for (std::int64_t read = 0; read < length; read += segment) {
      base::throw_if_stopped();
      tokens::RaggedBatch batch;
      for (InductionSequence& sequence : sequences) {
        sequence.read(segment, batch.tokens);
        batch.end_sequence();
      }
      auto out = backbone_.advance({.tokens = at::from_blob(batch.tokens.data(), {batch.token_count()}, at::kByte),
                                    .offsets = at::from_blob(batch.offsets.data(), {options_.samples + 1}, at::kLong),
                                    .state = &state,
                                    .want_state = true});
      state = std::move(out.state);
      last = out.hidden.view({options_.samples, -1, config_.d_model}).select(1, -1);
    }
    const at::Tensor said = heads::next_token_logits(backbone_, last).argmax(1).cpu();
    std::int64_t right = 0;
    for (std::int64_t s = 0; s < options_.samples; ++s)
      right += said.const_data_ptr<std::int64_t>()[s] == sequences[s].answer() ? 1 : 0;
    return static_cast<double>(right) / static_cast<double>(options_.samples);
  }

 private:
  static model::Parameters placed(model::Parameters parameters, at::Device device) {
    for (auto& [name, parameter] : parameters) parameter = parameter.to(device);
    return parameters;
  }

  train::NextTokenBatch draw(std::int64_t step) const {
    train::NextTokenBatch batch;
    for (std::int64_t place = 0; place < options_.batch; ++place) {
      const std::int64_t number = step * options_.batch + place;
      InductionSequence sequence(options_.seed, kTraining, static_cast<std::uint32_t>(number), options_.length);
      sequence.read(options_.length, batch.inputs.tokens);
      batch.inputs.end_sequence();
      batch.targets.resize(batch.inputs.tokens.size());
      batch.weights.resize(batch.inputs.tokens.size());
      batch.targets.back() = sequence.answer();
      batch.weights.back() = 1;
    }
    return batch;
  }

  const Options& options_;
  engine::Compute compute_;
  model::ModelConfig config_;
  model::Parameters parameters_;
  train::AdamW optimiser_;
  model::Backbone backbone_;
};

/// False if an accuracy is below what is required.
bool run(const Options& options) {
  engine::set_threads(options.threads);
  Study study(options, engine::choose_compute(options.device, "fp32"));
  outputs::TextOutput table(options.output, options.force, outputs::Compression::kNone);
  study.train();
  table.append("length\taccuracy\tsamples\ttrained_at\n");
  double worst = 1;
  for (std::int64_t length = options.min_length; length <= options.max_length; length *= 2) {
    const double accuracy = study.accuracy(length);
    worst = std::min(worst, accuracy);
    table.append(concat(length, "\t", accuracy, "\t", options.samples, "\t", options.length, "\n"));
    base::log_info(concat("length ", length, ": accuracy ", accuracy));
  }
  table.commit();
  return worst >= options.require;
}

}  // namespace
}  // namespace dnamamba::studies

int main(int count, char** words) {
  using namespace dnamamba;
  base::install_stop_signals();
  try {
    const auto options = studies::parse(count, words);
    return !options || studies::run(*options) ? apps::kDone : apps::kFailed;
  } catch (const base::UsageError& error) {
    std::cerr << "induction_heads: " << error.what() << " (try --help)\n";
    return apps::kWrongUsage;
  } catch (const std::exception& error) {
    std::cerr << "induction_heads: " << error.what() << "\n";
    return apps::kFailed;
  }
}
