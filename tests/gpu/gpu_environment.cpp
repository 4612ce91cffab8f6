// Loads the module for GPUs before any test; without it, or without a GPU, all of them are skipped and say why.
#include <gtest/gtest.h>

#include "core/ops/cuda_module.h"

namespace dnamamba::test {
namespace {

class NeedsGpu : public ::testing::Environment {
 public:
  void SetUp() override {
    if (!ops::why_no_cuda().empty()) GTEST_SKIP() << ops::why_no_cuda();
  }
};
[[maybe_unused]] ::testing::Environment* const environment = ::testing::AddGlobalTestEnvironment(new NeedsGpu);

}  // namespace
}  // namespace dnamamba::test
