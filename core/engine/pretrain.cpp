#include "core/engine/pretrain.h"

#include <chrono>
#include <cmath>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>

#include "core/base/error.h"
#include "core/base/log.h"
#include "core/base/stop.h"
#include "core/model/flops.h"
#include "core/ops/cuda_module.h"
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

const char* name_of(train::Schedule schedule) {
  switch (schedule) {
    case train::Schedule::kCosine:
      return "cosine";
    case train::Schedule::kWsd:
      return "wsd";
    case train::Schedule::kConstant:
      break;
  }
  return "constant";
}

// What two runs must share to be one run in two pieces.
json settings_of(const PretrainOptions& options, const model::Model& model) {
  const train::AdamWOptions& o = options.optimiser;
  const train::ScheduleOptions& s = options.schedule;
  json settings = {{"model", model::config_to_json(model.config)},
                   {"alphabet", json::parse(model.alphabet->to_json())},
                   {"micro_batch", options.micro_batch},
                   {"segment", options.segment},
                   {"truncated_backprop", options.truncated},
                   {"device", options.compute.device.is_cuda() ? "cuda" : "cpu"},
                   {"activations", c10::toString(options.compute.activations)},
                   {"schedule", name_of(s.kind)},
                   {"steps", s.steps},
                   {"rate", s.rate},
                   {"final_rate", s.final_rate},
                   {"warmup", s.warmup},
                   {"decay", s.decay},
                   {"weight_decay", o.weight_decay},
                   {"beta1", o.beta1},
                   {"beta2", o.beta2},
                   {"clip", o.clip}};
  settings.update(settings_of(options.data));
  return settings;
}

// One sequence of a batch.
train::NextTokenBatch alone(const train::NextTokenBatch& batch, std::int64_t sequence) {
  const std::int64_t from = batch.inputs.offsets[sequence], to = batch.inputs.offsets[sequence + 1];
  train::NextTokenBatch one;
  one.inputs.append(batch.inputs.sequence(sequence));
  one.targets.assign(batch.targets.begin() + from, batch.targets.begin() + to);
  one.weights.assign(batch.weights.begin() + from, batch.weights.begin() + to);
  return one;
}

outputs::TrainingValidation validation_of(std::int64_t step, const std::string& file, const train::LossSum& sum,
                                          const train::LossByContext& by_context) {
  outputs::TrainingValidation validation{step, file, train::bits_per_base(sum), {}};
  for (std::size_t i = 0; i < by_context.parts.size(); ++i)
    if (const train::LossSum& part = by_context.parts[i]; part.weight > 0)
      validation.by_context.push_back({std::int64_t{1} << i, std::llround(part.weight), train::bits_per_base(part)});
  return validation;
}

// A run that goes on, also one that was killed before its first checkpoint, goes on with its log and report.
void refuse_what_exists(const PretrainOptions& options) {
  const bool goes_on = !options.checkpoint.folder.empty() && fs::exists(options.checkpoint.folder);
  for (const std::string& file : {options.records.log, options.records.report})
    if (fs::is_regular_file(file) && !options.force && !goes_on)
      throw base::IoError(file + ": exists; --force replaces it");
  if (fs::exists(options.output) && !options.force)
    throw base::IoError(options.output + ": exists; --force replaces it");
}

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

class Run {
 public:
  Run(const PretrainOptions& options, model::Model model, const PretrainProgress& progress)
      : options_(options),
        model_(std::move(model)),
        settings_(settings_of(options, model_)),
        progress_(progress),
        guard_(options.guard),
        records_(options.records, options.schedule.steps, 3 * model::forward_flops(model_.config),
                 peak_flops(options.compute)),
        folder_(options.checkpoint.folder.empty() ? nullptr : std::make_unique<CheckpointFolder>(options.checkpoint)),
        moments_(resume_and_place()),
        data_(options.data, tokens::Tokenizer(*model_.alphabet, options.data.invalid), options.schedule.steps),
        optimiser_(model_.config, model_.parameters, options.optimiser),
        backbone_(model_.config, model_.parameters, model_.activations) {
    if (done_ > 0) optimiser_.set_moments(moments_);
    moments_.clear();
    records_.open_log(done_);
  }

