#include "core/train/adamw.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/_foreach_mul.h>
#include <ATen/ops/_foreach_norm.h>
#include <ATen/ops/_fused_adamw.h>
#include <ATen/ops/full.h>
#include <ATen/ops/scalar_tensor.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/zeros_like.h>

#include <cmath>

#include "core/base/error.h"
#include "core/model/model_folder.h"

namespace dnamamba::train {
namespace {

// Updates made so far; fewer than the run's steps where a step's batches weighed nothing or it was skipped.
constexpr const char* kUpdates = "updates";

// LibTorch adds up pieces of this size in one thread, so that the number of threads does not show in the sum.
constexpr std::int64_t kPiece = 32'768;  // elements

struct Moving {
  std::string name;
  at::Tensor parameter;
  at::Tensor first, second;  // moments
};

// Parameters with the same weight decay, as the lists that the fused update takes.
struct Group {
  double weight_decay = 0;
  std::vector<Moving> members;
};

}  // namespace

struct AdamW::Impl {
  AdamWOptions options;
  std::vector<Group> groups;
  std::int64_t updates = 0;

  template <typename Visit>
  void for_each(Visit&& visit) {
    for (Group& group : groups)
      for (Moving& moving : group.members) visit(moving);
  }
  [[nodiscard]] std::vector<at::Tensor> gradients() {
    std::vector<at::Tensor> gradients;
    for_each([&](const Moving& moving) {
      if (moving.parameter.grad().defined()) gradients.push_back(moving.parameter.grad());
    });
    return gradients;
  }
  void update(const Group& group, double rate) const;
};

// Parameters that got no gradient stay out of the lists and as they are.
void AdamW::Impl::update(const Group& group, double rate) const {
  std::vector<at::Tensor> parameters, gradients, first, second;
  for (const Moving& moving : group.members) {
    if (!moving.parameter.grad().defined()) continue;
    parameters.push_back(moving.parameter);
    gradients.push_back(moving.parameter.grad().contiguous());  // the update goes by memory, not by strides
    first.push_back(moving.first);
    second.push_back(moving.second);
  }
  if (parameters.empty()) return;
  const at::Tensor count = at::full({}, static_cast<double>(updates), parameters[0].options().dtype(at::kFloat));
  const std::vector<at::Tensor> counts(parameters.size(), count);
  at::_fused_adamw_(parameters, gradients, first, second, /*max_exp_avg_sqs=*/{}, counts, rate, options.beta1,
                    options.beta2, group.weight_decay, options.epsilon, /*amsgrad=*/false, /*maximize=*/false);
}

AdamW::AdamW(const model::ModelConfig& config, model::Parameters& parameters, const AdamWOptions& options)
    : impl_(std::make_unique<Impl>()) {
  impl_->options = options;
  impl_->groups = {{.weight_decay = options.weight_decay, .members = {}}, {.weight_decay = 0, .members = {}}};
  for (const model::ParameterSpec& spec : model::parameter_specs(config)) {
    const at::Tensor& parameter = parameters.at(spec.name).requires_grad_(true);
    impl_->groups[spec.decays ? 0 : 1].members.push_back(
        {spec.name, parameter, at::zeros_like(parameter), at::zeros_like(parameter)});
  }
}

AdamW::~AdamW() = default;

double AdamW::gradient_norm() const {
  std::vector<at::Tensor> pieces;
  for (const at::Tensor& gradient : impl_->gradients())
    for (at::Tensor& piece : gradient.flatten().split(kPiece)) pieces.push_back(std::move(piece));
  if (pieces.empty()) return 0;
  const at::Tensor on_host = at::stack(at::_foreach_norm(pieces, 2, at::kDouble)).cpu();
  double squares = 0;
  for (std::int64_t i = 0; i < on_host.numel(); ++i) {
    const double norm = on_host.const_data_ptr<double>()[i];
    squares += norm * norm;
  }
  return std::sqrt(squares);
}

void AdamW::step(double rate, double norm) {
  if (!std::isfinite(norm)) throw base::Error("the gradient is not finite");
  const at::NoGradGuard no_graph;
  if (impl_->options.clip > 0 && norm > impl_->options.clip) {
    std::vector<at::Tensor> gradients = impl_->gradients();
    at::_foreach_mul_(gradients, impl_->options.clip / norm);
  }
  ++impl_->updates;
  for (const Group& group : impl_->groups) impl_->update(group, rate);
  skip();
}

void AdamW::skip() {
  impl_->for_each([](Moving& moving) { moving.parameter.mutable_grad().reset(); });
}

files::TensorMap AdamW::moments() const {
  files::TensorMap stored;
  if (impl_->updates == 0) return stored;
  impl_->for_each([&](const Moving& moving) {
    stored.emplace(moving.name + ".exp_avg", model::to_stored(moving.first));
    stored.emplace(moving.name + ".exp_avg_sq", model::to_stored(moving.second));
  });
  stored.emplace(kUpdates, model::to_stored(at::scalar_tensor(impl_->updates, at::kLong)));
  return stored;
}

void AdamW::set_moments(const files::TensorMap& moments) {
  if (moments.empty()) return;
  const auto updates = moments.find(kUpdates);
  if (updates == moments.end())
    throw base::Error("the checkpoint's optimiser state does not say how many updates it saw");
  const auto restored = [&](const std::string& name, const char* moment, const at::Tensor& parameter) {
    const auto found = moments.find(name + moment);
    if (found == moments.end()) throw base::Error("the checkpoint holds no optimiser state of " + name);
    const at::Tensor tensor = model::to_tensor(found->second);
    if (tensor.sizes() != parameter.sizes() || tensor.scalar_type() != parameter.scalar_type())
      throw base::Error("the checkpoint's optimiser state of " + name +
                        " has another shape or type than the parameter");
    return tensor.to(parameter.device());
  };
  impl_->for_each([&](Moving& moving) {
    moving.first = restored(moving.name, ".exp_avg", moving.parameter);
    moving.second = restored(moving.name, ".exp_avg_sq", moving.parameter);
  });
  impl_->updates = model::to_tensor(updates->second).item<std::int64_t>();
}

}  // namespace dnamamba::train
