// Operators and models on a GPU: milliseconds, and how far from the time that the bytes alone take; tokens a second of
// whole models. Kernels are launched many times without waiting in between; what is given is the mean of the best
// round.
//
//   dnamamba_gpu_bench [operators | models | lengths | step]
//
// `lengths` is a table for tests/bench/plot_gpu.py; `step` is one gradient of 131,072 tokens and nothing else, for a
// profiler.
#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/rand.h>
#include <ATen/ops/randint.h>
#include <ATen/ops/randn.h>
#include <torch/csrc/autograd/autograd.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <functional>
#include <string>
#include <vector>

#include "core/model/backbone.h"
#include "core/ops/add_rms_norm.h"
#include "core/ops/causal_conv1d.h"
#include "core/ops/cuda_module.h"
#include "core/ops/embed_tokens.h"
#include "core/ops/selective_scan.h"
#include "core/ops/token_loss.h"
#include "core/tokens/alphabet.h"
#include "core/train/streamed_gradient.h"

namespace dnamamba::bench {
namespace {

using at::Tensor;

at::TensorOptions gpu(at::ScalarType dtype) {
  return at::TensorOptions().dtype(dtype).device(at::kCUDA, 0);
}
Tensor bf16(std::int64_t rows, std::int64_t columns) {
  return at::randn({rows, columns}, gpu(at::kBFloat16));
}

double milliseconds(const std::function<void()>& work) {
  work();
  ops::cuda_synchronize();
  double best = INFINITY;
  for (int round = 0; round < 3; ++round) {
    const auto start = std::chrono::steady_clock::now();
    int times = 0;
    double seconds = 0;
    while (seconds < 0.1 && times < 200) {
      for (int i = 0; i < 5; ++i, ++times) work();
      ops::cuda_synchronize();
      seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    }
    best = std::min(best, 1e3 * seconds / times);
  }
  return best;
}

struct Times {
  double forward = 0, both = 0;
};
/// Forward, and forward and backward, of what `call` makes of leaves.
Times times_of(const std::vector<Tensor>& leaves, const std::function<Tensor()>& call) {
  double forward = 0;
  {
    const at::NoGradGuard no_graph;
    forward = milliseconds([&] { call(); });
  }
  Tensor gradient;
  const double both = milliseconds([&] {
    const Tensor out = call();
    if (!gradient.defined()) gradient = at::ones(out.sizes(), out.options());
    torch::autograd::backward({out}, {gradient});
    for (const Tensor& leaf : leaves) leaf.mutable_grad() = Tensor();
  });
  return {forward, both};
}

void print(const std::string& name, const Times& times) {
  std::printf("  %-52s forward %8.3f ms   backward %8.3f ms   both %8.3f ms\n", name.c_str(), times.forward,
              times.both - times.forward, times.both);
}
void time_operator(const std::string& name, const std::vector<Tensor>& leaves, const std::function<Tensor()>& call) {
  print(name, times_of(leaves, call));
}

Times times_of_scan(std::int64_t sequences, std::int64_t length, std::int64_t channels) {
  const std::int64_t states = 16, tokens = sequences * length;
  std::vector<std::int64_t> ends(sequences + 1);
  for (std::int64_t s = 0; s <= sequences; ++s) ends[s] = s * length;
  const Tensor offsets = at::from_blob(ends.data(), {sequences + 1}, at::kLong).clone();
  const Tensor dt = at::rand({channels}, gpu(at::kFloat)).mul(std::log(100.0)).add(std::log(1e-3)).exp();
  std::vector<Tensor> leaves{bf16(tokens, channels),
                             bf16(tokens, channels).mul_(0.5),
                             bf16(tokens, states),
                             bf16(tokens, states),
                             bf16(tokens, channels),
                             at::ones({channels, states}, gpu(at::kFloat)).cumsum(1).neg(),
                             at::ones({channels}, gpu(at::kFloat)),
                             dt.add(dt.neg().expm1().neg().log())};
  for (Tensor& leaf : leaves) leaf = leaf.detach().requires_grad_(true);
  return times_of(leaves, [&] {
    return std::get<0>(ops::selective_scan({.x = leaves[0],
                                            .delta = leaves[1],
                                            .A = leaves[5],
                                            .B = leaves[2],
                                            .C = leaves[3],
                                            .D = leaves[6],
                                            .z = leaves[4],
                                            .delta_bias = leaves[7],
                                            .offsets = offsets}));
  });
}

void time_scan(std::int64_t sequences, std::int64_t length, std::int64_t channels) {
  print("selective_scan, B " + std::to_string(sequences) + ", L 2^" + std::to_string(std::lround(std::log2(length))) +
            ", D " + std::to_string(channels),
        times_of_scan(sequences, length, channels));
}

void bench_operators() {
  std::puts("operators, bfloat16 activations, 16 states");
  const std::int64_t million = std::int64_t{1} << 20;
  for (const std::int64_t channels : {256, 512, 2048}) time_scan(1, million, channels);
  for (const std::int64_t length : {1 << 14, 1 << 17}) {
    time_scan(1, length, 512);
    time_scan(8, length, 512);
  }
  {
    std::vector<Tensor> leaves{bf16(million, 512), at::randn({512, 4}, gpu(at::kFloat)),
                               at::randn({512}, gpu(at::kFloat))};
    for (Tensor& leaf : leaves) leaf.requires_grad_(true);
    time_operator("causal_conv1d, width 4, SiLU, 2^20 x 512", leaves, [&] {
      return std::get<0>(ops::causal_conv1d({.x = leaves[0], .weight = leaves[1], .bias = leaves[2]}));
    });
  }
  {
    std::vector<Tensor> leaves{bf16(million, 256), at::randn({million, 256}, gpu(at::kFloat)),
                               at::ones({256}, gpu(at::kFloat))};
    for (Tensor& leaf : leaves) leaf.requires_grad_(true);
    time_operator("add_rms_norm, residual in float32, 2^20 x 256", leaves, [&] {
      return std::get<0>(ops::add_rms_norm({.x = leaves[0], .residual = leaves[1], .weight = leaves[2]}));
    });
  }
  {
    const Tensor ids = at::randint(0, 16, {million}, gpu(at::kByte));
    std::vector<Tensor> leaves{bf16(million, 256), at::randn({16, 256}, gpu(at::kFloat))};
    for (Tensor& leaf : leaves) leaf.requires_grad_(true);
    time_operator("token_loss, vocabulary 16, 2^20 x 256", leaves,
                  [&] { return ops::token_loss({.hidden = leaves[0], .weight = leaves[1], .targets = ids}); });
    time_operator("embed_tokens, 2^20 x 256", {leaves[1]},
                  [&] { return ops::embed_tokens(ids, leaves[1], at::kBFloat16); });
  }
}

/// Of the scan over 512 channels and of a model's inference.
void bench_lengths(const model::ModelConfig& config) {
  model::Parameters parameters = model::initialise_parameters(config, 1);
  for (auto& [name, parameter] : parameters) parameter = parameter.to(gpu(at::kFloat).device());
  model::round_weights_of_products(parameters, at::kBFloat16);
  const model::Backbone backbone(config, parameters, at::kBFloat16);
  std::puts("tokens\tscan_forward_ms\tscan_backward_ms\tmodel_ms");
  for (int power = 12; power <= 20; ++power) {
    const std::int64_t tokens = std::int64_t{1} << power;
    const auto [forward, both] = times_of_scan(1, tokens, 512);
    const at::NoGradGuard no_graph;
    const Tensor ids = at::randint(7, 11, {tokens}, at::kByte);
    const double model_ms = milliseconds([&] { static_cast<void>(backbone.advance({.tokens = ids})); });
    std::printf("%lld\t%.4f\t%.4f\t%.4f\n", static_cast<long long>(tokens), forward, both - forward, model_ms);
  }
}

void bench_model(const model::ModelConfig& config, bool only_a_step) {
  model::Parameters parameters = model::initialise_parameters(config, 1);
  for (auto& [name, parameter] : parameters) parameter = parameter.to(gpu(at::kFloat).device());
  model::Parameters rounded = parameters;
  model::round_weights_of_products(rounded, at::kBFloat16);
  const model::Backbone backbone(config, parameters, at::kBFloat16), inferring(config, rounded, at::kBFloat16);
  std::printf("%s, bfloat16 activations\n", model::describe(config).c_str());
  for (const std::int64_t tokens : {1 << 14, 1 << 17, 1 << 20}) {
    if (only_a_step) break;
    const at::NoGradGuard no_graph;
    const Tensor ids = at::randint(7, 11, {tokens}, at::kByte);
    ops::cuda_peak_bytes(/*reset=*/true);
    const double ms = milliseconds([&] { static_cast<void>(inferring.advance({.tokens = ids})); });
    std::printf("  inference, %8lld tokens           %7.2f M tokens/s   peak %6.2f GB\n",
                static_cast<long long>(tokens), static_cast<double>(tokens) / ms / 1e3,
                static_cast<double>(ops::cuda_peak_bytes(false)) / 1e9);
  }
  for (auto& [name, parameter] : parameters) parameter.requires_grad_(true);
  const tokens::Alphabet alphabet = tokens::Alphabet::built_in("dnamamba");
  const auto train = [&](std::int64_t context, std::int64_t segment) {
    std::vector<std::uint8_t> sequence(context + 1);
    for (std::int64_t i = 0; i <= context; ++i) sequence[i] = static_cast<std::uint8_t>(7 + (i * i / 7 + i / 3) % 4);
    train::NextTokenBatch batch;
    batch.append(sequence, alphabet);
    const double weight = batch.total_weight();
    ops::cuda_peak_bytes(/*reset=*/true);
    const double ms = milliseconds([&] {
      train::streamed_gradient(backbone, batch, {.segment = segment}, weight);
      for (auto& [name, parameter] : parameters) parameter.mutable_grad() = Tensor();
    });
    std::printf("  gradient of %8lld tokens, segments of %7lld   %7.2f M tokens/s   peak %6.2f GB\n",
                static_cast<long long>(context), static_cast<long long>(segment),
                static_cast<double>(context) / ms / 1e3, static_cast<double>(ops::cuda_peak_bytes(false)) / 1e9);
  };
  if (only_a_step) return train(1 << 17, 1 << 17);
  constexpr std::int64_t kDefault = 112 << 10;  // of `dnamamba pretrain`: what 8 GB hold
  for (const std::int64_t segment : {std::int64_t{1} << 15, std::int64_t{1} << 16, kDefault, std::int64_t{1} << 17})
    train(segment, segment);
  train(1 << 20, kDefault);
}

}  // namespace
}  // namespace dnamamba::bench

int main(int argc, char** argv) {
  using namespace dnamamba;
  if (!ops::why_no_cuda().empty()) {
    std::fprintf(stderr, "%s\n", ops::why_no_cuda().c_str());
    return 1;
  }
  const std::string only = argc > 1 ? argv[1] : "";
  if (only == "lengths") {
    bench::bench_lengths(model::mamba1_config(256, 8));
    return 0;
  }
  std::printf("%s\n", ops::cuda_device_names().front().c_str());
  if (only.empty() || only == "operators") bench::bench_operators();
  if (only != "operators") bench::bench_model(model::mamba1_config(256, 8), only == "step");
}
