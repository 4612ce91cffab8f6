#include "core/engine/run_settings.h"

#include <ATen/Parallel.h>
#include <ATen/Version.h>
#include <sched.h>
#include <torch/version.h>

#include "core/base/error.h"

namespace dnamamba::engine {
namespace {

std::int64_t available_processors() {
  cpu_set_t set;
  CPU_ZERO(&set);
  return sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
}

}  // namespace

void set_threads(std::int64_t threads) {
  at::set_num_threads(static_cast<int>(threads > 0 ? threads : available_processors()));
}

at::ScalarType activation_type(const std::string& precision) {
  if (precision == "auto" || precision == "fp32") return at::kFloat;
  if (precision == "fp64") return at::kDouble;
  if (precision == "bf16") throw base::UsageError("--precision bf16 needs a GPU; on a CPU use fp32");
  throw base::UsageError("--precision " + precision + " is not one of auto, fp32, bf16, fp64");
}

void require_device(const std::string& device) {
  if (device == "auto" || device == "cpu") return;
  throw base::UsageError("--device " + device + ": this version runs on CPUs only; use --device cpu");
}

std::string libtorch_version() {
  return TORCH_VERSION;
}

std::string libtorch_description() {
  return base::concat(at::get_num_threads(), " threads, ", at::get_cpu_capability());
}

}  // namespace dnamamba::engine
