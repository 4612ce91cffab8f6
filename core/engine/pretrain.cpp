#include "core/engine/pretrain.h"

#include <chrono>
#include <cmath>
#include <filesystem>

#include "core/base/error.h"
#include "core/base/log.h"
#include "core/base/stop.h"
#include "core/engine/checkpoint.h"
#include "core/train/streamed_gradient.h"
#include "core/train/validation.h"

namespace dnamamba::engine {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

json settings_of(const train::DataOptions& data) {
  json hold_out = json::array();
  for (const io::Region& region : data.hold_out.regions) hold_out.push_back(region.given);
  return {{"inputs", data.inputs},
          {"weights", data.weights},
          {"sample_by", train::name_of(data.sample_by)},
          {"context", data.context},
          {"context_start", data.context_start},
          {"context_warmup", data.context_warmup},
          {"batch", data.batch},
          {"reverse_complement", data.reverse_complement},
          {"soft_mask_weight", data.soft_mask_weight},
          {"hold_out", hold_out},
          {"hold_out_fraction", data.hold_out.fraction},
          {"hold_out_block", data.hold_out.block},
          {"seed", data.seed}};
}

// What two runs must share to be one run in two pieces.
json settings_of(const PretrainOptions& options, const model::Model& model) {
  const train::AdamWOptions& o = options.optimiser;
  json settings = {{"model", model::config_to_json(model.config)},
                   {"micro_batch", options.micro_batch},
                   {"segment", options.segment},
                   {"device", options.compute.device.is_cuda() ? "cuda" : "cpu"},
                   {"activations", c10::toString(options.compute.activations)},
                   {"steps", o.steps},
                   {"rate", o.rate},
                   {"final_rate", o.final_rate},
                   {"warmup", o.warmup},
                   {"weight_decay", o.weight_decay},
                   {"beta1", o.beta1},
                   {"beta2", o.beta2},
                   {"clip", o.clip}};
  settings.update(settings_of(options.data));
  return settings;
}

class Run {
 public:
  Run(const PretrainOptions& options, model::Model model, const PretrainProgress& progress)
      : options_(options),
        model_(std::move(model)),
        settings_(settings_of(options, model_)),
        progress_(progress),
        moments_(resume_and_place()),
        data_(options.data, tokens::Tokenizer(*model_.alphabet, options.data.invalid), options.optimiser.steps),
        optimiser_(model_.config, model_.parameters, options.optimiser),
        backbone_(model_.config, model_.parameters, model_.activations) {
    if (done_ > 0) optimiser_.set_moments(moments_);
    moments_.clear();
  }

  PretrainResult train() {
    const auto start = std::chrono::steady_clock::now();
    const std::int64_t steps = options_.optimiser.steps;
    PretrainReport report;
    report.step = done_;
    report.steps = steps;
    report.tokens = tokens_;
    while (done_ < steps) {
      if (base::stop_requested() != 0 || (options_.time_limit > 0 && report.seconds >= options_.time_limit)) break;
      step(report);
      report.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
      report.validation.clear();
      if (done_ == steps || (options_.validate_every > 0 && done_ % options_.validate_every == 0)) validate(report);
      progress_(report);
      if (options_.save_every > 0 && done_ % options_.save_every == 0 && done_ < steps) save();
    }
    if (done_ < steps) save();
    base::throw_if_stopped();
    return {done_ == steps, done_, tokens_, report.seconds, report.validation};
  }

  /// The trained model, with what it took to train it.
  const model::Model& model() const { return model_; }
  json record() const { return {{"settings", settings_}, {"tokens", tokens_}, {"history", history_}}; }

 private:
  // Takes weights and history from the checkpoint, if there is one; the optimiser's moments are returned.
  files::TensorMap resume_and_place() {
    files::TensorMap moments = resume();
    place(model_, options_.compute);
    return moments;
  }
  files::TensorMap resume() {
    if (options_.checkpoint.empty() || !fs::exists(options_.checkpoint)) return {};
    Checkpoint checkpoint = load_checkpoint(options_.checkpoint, settings_);
    base::log_info(base::concat("going on from ", options_.checkpoint, " at step ", checkpoint.step));
    model_.parameters = std::move(checkpoint.model.parameters);
    done_ = checkpoint.step;
    history_ = checkpoint.history.at("curve");
    tokens_ = checkpoint.history.at("tokens").get<std::int64_t>();
    return std::move(checkpoint.moments);
  }

  void save() {
    if (options_.checkpoint.empty()) return;
    save_checkpoint({done_, settings_, {{"curve", history_}, {"tokens", tokens_}}, optimiser_.moments(), model_},
                    options_.checkpoint);
    if (base::stop_requested() != 0)
      base::log_warning(
          base::concat("step ", done_, " is saved in ", options_.checkpoint, "; the same command goes on from it"));
  }

  void step(PretrainReport& report) {
    // All weights are known before the first gradient.
    const std::vector<train::NextTokenBatch> batches = data_.draw(done_, options_.micro_batch);
    double total_weight = 0;
    for (const auto& batch : batches) total_weight += batch.total_weight();
    train::LossSum sum;
    try {
      for (const auto& batch : batches) {
        const train::LossSum part = train::streamed_gradient(backbone_, batch, options_.segment, total_weight);
        sum.loss += part.loss;
        sum.weight += part.weight;
        tokens_ += batch.inputs.token_count();
      }
      report.gradient_norm = sum.weight > 0 ? optimiser_.step(done_) : 0.0;
    } catch (const base::Error& error) {
      throw base::Error(
          base::concat("step ", done_ + 1, ": ", error.what(), "; try a lower --rate, or look at the input around it"));
    }
    report.rate = train::rate_at(options_.optimiser, done_);
    report.step = ++done_;
    report.tokens = tokens_;
    report.bits_per_base = sum.weight > 0 ? train::bits_per_base(sum) : 0.0;
    if (done_ % 10 == 0 || done_ == options_.optimiser.steps)
      history_.push_back({{"step", done_}, {"bits_per_base", report.bits_per_base}, {"tokens", tokens_}});
  }

  void validate(PretrainReport& report) {
    for (const train::ValidationSet& set : data_.validation())
      report.validation[set.name] = train::bits_per_base(
          train::validate(backbone_, set, *model_.alphabet, {options_.validation_context, options_.segment}));
    if (!report.validation.empty())
      history_.push_back({{"step", done_}, {"validation", report.validation}, {"tokens", tokens_}});
  }

  const PretrainOptions& options_;
  model::Model model_;
  json settings_;
  const PretrainProgress& progress_;
  std::int64_t done_ = 0;    // steps
  std::int64_t tokens_ = 0;  // trained on
  json history_ = json::array();
  files::TensorMap moments_;
  train::TrainingData data_;
  train::AdamW optimiser_;
  model::Backbone backbone_;
};

}  // namespace

PretrainResult pretrain(const PretrainOptions& options, model::Model model, const PretrainProgress& progress) {
  if (!model.alphabet) throw base::Error("the model has no alphabet");
  if (fs::exists(options.output) && !options.force)
    throw base::IoError(options.output + ": exists; --force replaces it");
  Run run(options, std::move(model), progress);
  const PretrainResult result = run.train();
  if (result.complete) {
    const std::string card = base::concat("# A model trained by dnamamba pretrain\n\nHow it was trained:\n\n```json\n",
                                          run.record().dump(1), "\n```\n");
    model::save_model(run.model(), options.output, card, options.force);
    if (!options.checkpoint.empty()) fs::remove_all(options.checkpoint);
  }
  return result;
}

}  // namespace dnamamba::engine
