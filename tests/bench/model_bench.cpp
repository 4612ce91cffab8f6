// Tokens a second of whole models, beside the matrix products alone: the same products with nothing between them, timed
// in turn with the model in the same run, so that the ratio holds where the machine's speed does not.
//
// Generation, one token of one sequence at a time, stands beside the weights alone: reading as many bytes, each thread
// its part, with nothing done with them.
//
//   dnamamba_bench [THREADS [ROUNDS]]
#include <ATen/Parallel.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/randn.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <numeric>
#include <string>
#include <vector>

#include "core/base/heap.h"
#include "core/model/backbone.h"
#include "core/model/stepper.h"
#include "core/ops/linear.h"
#include "core/ops/team.h"
#include "core/tokens/alphabet.h"
#include "core/train/streamed_gradient.h"

namespace dnamamba::bench {
namespace {

double seconds_of(const std::function<void()>& work) {
  const auto start = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

// All matrix products of one pass over T tokens.
class Products {
 public:
  Products(const model::ModelConfig& config, std::int64_t tokens) {
    const auto add = [&](std::int64_t in, std::int64_t out) {
      inputs_.push_back(at::randn({tokens, in}));
      weights_.push_back(at::randn({out, in}));
      outputs_.push_back(at::randn({tokens, out}));
    };
    layers_ = static_cast<std::int64_t>(config.layers.size());
    if (const auto* mamba1 = std::get_if<model::Mamba1Config>(&config.layers.front().mixer)) {
      add(config.d_model, 2 * mamba1->d_inner);
      add(mamba1->d_inner, mamba1->dt_rank + 2 * mamba1->d_state);
      add(mamba1->dt_rank, mamba1->d_inner);
      add(mamba1->d_inner, config.d_model);
    } else {
      const auto& mamba2 = std::get<model::Mamba2Config>(config.layers.front().mixer);
      add(config.d_model, mamba2.d_inner + mamba2.conv_channels() + mamba2.heads());
      add(mamba2.d_inner, config.d_model);
    }
  }

  void forward() const {
    for (std::int64_t layer = 0; layer < layers_; ++layer)
      for (std::size_t i = 0; i < inputs_.size(); ++i) ops::linear(inputs_[i], weights_[i]);
  }

  // The gradients of input and weight of each product.
  void backward() const {
    for (std::int64_t layer = 0; layer < layers_; ++layer)
      for (std::size_t i = 0; i < inputs_.size(); ++i) {
        at::matmul(outputs_[i], weights_[i]);
        at::matmul(outputs_[i].t(), inputs_[i]);
      }
  }

 private:
  std::int64_t layers_;
  std::vector<at::Tensor> inputs_, weights_, outputs_;
};

struct Timing {
  double model = 0;
  double products = 0;
};

Timing in_turn(const std::function<void()>& model, const std::function<void()>& products, int rounds) {
  model();
  products();
  std::vector<double> model_seconds, product_seconds;
  for (int i = 0; i < rounds; ++i) {
    model_seconds.push_back(seconds_of(model));
    product_seconds.push_back(seconds_of(products));
  }
  return {median(model_seconds), median(product_seconds)};
}

void print(const std::string& what, const Timing& timing, std::int64_t tokens) {
  const auto count = static_cast<double>(tokens);
  std::printf("  %-34s %10.0f tokens/s   products alone %10.0f tokens/s   ratio %.2f\n", what.c_str(),
              count / timing.model, count / timing.products, timing.products / timing.model);
}

// A sum over `values`, by all threads.
std::uint64_t read_all(const std::vector<std::uint64_t>& values) {
  std::atomic<std::uint64_t> total{0};
  ops::TeamBarrier barrier;
  ops::run_team(at::get_num_threads(), barrier, [&](const ops::TeamMember& member) {
    const auto [first, last] = member.part(static_cast<std::int64_t>(values.size()));
    total += std::accumulate(values.begin() + first, values.begin() + last, std::uint64_t{0});
  });
  return total;
}

void bench_generation(const model::ModelConfig& config, const model::Parameters& parameters, int rounds) {
  constexpr std::int64_t kTokens = 1000;
  for (const auto weights : {kernels::StepWeights::kFloat32, kernels::StepWeights::kBfloat16}) {
    model::Stepper stepper(config, parameters, weights);
    const std::vector<std::uint64_t> values(static_cast<std::size_t>(stepper.weight_bytes()) / 8, 1);
    std::uint8_t token = 7;
    const auto generate = [&] {
      for (std::int64_t i = 0; i < kTokens; ++i) {
        const auto logits = stepper.step(token).logits;
        token = static_cast<std::uint8_t>(std::max_element(logits.begin(), logits.end()) - logits.begin());
      }
    };
    std::uint64_t sum = 0;
    const auto read = [&] {
      for (std::int64_t i = 0; i < kTokens; ++i) sum += read_all(values);
    };
    const Timing timing = in_turn(generate, read, rounds);
    const double megabytes = static_cast<double>(stepper.weight_bytes()) / 1e6;
    std::printf("  %-34s %10.0f tokens/s   weights alone  %10.0f tokens/s   ratio %.2f   %.1f MB, %.1f GB/s\n",
                weights == kernels::StepWeights::kFloat32 ? "generation" : "generation, weights in bf16",
                kTokens / timing.model, kTokens / timing.products, timing.products / timing.model, megabytes,
                megabytes * kTokens / timing.model / 1e3);
    if (sum == 0) std::puts("");  // so that the sums are wanted
  }
}

void bench_model(const std::string& name, const model::ModelConfig& config, std::int64_t tokens, int rounds) {
  std::printf("%s: %s, %lld parameters, %lld tokens\n", name.c_str(), model::describe(config).c_str(),
              static_cast<long long>(model::count_parameters(config)), static_cast<long long>(tokens));
  model::Parameters parameters = model::initialise_parameters(config, 1);
  const model::Backbone backbone(config, parameters);
  const tokens::Alphabet alphabet = tokens::Alphabet::built_in("dnamamba");
  std::vector<std::uint8_t> sequence(tokens + 1);
  for (std::int64_t i = 0; i <= tokens; ++i) sequence[i] = static_cast<std::uint8_t>(7 + (i * i / 7 + i / 3) % 4);
  const at::Tensor ids = at::from_blob(sequence.data(), {tokens}, at::kByte);
  const Products products(config, tokens);
  {
    const at::NoGradGuard no_graph;
    model::Backbone::Segment segment;
    segment.tokens = ids;
    const auto infer = [&] { static_cast<void>(backbone.advance(segment)); };
    print("inference",
          in_turn(
              infer, [&] { products.forward(); }, rounds),
          tokens);
    bench_generation(config, parameters, rounds);
  }
  for (auto& [key, parameter] : parameters) parameter.requires_grad_(true);
  train::NextTokenBatch batch;
  batch.append(sequence, alphabet);
  const double weight = batch.total_weight();
  const auto train = [&](std::int64_t segment) {
    train::streamed_gradient(backbone, batch, {.segment = segment}, weight);
    for (auto& [key, parameter] : parameters) parameter.mutable_grad().zero_();
  };
  const auto product_pass = [&](int forwards) {
    const at::NoGradGuard no_graph;
    for (int i = 0; i < forwards; ++i) products.forward();
    products.backward();
  };
  print("training, plain", in_turn([&] { train(tokens); }, [&] { product_pass(1); }, rounds), tokens);
  print("training, streamed in 4 segments", in_turn([&] { train(tokens / 4); }, [&] { product_pass(2); }, rounds),
        tokens);
}

}  // namespace
}  // namespace dnamamba::bench

int main(int argc, char** argv) {
  using namespace dnamamba;
  base::keep_freed_memory();  // as the program does
  if (argc > 1) at::set_num_threads(std::atoi(argv[1]));
  const int rounds = argc > 2 ? std::atoi(argv[2]) : 5;
  std::printf("%d threads, fp32, medians of %d rounds\n", at::get_num_threads(), rounds);
  bench::bench_model("8 x 256", model::mamba1_config(256, 8), 8192, rounds);
  bench::bench_model("8 x 256, Mamba-2", model::mamba2_config(256, 8), 8192, rounds);
  bench::bench_model("3 x 64 (dnamamba-tiny)", model::mamba1_config(64, 3, 8), 8192, rounds);
}