  PretrainResult train() {
    report_.step = report_.first_step = done_;
    report_.steps = options_.schedule.steps;
    report_.tokens = records_.tokens();
    try {
      take_steps();
    } catch (const base::Interrupted&) {  // in a validation, which is due then
      save();
      throw;
    }
    save();
    records_.write_report();
    if (done_ < options_.schedule.steps) base::throw_if_stopped();
    return {done_ == options_.schedule.steps,
            done_,
            records_.tokens(),
            records_.skipped(),
            report_.seconds,
            report_.validation,
            options_.compute.device.is_cuda() ? ops::cuda_peak_bytes(/*reset=*/false) : 0};
  }

  /// The trained model, with what it took to train it.
  const model::Model& model() const { return model_; }
  json record() const {
    json record = records_.for_card();
    record["settings"] = settings_;
    return record;
  }
  void remove_checkpoints() const {
    if (folder_) folder_->remove();
  }

 private:
  // Takes weights and progress from the checkpoint, if there is one; the optimiser's moments are returned.
  files::TensorMap resume_and_place() {
    files::TensorMap moments = resume();
    place(model_, options_.compute);
    return moments;
  }
  files::TensorMap resume() {
    if (!folder_) return {};
    auto checkpoint = folder_->load(settings_);
    if (!checkpoint) return {};
    base::log_info(base::concat("going on from ", options_.checkpoint.folder, " at step ", checkpoint->step));
    for (auto& [name, stored] : checkpoint->parameters) model_.parameters[name] = model::to_tensor(stored);
    model::check_parameters(model_.config, model_.parameters, options_.checkpoint.folder);
    const json& progress = checkpoint->progress;
    done_ = checkpoint->step;
    validation_due_ = progress.at("validation_due").get<bool>();
    guard_.set_norms(progress.at("norms").get<std::vector<double>>());
    records_.restore(progress.at("records"));
    return std::move(checkpoint->moments);
  }

  void save() const {
    if (!folder_) return;
    files::TensorMap parameters;
    for (const auto& [name, tensor] : model_.parameters) parameters.emplace(name, model::to_stored(tensor));
    const json progress = {
        {"validation_due", validation_due_}, {"norms", guard_.norms()}, {"records", records_.to_json()}};
    folder_->save({done_, settings_, progress, parameters, optimiser_.moments()});
    if (base::stop_requested() != 0)
      base::log_warning(base::concat("step ", done_, " is saved in ", options_.checkpoint.folder,
                                     "; the same command goes on from it"));
  }

  void take_steps() {
    const auto start = std::chrono::steady_clock::now();
    const std::int64_t steps = options_.schedule.steps, save_every = options_.checkpoint.save_every;
    if (validation_due_) {
      validate();
      progress_(report_);
    }
    while (done_ < steps) {
      if (base::stop_requested() != 0 || (options_.time_limit > 0 && report_.seconds >= options_.time_limit)) break;
      step();
      report_.seconds = seconds_since(start);
      report_.utilisation = records_.utilisation(report_.new_tokens, report_.step_seconds);
      validation_due_ = done_ == steps || (options_.validate_every > 0 && done_ % options_.validate_every == 0);
      report_.validation.clear();
      if (validation_due_) validate();
      progress_(report_);
      if (save_every > 0 && done_ % save_every == 0 && done_ < steps) save();
    }
  }

  train::LossSum add_gradient(const train::NextTokenBatch& batch, double total_weight) {
    return train::streamed_gradient(backbone_, batch, {options_.segment, options_.truncated, options_.states_on_host},
                                    total_weight);
  }

