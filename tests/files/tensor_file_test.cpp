#include "core/files/tensor_file.h"

#include <gtest/gtest.h>

#include <limits>

#include "core/base/error.h"

namespace dnamamba::files {
namespace {

using Shape = std::vector<std::int64_t>;

TEST(TensorFile, CountsElementsAndBytesOfShapes) {
  EXPECT_EQ(element_count(Shape{}), 1);
  EXPECT_EQ(element_count(Shape{3, 0, 5}), 0);
  EXPECT_EQ(byte_count(TensorType::kBFloat16, Shape{3, 5}), 30);
  EXPECT_EQ(byte_count(TensorType::kFloat64, Shape{std::int64_t{1} << 31, 2}), std::int64_t{1} << 35);
}

TEST(TensorFile, CountsThatDoNotFitAreNoCounts) {
  const std::int64_t big = std::numeric_limits<std::int64_t>::max();
  EXPECT_EQ(element_count(Shape{-1}), std::nullopt);
  EXPECT_EQ(element_count(Shape{big, 2}), std::nullopt);
  EXPECT_EQ(element_count(Shape{0, -1}), std::nullopt);
  EXPECT_EQ(byte_count(TensorType::kInt32, Shape{big / 2}), std::nullopt);
}

TEST(TensorFile, RefusesBytesThatAreNotThoseOfTheShape) {
  EXPECT_THROW(make_tensor(TensorType::kFloat32, {2, 2}, std::vector<std::byte>(15)), base::Error);
  EXPECT_EQ(make_tensor(TensorType::kFloat32, {2, 2}, std::vector<std::byte>(16)).bytes().size(), 16u);
}

}  // namespace
}  // namespace dnamamba::files
