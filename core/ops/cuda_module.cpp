#include "core/ops/cuda_module.h"

#include <ATen/Context.h>
#include <ATen/detail/CUDAHooksInterface.h>
#include <c10/core/AllocatorConfig.h>
#include <dlfcn.h>

#include <cstdlib>

#include "core/ops/operator_call.h"

namespace dnamamba::ops {
namespace {

constexpr const char* kModule = "libdnamamba_cuda.so";

std::string load() {
  // Stays loaded until the process ends. Found where the program looks for its libraries.
  if (::dlopen(kModule, RTLD_NOW | RTLD_LOCAL) == nullptr) {
    const char* const error = ::dlerror();
    const std::string reason = error == nullptr ? "it can't be loaded" : error;
    if (reason.starts_with(kModule)) return "this build has no module for GPUs (./do cuda makes it)";
    return "LibTorch's CUDA libraries are not all here (" + reason + ")";
  }
  if (!at::globalContext().hasCUDA()) return "no GPU, or no driver for it";
  // Memory that was taken for sequences of one length serves those of another: what is taken does not grow by it.
  if (std::getenv("PYTORCH_ALLOC_CONF") == nullptr && std::getenv("PYTORCH_CUDA_ALLOC_CONF") == nullptr)
    c10::CachingAllocator::setAllocatorSettings("expandable_segments:True");
  // Products in full precision and in the same order every time.
  at::globalContext().setAllowTF32CuBLAS(false);
  at::globalContext().setAllowBF16ReductionCuBLAS(/*allow_reduced_precision=*/false);
  return "";
}

}  // namespace

const std::string& why_no_cuda() {
  static const std::string reason = load();
  return reason;
}

std::vector<std::string> cuda_device_names() {
  if (cuda_device_count() == 0) return {};
  static const auto op = find_operator<std::vector<std::string>()>("dnamamba::cuda_device_names");
  return op.call();
}

void cuda_synchronize() {
  at::detail::getCUDAHooks().deviceSynchronize(at::detail::getCUDAHooks().getCurrentDevice());
}

std::int64_t cuda_peak_bytes(bool reset) {
  static const auto op = find_operator<std::int64_t(bool)>("dnamamba::cuda_peak_bytes");
  return op.call(reset);
}

int cuda_device_count() {
  return why_no_cuda().empty() ? at::detail::getCUDAHooks().getNumGPUs() : 0;
}

}  // namespace dnamamba::ops