  void step() {
    const auto start = std::chrono::steady_clock::now();
    // All weights are known before the first gradient.
    const std::vector<train::NextTokenBatch> batches = data_.draw(done_, options_.micro_batch);
    double total_weight = 0;
    for (const auto& batch : batches) total_weight += batch.total_weight();
    train::LossSum sum;
    std::int64_t tokens = 0;
    for (const auto& batch : batches) {
      const train::LossSum part = add_gradient(batch, total_weight);
      sum.loss += part.loss;
      sum.weight += part.weight;
      tokens += batch.inputs.token_count();
    }
    report_.rate = train::rate_at(options_.schedule, done_);
    report_.bits_per_base = sum.weight > 0 ? train::bits_per_base(sum) : 0.0;
    report_.gradient_norm = optimiser_.gradient_norm();
    report_.skipped = why_skipped(batches, sum);
    const bool skipped = !report_.skipped.empty();
    if (skipped) {
      optimiser_.skip();
      tokens = 0;
    } else {
      optimiser_.step(report_.rate, report_.gradient_norm);
    }
    report_.step = ++done_;
    report_.new_tokens += tokens;
    const double seconds = seconds_since(start);
    report_.step_seconds += seconds;
    records_.add({done_, tokens, report_.bits_per_base, report_.rate, report_.gradient_norm, seconds, skipped},
                 report_.skipped);
    report_.tokens = records_.tokens();
  }

  // Empty where the step is to be taken. @throws base::Error after a checkpoint where the run is to stop.
  std::string why_skipped(const std::vector<train::NextTokenBatch>& batches, const train::LossSum& sum) {
    if (sum.weight == 0) return "its sequences hold no base to predict";
    const train::GradientGuard::Verdict verdict = guard_.judge(sum.loss, report_.gradient_norm);
    if (verdict.action == train::OnTrouble::kIgnore) return "";
    std::string reason =
        base::concat(verdict.reason, ", most of all by ", data_.origin(done_, worst(batches, sum.weight)));
    if (verdict.action == train::OnTrouble::kSkip) return reason;
    optimiser_.skip();
    save();
    const bool spike = std::isfinite(report_.gradient_norm) && std::isfinite(sum.loss);
    throw base::Error(base::concat("step ", done_ + 1, ": ", reason,
                                   "; look at the input there, try a lower --rate, or ",
                                   spike ? "--on-spike" : "--on-nan", " skip leaves such steps out"));
  }

  // The place in the batch of the sequence whose own gradient is the largest or the first that is not finite.
  std::int64_t worst(const std::vector<train::NextTokenBatch>& batches, double total_weight) {
    std::int64_t place = 0, worst = 0;
    double largest = -1;
    for (const auto& batch : batches)
      for (std::int64_t s = 0; s < batch.inputs.sequences(); ++s, ++place) {
        optimiser_.skip();
        const double loss = add_gradient(alone(batch, s), total_weight).loss, norm = optimiser_.gradient_norm();
        if (!std::isfinite(loss) || !std::isfinite(norm)) return place;
        if (norm > largest) worst = place;
        largest = std::max(largest, norm);
      }
    return worst;
  }

  void validate() {
    std::vector<outputs::TrainingValidation> found;
    for (const train::ValidationSet& set : data_.validation()) {
      train::LossByContext by_context;
      const train::LossSum sum = train::validate(backbone_, set, *model_.alphabet,
                                                 {options_.validation_context, options_.segment}, &by_context);
      found.push_back(validation_of(done_, set.name, sum, by_context));
    }
    validation_due_ = false;
    for (outputs::TrainingValidation& validation : found) {
      report_.validation[validation.file] = validation.bits_per_base;
      records_.add(std::move(validation));
    }
    if (!found.empty()) records_.write_report();
  }

  const PretrainOptions& options_;
  model::Model model_;
  json settings_;
  const PretrainProgress& progress_;
  std::int64_t done_ = 0;  // steps
  bool validation_due_ = false;
  train::GradientGuard guard_;
  TrainingRecords records_;
  std::unique_ptr<CheckpointFolder> folder_;
  files::TensorMap moments_;
  train::TrainingData data_;
  train::AdamW optimiser_;
  model::Backbone backbone_;
  PretrainReport report_;
};

}  // namespace

PretrainResult pretrain(const PretrainOptions& options, model::Model model, const PretrainProgress& progress) {
  if (!model.alphabet) throw base::Error("the model has no alphabet");
  refuse_what_exists(options);
  Run run(options, std::move(model), progress);
  PretrainResult result = run.train();
  if (result.complete) {
    const std::string card = base::concat("# A model trained by dnamamba pretrain\n\nHow it was trained:\n\n```json\n",
                                          run.record().dump(1), "\n```\n");
    model::save_model(run.model(), options.output, card, options.force);
    run.remove_checkpoints();
  }
  return result;
}

}  // namespace dnamamba::engine
