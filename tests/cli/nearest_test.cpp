#include "apps/nearest.h"

#include <gtest/gtest.h>

#include <vector>

namespace dnamamba::apps {
namespace {

const std::vector<std::string> kNames{"embed", "pretrain", "models", "info", "doctor"};

TEST(Nearest, FindsWhatWasMeant) {
  EXPECT_EQ(nearest("embedd", kNames), "embed");
  EXPECT_EQ(nearest("emebd", kNames), "embed");
  EXPECT_EQ(nearest("model", kNames), "models");
  EXPECT_EQ(nearest("pre", kNames), "pretrain");
  EXPECT_EQ(nearest("docter", kNames), "doctor");
}

TEST(Nearest, DoesNotGuessWildly) {
  EXPECT_EQ(nearest("assemble", kNames), std::nullopt);
  EXPECT_EQ(nearest("x", kNames), std::nullopt);
  EXPECT_EQ(nearest("", kNames), std::nullopt);
  EXPECT_EQ(nearest("embed", {}), std::nullopt);
}

}  // namespace
}  // namespace dnamamba::apps
