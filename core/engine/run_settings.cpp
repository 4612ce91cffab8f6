#include "core/engine/run_settings.h"

#include <ATen/Parallel.h>
#include <ATen/Version.h>
#include <sched.h>
#include <torch/version.h>

#include <algorithm>
#include <variant>

#include "core/base/error.h"
#include "core/ops/cuda_module.h"

namespace dnamamba::engine {
namespace {

std::int64_t available_processors() {
  cpu_set_t set;
  CPU_ZERO(&set);
  return sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
}

at::Device choose_device(const std::string& device) {
  if (device == "cpu") return at::kCPU;
  if (device == "auto") return ops::cuda_device_count() > 0 ? at::Device(at::kCUDA, 0) : at::Device(at::kCPU);
  if (!ops::why_no_cuda().empty())
    throw base::UsageError(base::concat("--device ", device, ": ", ops::why_no_cuda(), "; use --device cpu"));
  const std::string number = device.starts_with("cuda:") ? device.substr(5) : "0";
  const int index = std::stoi(number);
  if (index >= ops::cuda_device_count())
    throw base::UsageError(
        base::concat("--device ", device, ": there are ", ops::cuda_device_count(), " GPUs, numbered from 0"));
  return {at::kCUDA, static_cast<at::DeviceIndex>(index)};
}

at::ScalarType choose_activations(const std::string& precision, bool gpu) {
  if (precision == "fp32") return at::kFloat;
  if (precision == "auto") return gpu ? at::kBFloat16 : at::kFloat;
  if (precision == "bf16" && gpu) return at::kBFloat16;
  if (precision == "bf16") throw base::UsageError("--precision bf16 needs a GPU; on a CPU use fp32");
  if (precision == "fp64" && !gpu) return at::kDouble;
  if (precision == "fp64") throw base::UsageError("--precision fp64 needs --device cpu");
  throw base::UsageError("--precision " + precision + " is not one of auto, fp32, bf16, fp64");
}

}  // namespace

void set_threads(std::int64_t threads) {
  at::set_num_threads(static_cast<int>(threads > 0 ? threads : available_processors()));
}

Compute choose_compute(const std::string& device, const std::string& precision) {
  const at::Device where = choose_device(device);
  return {where, choose_activations(precision, where.is_cuda()), device == "auto"};
}

Compute compute_for(const model::ModelConfig& config, const Compute& compute) {
  const bool on_gpus = std::all_of(config.layers.begin(), config.layers.end(), [](const model::LayerConfig& layer) {
    return std::holds_alternative<model::Mamba1Config>(layer.mixer);
  });
  if (compute.device.is_cpu() || on_gpus) return compute;
  if (!compute.automatic)
    throw base::UsageError("Mamba-2 networks are computed on processors in this version; use --device cpu");
  return {.automatic = true};
}

void place(model::Model& model, const Compute& compute) {
  for (auto& [name, parameter] : model.parameters) parameter = parameter.to(compute.device, compute.wide());
  model.activations = compute.activations;
}

void place_for_inference(model::Model& model, const Compute& compute) {
  place(model, compute);
  model::round_weights_of_products(model.parameters, compute.activations);
}

double peak_flops(const Compute& compute) {
  if (!compute.device.is_cuda() || compute.activations != at::kBFloat16) return 0;
  const std::string name = ops::cuda_device_names().at(compute.device.has_index() ? compute.device.index() : 0);
  for (const auto& [part, flops] : {std::pair("H200", 989e12), std::pair("H100 80GB HBM3", 989e12)})
    if (name.find(part) != std::string::npos) return flops;
  return 0;
}

std::string gpu_description() {
  if (!ops::why_no_cuda().empty()) return ops::why_no_cuda();
  std::string text;
  for (const std::string& name : ops::cuda_device_names()) text += (text.empty() ? "" : ", ") + name;
  return text.empty() ? "none" : text;
}

std::string libtorch_version() {
  return TORCH_VERSION;
}

std::string libtorch_description() {
  return base::concat(at::get_num_threads(), " threads, ", at::get_cpu_capability());
}

}  // namespace dnamamba::engine
