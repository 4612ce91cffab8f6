#include "kernels/embed_tokens.h"

#include <stdexcept>

#include "tests/kernels/parallel.h"

namespace dnamamba::kernels {
namespace {

template <typename T>
std::vector<T> cpu_backward(const EmbedTokensSizes& sizes, const std::vector<std::uint8_t>& tokens,
                            const std::vector<T>& dout, const ParallelFor& parallel = serial_for) {
  std::vector<T> dtable(static_cast<std::size_t>(sizes.vocabulary * sizes.width));
  test::Garbage workspace(cpu::embed_tokens_backward_workspace<T>(sizes));
  cpu::embed_tokens_backward(sizes, tokens.data(), dout.data(), dtable.data(), workspace.get(), parallel);
  return dtable;
}

template <typename T>
void expect_reference(const EmbedTokensSizes& sizes, double tolerance) {
  test::Random random(7);
  const auto tokens = random.bytes(sizes.tokens, sizes.vocabulary);
  const auto table = random.normal<T>(sizes.vocabulary * sizes.width);
  const auto dout = random.normal<T>(sizes.tokens * sizes.width);
  std::vector<T> out(dout.size()), expected(dout.size()), dtable(table.size());
  cpu::embed_tokens(sizes, tokens.data(), table.data(), out.data(), test::three_threads);
  reference::embed_tokens(sizes, tokens.data(), table.data(), expected.data());
  EXPECT_TRUE(test::same_bits(out, expected));
  reference::embed_tokens_backward(sizes, tokens.data(), dout.data(), dtable.data());
  const auto actual = cpu_backward(sizes, tokens, dout);
  EXPECT_TRUE(test::close_in_norm(actual, dtable, tolerance));
  EXPECT_TRUE(test::same_bits(cpu_backward(sizes, tokens, dout, test::three_threads), actual));
  EXPECT_TRUE(test::same_bits(cpu_backward(sizes, tokens, dout, test::one_by_one_reversed), actual));
}

TEST(EmbedTokens, MatchesTheReference) {
  for (const EmbedTokensSizes sizes : {EmbedTokensSizes{5000, 16, 118}, {3, 256, 1}, {40, 1, 512}, {0, 16, 30}}) {
    expect_reference<float>(sizes, 1e-6);
    expect_reference<double>(sizes, 1e-12);
  }
}

TEST(EmbedTokens, GradientAgreesWithFiniteDifferences) {
  const EmbedTokensSizes sizes{9, 4, 3};
  test::Random random(3);
  const auto tokens = random.bytes(sizes.tokens, sizes.vocabulary);
  auto table = random.normal<double>(sizes.vocabulary * sizes.width);
  const auto dout = random.normal<double>(sizes.tokens * sizes.width);
  const auto loss = [&] {
    std::vector<double> out(dout.size());
    cpu::embed_tokens(sizes, tokens.data(), table.data(), out.data(), serial_for);
    return test::dot(dout, out);
  };
  test::expect_gradient(table, cpu_backward(sizes, tokens, dout), loss, "table");
}

TEST(EmbedTokens, RefusesATokenThatIsNotInTheTable) {
  const std::vector<std::uint8_t> tokens{0, 3, 4};
  std::vector<float> table(12), out(9);
  EXPECT_THROW(cpu::embed_tokens({3, 4, 3}, tokens.data(), table.data(), out.data(), serial_for),
               std::invalid_argument);
  EXPECT_THROW(reference::embed_tokens({3, 4, 3}, tokens.data(), table.data(), out.data()), std::invalid_argument);
  EXPECT_THROW(cpu::embed_tokens({3, 257, 3}, tokens.data(), table.data(), out.data(), serial_for),
               std::invalid_argument);
  EXPECT_THROW(cpu::embed_tokens<float>({3, 5, 3}, tokens.data(), nullptr, out.data(), serial_for),
               std::invalid_argument);
}

}  // namespace
}  // namespace dnamamba::kernels
