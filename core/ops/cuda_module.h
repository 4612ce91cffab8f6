// The operators for GPUs, which are a module of their own: whether they are there, and a GPU for them.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

namespace dnamamba::ops {

/// Loads the module when asked for the first time; before that, nothing may ask LibTorch for a GPU. Empty if it is
/// there and finds a GPU, otherwise why not.
const std::string& why_no_cuda();

/// GPUs; 0 unless why_no_cuda() is empty.
int cuda_device_count();

/// Their names with their memory.
std::vector<std::string> cuda_device_names();

/// Waits for all work on the device.
void cuda_synchronize();

/// The most memory of the current device that tensors took at a time since the last call that reset it, in bytes.
std::int64_t cuda_peak_bytes(bool reset);

}  // namespace dnamamba::ops
