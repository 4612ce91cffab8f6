#include "core/tokens/base_counts.h"

#include <gtest/gtest.h>

#include <string_view>
#include <vector>

namespace dnamamba::tokens {
namespace {

TEST(BaseCounterTest, CountsKnownBasesAndGcOfEveryAlphabet) {
  for (const std::string_view name : Alphabet::built_in_names()) {
    const Alphabet alphabet = Alphabet::built_in(name);
    const auto [a, c, g, t] = alphabet.bases();
    const std::uint8_t n = alphabet.ambiguous();
    const std::vector<std::uint8_t> tokens{a, c, c, g, t, n, n, n};
    EXPECT_EQ(BaseCounter(alphabet).count(tokens), (BaseCounts{.known = 5, .gc = 3})) << name;
    EXPECT_EQ(BaseCounter(alphabet).count({}), BaseCounts{}) << name;
  }
}

}  // namespace
}  // namespace dnamamba::tokens
