#include "core/train/adamw.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/scalar_tensor.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/zeros.h>
#include <torch/optim/adamw.h>

#include <cmath>
#include <numbers>
#include <numeric>

#include "core/base/error.h"
#include "core/model/model_folder.h"

namespace dnamamba::train {
namespace {

// Updates made so far; fewer than the run's steps where a step's batches weighed nothing.
constexpr const char* kUpdates = "updates";

}  // namespace

double rate_at(const AdamWOptions& options, std::int64_t step) {
  const auto steps = static_cast<double>(options.steps);
  const double warmup = std::max(1.0, std::floor(options.warmup * steps));
  const auto done = static_cast<double>(step);
  if (done < warmup) return options.rate * (done + 1) / warmup;
  const double part = std::min(1.0, (done - warmup) / std::max(1.0, steps - warmup));
  const double cosine = 0.5 * (1 + std::cos(std::numbers::pi * part));
  return options.rate * (options.final_rate + (1 - options.final_rate) * cosine);
}

struct AdamW::Impl {
  AdamWOptions options;
  model::Parameters parameters;
  std::unique_ptr<torch::optim::AdamW> optimiser;

  [[nodiscard]] double gradient_norm() const {
    std::vector<at::Tensor> squares;  // waited for together
    for (const auto& [name, parameter] : parameters)
      if (parameter.grad().defined()) squares.push_back(parameter.grad().to(at::kDouble).square().sum());
    const at::Tensor on_host = squares.empty() ? at::zeros({0}, at::kDouble) : at::stack(squares).cpu();
    const double* const values = on_host.const_data_ptr<double>();
    return std::sqrt(std::accumulate(values, values + on_host.numel(), 0.0));
  }
};

AdamW::AdamW(const model::ModelConfig& config, model::Parameters& parameters, const AdamWOptions& options)
    : impl_(std::make_unique<Impl>()) {
  impl_->options = options;
  std::vector<at::Tensor> decaying, others;
  for (const model::ParameterSpec& spec : model::parameter_specs(config)) {
    at::Tensor& parameter = parameters.at(spec.name);
    parameter.requires_grad_(true);
    (spec.decays ? decaying : others).push_back(parameter);
  }
  impl_->parameters = parameters;
  const auto group_options = [&](double decay) {
    return torch::optim::AdamWOptions(options.rate)
        .betas({options.beta1, options.beta2})
        .eps(options.epsilon)
        .weight_decay(decay);
  };
  std::vector<torch::optim::OptimizerParamGroup> groups;
  groups.emplace_back(decaying, std::make_unique<torch::optim::AdamWOptions>(group_options(options.weight_decay)));
  groups.emplace_back(others, std::make_unique<torch::optim::AdamWOptions>(group_options(0)));
  impl_->optimiser = std::make_unique<torch::optim::AdamW>(std::move(groups), group_options(options.weight_decay));
}

AdamW::~AdamW() = default;

double AdamW::step(std::int64_t step) {
  const double norm = impl_->gradient_norm();
  if (!std::isfinite(norm)) throw base::Error(base::concat("the gradient is not finite in step ", step));
  if (impl_->options.clip > 0 && norm > impl_->options.clip) {
    const at::NoGradGuard no_graph;
    for (auto& [name, parameter] : impl_->parameters)
      if (parameter.grad().defined()) parameter.mutable_grad().mul_(impl_->options.clip / norm);
  }
  for (auto& group : impl_->optimiser->param_groups())
    static_cast<torch::optim::AdamWOptions&>(group.options()).lr(rate_at(impl_->options, step));
  impl_->optimiser->step();
  impl_->optimiser->zero_grad();
  return norm;
}

files::TensorMap AdamW::moments() const {
  files::TensorMap stored;
  for (const auto& [name, parameter] : impl_->parameters) {
    const auto found = impl_->optimiser->state().find(parameter.unsafeGetTensorImpl());
    if (found == impl_->optimiser->state().end()) continue;
    const auto& state = static_cast<const torch::optim::AdamWParamState&>(*found->second);
    stored.emplace(name + ".exp_avg", model::to_stored(state.exp_avg()));
    stored.emplace(name + ".exp_avg_sq", model::to_stored(state.exp_avg_sq()));
    stored.emplace(kUpdates, model::to_stored(at::scalar_tensor(state.step(), at::kLong)));
  }
  return stored;
}

void AdamW::set_moments(const files::TensorMap& moments) {
  if (moments.empty()) return;
  const auto updates = moments.find(kUpdates);
  if (updates == moments.end())
    throw base::Error("the checkpoint's optimiser state does not say how many updates it saw");
  const auto updates_made = model::to_tensor(updates->second).item<std::int64_t>();
  for (const auto& [name, parameter] : impl_->parameters) {
    const auto first = moments.find(name + ".exp_avg"), second = moments.find(name + ".exp_avg_sq");
    if (first == moments.end() || second == moments.end())
      throw base::Error("the checkpoint holds no optimiser state of " + name);
    auto state = std::make_unique<torch::optim::AdamWParamState>();
    state->step(updates_made);
    state->exp_avg(model::to_tensor(first->second).to(parameter.device()));
    state->exp_avg_sq(model::to_tensor(second->second).to(parameter.device()));
    if (state->exp_avg().sizes() != parameter.sizes() || state->exp_avg_sq().sizes() != parameter.sizes())
      throw base::Error("the checkpoint's optimiser state of " + name + " has another shape than the parameter");
    impl_->optimiser->state()[parameter.unsafeGetTensorImpl()] = std::move(state);
  }
}

}  // namespace dnamamba::train
