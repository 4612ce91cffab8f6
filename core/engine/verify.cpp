#include "core/engine/verify.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>

#include <cmath>

#include "core/base/error.h"
#include "core/files/safetensors.h"
#include "core/heads/language_head.h"

namespace dnamamba::engine {
namespace {

at::Tensor golden_tensor(const files::TensorMap& tensors, const std::string& name, const std::string& path) {
  const auto found = tensors.find(name);
  if (found == tensors.end()) throw base::IoError(path + ": holds no tensor " + name);
  return model::to_tensor(found->second);
}

GoldenError compare(const at::Tensor& ours, const at::Tensor& golden, const std::string& name) {
  if (ours.numel() != golden.numel())
    throw base::Error(
        base::concat("golden ", name, " has ", golden.numel(), " values, the model answers ", ours.numel()));
  const at::Tensor expected = golden.to(at::kDouble).reshape(-1);
  const at::Tensor difference = ours.to(at::kCPU, at::kDouble).reshape(-1).sub(expected).abs();
  const GoldenError error{difference.div(expected.abs().add(1)).max().item<double>(), difference.max().item<double>()};
  if (!std::isfinite(error.relative)) throw base::Error("the model's " + name + " is not finite");
  return error;
}

// input_ids [B, L] -> hidden [B, L, d_model], segment by segment.
at::Tensor hidden_of(const model::Backbone& backbone, const at::Tensor& ids, std::int64_t segment) {
  const std::int64_t sequences = ids.size(0), length = ids.size(1);
  const std::int64_t step = segment > 0 ? segment : length;
  std::vector<at::Tensor> pieces;
  model::State state;
  for (std::int64_t begin = 0; begin < length; begin += step) {
    const std::int64_t count = std::min(step, length - begin);
    auto out = backbone.advance(
        {.tokens = ids.narrow(1, begin, count).reshape(-1).to(at::kByte),
         .offsets = at::arange(0, (sequences + 1) * count, count, at::kLong).narrow(0, 0, sequences + 1),
         .state = &state,
         .want_state = true});
    pieces.push_back(out.hidden.reshape({sequences, count, -1}));
    state = std::move(out.state);
  }
  return at::cat(pieces, 1);
}

}  // namespace

std::optional<GoldenComparison> compare_with_golden(const model::Model& model, std::int64_t segment) {
  const std::filesystem::path path = model.folder / "golden.safetensors";
  if (!std::filesystem::exists(path)) return std::nullopt;
  const files::TensorMap tensors = files::read_safetensors(path).tensors;
  const at::Tensor ids = golden_tensor(tensors, "input_ids", path.string());
  if (ids.dim() != 2 || ids.scalar_type() != at::kLong)
    throw base::IoError(path.string() + ": input_ids is not int64 [sequences, length]");
  const at::NoGradGuard no_graph;
  const model::Backbone backbone(model.config, model.parameters, model.activations);
  if (ids.numel() > 0 &&
      (ids.min().item<std::int64_t>() < 0 || ids.max().item<std::int64_t>() >= model.config.vocabulary))
    throw base::IoError(path.string() + ": input_ids has ids outside the model's vocabulary");
  const at::Tensor hidden = hidden_of(backbone, ids, segment);
  const at::Tensor logits = heads::next_token_logits(backbone, hidden);
  return GoldenComparison{
      compare(hidden, golden_tensor(tensors, "last_hidden_state", path.string()), "last_hidden_state"),
      compare(logits, golden_tensor(tensors, "logits", path.string()), "logits"), ids.size(0), ids.size(1)};
}

}  // namespace dnamamba::engine
