// One call of an operator with a loss behind it: what it answers, and every gradient.
#pragma once
#include <ATen/ops/zeros.h>
#include <torch/csrc/autograd/autograd.h>

#include <functional>
#include <vector>

#include "tests/ops/operators.h"
#include "tests/support/tensors.h"

namespace dnamamba::test {

using Inputs = Operator::Inputs;
using Answer = Operator::Answer;
using Way = std::function<Answer(const Operator&, const Inputs&)>;

inline std::vector<at::Tensor> differentiable(const Inputs& inputs) {
  std::vector<at::Tensor> tensors = inputs.rows;
  tensors.insert(tensors.end(), inputs.parameters.begin(), inputs.parameters.end());
  if (inputs.state.defined()) tensors.push_back(inputs.state);
  return tensors;
}

inline Inputs as_leaves(const Inputs& inputs) {
  Inputs leaves = inputs;
  for (at::Tensor& tensor : leaves.rows) tensor = tensor.detach().clone().requires_grad_(true);
  for (at::Tensor& tensor : leaves.parameters) tensor = tensor.detach().clone().requires_grad_(true);
  if (leaves.state.defined()) leaves.state = leaves.state.detach().clone().requires_grad_(true);
  return leaves;
}

inline std::vector<at::Tensor> outputs_of(const Answer& answer) {
  std::vector<at::Tensor> outputs = answer.rows;
  if (answer.state.defined()) outputs.push_back(answer.state);
  return outputs;
}

// A number that depends on every output in its own way.
inline at::Tensor loss_of(const Answer& answer) {
  at::Tensor loss = at::zeros({}, answer.rows.front().options().dtype(at::kDouble));
  std::uint64_t seed = 100;
  for (const at::Tensor& output : outputs_of(answer))
    loss = loss.add(output.to(at::kDouble).mul(RandomTensors(++seed).normal(output.sizes()).to(output.device())).sum());
  return loss;
}

struct Result {
  std::vector<at::Tensor> outputs, gradients;
};

inline Result run(const Operator& op, const Way& way) {
  const Inputs leaves = as_leaves(op.inputs);
  const Answer answer = way(op, leaves);
  return {outputs_of(answer), torch::autograd::grad({loss_of(answer)}, differentiable(leaves))};
}

inline Answer whole(const Operator& op, const Inputs& inputs) {
  return op.call(inputs, int64_tensor(op.offsets));
}

}  // namespace dnamamba::test
