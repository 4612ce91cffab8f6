#include "core/ops/cuda/device.h"

#include <c10/cuda/CUDACachingAllocator.h>
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAFunctions.h>
#include <torch/library.h>

namespace dnamamba::ops {
namespace {

std::vector<std::string> device_names() {
  std::vector<std::string> names;
  for (int device = 0; device < c10::cuda::device_count(); ++device) {
    cudaDeviceProp properties{};
    C10_CUDA_CHECK(cudaGetDeviceProperties(&properties, device));
    names.push_back(c10::str(properties.name, " (", properties.totalGlobalMem >> 30U, " GiB, compute capability ",
                             properties.major, ".", properties.minor, ")"));
  }
  return names;
}

/// Where the last offsets went. Holding the host's tensor keeps its address from being anyone else's.
struct LastOffsets {
  at::Tensor on_host, on_device;
  std::int64_t version = 0;
  c10::cuda::CUDAStream stream = c10::cuda::getDefaultCUDAStream();
};

/// Of LibTorch's allocator on the current device, since the last reset.
std::int64_t peak_bytes(bool reset) {
  const auto device = c10::cuda::current_device();
  using c10::CachingDeviceAllocator::StatType;
  const auto stats = c10::cuda::CUDACachingAllocator::getDeviceStats(device);
  if (reset) c10::cuda::CUDACachingAllocator::resetPeakStats(device);
  return stats.allocated_bytes[static_cast<std::size_t>(StatType::AGGREGATE)].peak;
}

}  // namespace

const std::int64_t* offsets_on_device(const OptionalTensor& offsets) {
  if (!given(offsets) || offsets->size(0) == 2) return nullptr;
  thread_local LastOffsets last;
  const c10::cuda::CUDAStream stream = c10::cuda::getCurrentCUDAStream();
  if (!last.on_host.is_same(*offsets) || last.version != offsets->_version() || last.stream != stream) {
    const at::Tensor pinned = offsets->contiguous().pin_memory();
    last = {*offsets, pinned.to(stream.device(), /*non_blocking=*/true), offsets->_version(), stream};
  }
  return values<std::int64_t>(last.on_device);
}

TORCH_LIBRARY_FRAGMENT(dnamamba, library) {
  library.def("cuda_device_names() -> str[]", device_names);
  library.def("cuda_peak_bytes(bool reset) -> int", peak_bytes);
}

}  // namespace dnamamba::ops
