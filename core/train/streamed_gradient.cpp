#include "core/train/streamed_gradient.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/full.h>
#include <ATen/ops/stack.h>
#include <torch/csrc/autograd/autograd.h>

#include <algorithm>
#include <numeric>

#include "core/base/error.h"
#include "core/heads/language_head.h"
#include "core/ops/tensors.h"

namespace dnamamba::train {
namespace {

using model::State;

// A tensor over memory that a vector owns: both live as long as the batch they come from.
template <typename T>
at::Tensor view(const std::vector<T>& values, at::ScalarType type) {
  return at::from_blob(const_cast<T*>(values.data()), {static_cast<std::int64_t>(values.size())}, type);
}

struct SegmentResult {
  at::Tensor losses;  // [T] of the tokens, in the type of the parameters
  at::Tensor loss;    // float64 scalar, their sum
  State state;
};

SegmentResult run_segment(const model::Backbone& backbone, const NextTokenBatch& part, const State& before,
                          bool want_state) {
  auto out = backbone.advance({.tokens = view(part.inputs.tokens, at::kByte),
                               .offsets = view(part.inputs.offsets, at::kLong),
                               .state = &before,
                               .want_state = want_state});
  const at::Device device = out.hidden.device();
  const at::Tensor losses =
      heads::next_token_loss(backbone, out.hidden, ops::to_device(view(part.targets, at::kByte), device),
                             ops::to_device(view(part.weights, at::kFloat), device));
  return {losses, losses.sum(at::kDouble), std::move(out.state)};
}

std::int64_t segments_of(const NextTokenBatch& batch, std::int64_t segment) {
  if (segment < 1) throw base::Error("a segment must hold at least 1 token");
  return (batch.longest() + segment - 1) / segment;
}

// Copies between host and device are queued behind the work that makes and before the work that reads them: nobody
// waits, and the memory is page-locked for it.
at::Tensor parked(const at::Tensor& tensor) {
  if (tensor.device().is_cpu()) return tensor;
  return at::empty(tensor.sizes(), tensor.options().device(at::kCPU).pinned_memory(true)).copy_(tensor, true);
}

State parked(State state) {
  for (at::Tensor* tensor : model::tensors_of(state)) *tensor = parked(*tensor);
  return state;
}

State on_device(State state, at::Device device) {
  for (at::Tensor* tensor : model::tensors_of(state)) *tensor = tensor->to(device, /*non_blocking=*/true);
  return state;
}

// The left fold: the state before each segment. The last segment's end is nobody's beginning and is not run.
std::vector<State> boundary_states(const model::Backbone& backbone, const NextTokenBatch& batch,
                                   const Streaming& streaming) {
  const at::NoGradGuard no_graph;
  const std::int64_t segment = streaming.segment;
  std::vector<State> states(1);
  State state;
  for (std::int64_t i = 1; i < segments_of(batch, segment); ++i) {
    state = run_segment(backbone, batch.segment((i - 1) * segment, segment), state, true).state;
    states.push_back(streaming.states_on_host ? parked(state) : state);
  }
  return states;
}

// The state as leaves of a new graph, so that its gradient can be read off them.
State as_leaves(State state) {
  for (at::Tensor* tensor : model::tensors_of(state)) *tensor = tensor->detach().requires_grad_(true);
  return state;
}

std::vector<at::Tensor> gradients_of(State& leaves) {
  std::vector<at::Tensor> gradients;
  for (const at::Tensor* tensor : model::tensors_of(leaves)) gradients.push_back(tensor->grad());
  return gradients;
}

// Waits for the device, once for all segments.
double total_of(const std::vector<at::Tensor>& losses) {
  const at::Tensor on_host = at::stack(losses).cpu();
  const double* const values = on_host.const_data_ptr<double>();
  return std::accumulate(values, values + on_host.numel(), 0.0);
}

// Back-propagates a segment's loss / total_weight, and the gradient that arrives for its final state.
void back_propagate(SegmentResult& result, double total_weight, const std::vector<at::Tensor>& arriving) {
  torch::autograd::variable_list roots{result.loss};
  torch::autograd::variable_list gradients{at::full({}, 1.0 / total_weight, result.loss.options())};
  std::size_t next = 0;
  for (const at::Tensor* tensor : model::tensors_of(result.state)) {
    if (arriving.empty()) break;
    const at::Tensor& gradient = arriving.at(next++);
    if (!gradient.defined()) continue;
    roots.push_back(*tensor);
    gradients.push_back(gradient);
  }
  torch::autograd::backward(roots, gradients);
}

double exact(const model::Backbone& backbone, const NextTokenBatch& batch, const Streaming& streaming,
             double total_weight) {
  std::vector<State> states = boundary_states(backbone, batch, streaming);
  std::vector<at::Tensor> losses;    // of the segments, from the last
  std::vector<at::Tensor> arriving;  // gradients of the final state, from the right
  for (auto i = static_cast<std::int64_t>(states.size()) - 1; i >= 0; --i) {
    State before = as_leaves(on_device(std::move(states[i]), backbone.options().device()));
    states.pop_back();
    const NextTokenBatch part = batch.segment(i * streaming.segment, streaming.segment);
    SegmentResult result = run_segment(backbone, part, before, /*want_state=*/!arriving.empty());
    losses.push_back(result.loss.detach());
    back_propagate(result, total_weight, arriving);
    arriving = gradients_of(before);
  }
  return total_of(losses);
}

double truncated(const model::Backbone& backbone, const NextTokenBatch& batch, std::int64_t segment,
                 double total_weight) {
  std::vector<at::Tensor> losses;
  State state;
  const std::int64_t segments = segments_of(batch, segment);
  for (std::int64_t i = 0; i < segments; ++i) {
    const NextTokenBatch part = batch.segment(i * segment, segment);  // the graph refers to it
    SegmentResult result = run_segment(backbone, part, state, /*want_state=*/i + 1 < segments);
    losses.push_back(result.loss.detach());
    back_propagate(result, total_weight, {});
    state = std::move(result.state);
    for (at::Tensor* tensor : model::tensors_of(state)) *tensor = tensor->detach();
  }
  return total_of(losses);
}

}  // namespace

LossSum streamed_gradient(const model::Backbone& backbone, const NextTokenBatch& batch, const Streaming& streaming,
                          double total_weight) {
  LossSum sum{.loss = 0, .weight = batch.total_weight()};
  if (sum.weight == 0) return sum;
  if (!(total_weight > 0)) throw base::Error("the weight of an optimiser step must be positive where a batch's is");
  sum.loss = streaming.truncated ? truncated(backbone, batch, streaming.segment, total_weight)
                                 : exact(backbone, batch, streaming, total_weight);
  return sum;
}

LossSum streamed_loss(const model::Backbone& backbone, const NextTokenBatch& batch, std::int64_t segment,
                      const SegmentLosses& told) {
  const at::NoGradGuard no_graph;
  LossSum sum{.loss = 0, .weight = batch.total_weight()};
  const std::int64_t segments = segments_of(batch, segment);
  State state;
  for (std::int64_t i = 0; i < segments; ++i) {
    const NextTokenBatch part = batch.segment(i * segment, segment);
    SegmentResult result = run_segment(backbone, part, state, /*want_state=*/i + 1 < segments);
    sum.loss += result.loss.item<double>();
    if (told) {
      const at::Tensor losses = result.losses.to(at::kCPU, at::kFloat).contiguous();
      told(part, i * segment, {losses.const_data_ptr<float>(), static_cast<std::size_t>(losses.numel())});
    }
    state = std::move(result.state);
  }
  return sum;
}

}  // namespace dnamamba::train
