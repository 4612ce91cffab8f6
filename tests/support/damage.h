// Damaged copies of a file: cut short, and with a bit changed.
#pragma once
#include <cstddef>
#include <random>
#include <string>
#include <string_view>
#include <vector>

namespace dnamamba::test {

/// Lengths to cut `size` bytes to: all of the first and last `edge`, and `inside` evenly spread ones.
inline std::vector<std::size_t> cuts(std::size_t size, std::size_t edge = 100, std::size_t inside = 100) {
  std::vector<std::size_t> lengths;
  for (std::size_t i = 0; i < size; ++i)
    if (i < edge || size - i <= edge || i % (size / inside + 1) == 0) lengths.push_back(i);
  return lengths;
}

/// `bytes` with one random bit changed.
inline std::string with_flipped_bit(std::string_view bytes, std::mt19937& random) {
  std::string damaged(bytes);
  const std::size_t bit = std::uniform_int_distribution<std::size_t>(0, 8 * bytes.size() - 1)(random);
  damaged[bit / 8] = static_cast<char>(damaged[bit / 8] ^ (1 << (bit % 8)));
  return damaged;
}

}  // namespace dnamamba::test
