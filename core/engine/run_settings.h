// Threads, precision and device of a run.
#pragma once
#include <c10/core/ScalarType.h>

#include <cstdint>
#include <string>

namespace dnamamba::engine {

/// Threads of LibTorch and of our kernels; 0: as many as there are processors for this process.
void set_threads(std::int64_t threads);

/// "auto" and "fp32" are float32, "fp64" is float64. @throws base::UsageError for bf16, which needs a GPU, and for
/// other words.
at::ScalarType activation_type(const std::string& precision);

/// "auto" and "cpu". @throws base::UsageError for a GPU, saying that this build has no GPU module.
void require_device(const std::string& device);

/// "2.11.0": LibTorch's own.
std::string libtorch_version();
/// What LibTorch was built with and how many threads it uses, for `doctor`.
std::string libtorch_description();

}  // namespace dnamamba::engine
