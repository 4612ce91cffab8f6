// Threads, precision and device of a run.
#pragma once
#include <c10/core/Device.h>
#include <c10/core/ScalarType.h>

#include <cstdint>
#include <string>
#include <vector>

#include "core/model/model_folder.h"

namespace dnamamba::engine {

/// Threads of LibTorch and of our kernels; 0: as many as there are processors for this process.
void set_threads(std::int64_t threads);

/// Where a run computes, and the type of its activations: parameters and states are float32 under bfloat16.
struct Compute {
  at::Device device = at::kCPU;
  at::ScalarType activations = at::kFloat;
  bool automatic = false;  ///< the device was not asked for by name

  /// Of parameters and states.
  [[nodiscard]] at::ScalarType wide() const { return activations == at::kBFloat16 ? at::kFloat : activations; }
  /// Tokens computed at a time without a graph (`asked`: 0 for what suits the device): on a CPU what its caches hold.
  [[nodiscard]] std::int64_t inference_segment(std::int64_t asked) const {
    return asked > 0 ? asked : device.is_cuda() ? 524'288 : 8'192;
  }
  /// The same with a graph: some 50 kB a token of a network of 8 layers of 256.
  [[nodiscard]] std::int64_t training_segment(std::int64_t asked) const {
    return asked > 0 ? asked : device.is_cuda() ? 114'688 : 16'384;
  }
};

/// Device "auto" (a GPU if there is one), "cpu", "cuda" or "cuda:N"; precision "auto" (bf16 on a GPU, else fp32),
/// "fp32", "bf16" (GPU) or "fp64" (CPU). @throws base::UsageError for other words, and for a GPU that is not there,
/// saying why.
Compute choose_compute(const std::string& device, const std::string& precision);

/// What is there for a network: Mamba-2 is computed on CPUs alone. @throws base::UsageError where a GPU was asked for.
Compute compute_for(const model::ModelConfig& config, const Compute& compute);

/// Moves the model's parameters there: to train them.
void place(model::Model& model, const Compute& compute);

/// The same to use them: the weights of products are rounded once to the type in which products take them.
void place_for_inference(model::Model& model, const Compute& compute);

/// Dense operations a second that the device's maker states for products of these activations; 0 where that is not
/// known here.
double peak_flops(const Compute& compute);

/// The GPUs there are, or why there is none to use: for `doctor`.
std::string gpu_description();

/// "2.11.0": LibTorch's own.
std::string libtorch_version();
/// What LibTorch was built with and how many threads it uses, for `doctor`.
std::string libtorch_description();

}  // namespace dnamamba::engine
