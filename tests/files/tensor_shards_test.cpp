// Shards give back the tensors that went into them, however these were cut, or name what is damaged.
#include "core/files/tensor_shards.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <random>

#include "core/base/error.h"
#include "tests/support/damage.h"
#include "tests/support/temp_dir.h"
#include "tests/support/throws.h"

namespace dnamamba::files {
namespace {

namespace fs = std::filesystem;
using test::content_of;
using test::error_text;
using test::TempDir;
using ::testing::AllOf;
using ::testing::HasSubstr;

StoredTensor random_tensor(std::mt19937& random, TensorType type, std::vector<std::int64_t> shape) {
  std::vector<std::byte> bytes(static_cast<std::size_t>(*byte_count(type, shape)));
  for (std::byte& byte : bytes) byte = static_cast<std::byte>(random());
  return make_tensor(type, std::move(shape), std::move(bytes));
}

TensorMap some_tensors() {
  std::mt19937 random(4);
  TensorMap tensors;
  tensors["empty"] = random_tensor(random, TensorType::kFloat32, {0, 7});
  tensors["long"] = random_tensor(random, TensorType::kFloat32, {301, 5});
  tensors["one row"] = random_tensor(random, TensorType::kFloat32, {1, 900});
  tensors["scalar"] = random_tensor(random, TensorType::kInt64, {});
  tensors["vector"] = random_tensor(random, TensorType::kFloat64, {777});
  tensors["wide"] = random_tensor(random, TensorType::kFloat32, {3, 2, 400});
  return tensors;
}

void expect_same(const TensorMap& read, const TensorMap& written) {
  ASSERT_EQ(read.size(), written.size());
  for (const auto& [name, tensor] : written) {
    const StoredTensor& other = read.at(name);
    EXPECT_EQ(other.type, tensor.type) << name;
    EXPECT_EQ(other.shape, tensor.shape) << name;
    ASSERT_EQ(other.size, tensor.size) << name;
    EXPECT_TRUE(tensor.size == 0 || std::memcmp(other.elements.get(), tensor.elements.get(), tensor.size) == 0) << name;
  }
}

TEST(TensorShards, HoldTheSameTensorsWhateverTheirSize) {
  const TensorMap tensors = some_tensors();
  for (const std::int64_t most : {1, 1'000, 5'000, 8'000, 100'000}) {
    const TempDir folder;
    const nlohmann::json shards = write_shards(folder.path(), tensors, most);
    expect_same(read_shards(folder.path(), shards), tensors);
    if (most == 100'000) {
      EXPECT_EQ(shards.size(), 1U);
    }
    if (most < 5'000) continue;  // a row may be larger: the largest has 3,600 bytes
    for (const auto& file : fs::directory_iterator(folder.path()))
      EXPECT_LE(static_cast<std::int64_t>(file.file_size()), most) << file.path();
  }
}

TEST(TensorShards, OfATensorOfManyMegabytesKeepTheLimit) {
  std::mt19937 random(5);
  TensorMap tensors;
  tensors["large"] =
      make_tensor(TensorType::kFloat32, {40, 1'000'003 / 3}, std::vector<std::byte>(40 * 4 * (1'000'003 / 3)));
  tensors["small"] = random_tensor(random, TensorType::kFloat32, {10});
  const TempDir folder;
  const nlohmann::json shards = write_shards(folder.path(), tensors);
  EXPECT_EQ(shards.size(), 4U);
  for (const auto& file : fs::directory_iterator(folder.path())) EXPECT_LE(file.file_size(), 16U << 20);
  expect_same(read_shards(folder.path(), shards), tensors);
}

TEST(TensorShards, DamagedAnywhereOrMissingAreNamed) {
  const TempDir folder;
  const nlohmann::json shards = write_shards(folder.path(), some_tensors(), 5'000);
  std::mt19937 random(6);
  for (const nlohmann::json& shard : shards) {
    const auto name = shard["file"].get<std::string>();
    const std::string whole = content_of(folder.file(name));
    const auto refusal = [&] { return error_text<base::IoError>([&] { read_shards(folder.path(), shards); }); };
    for (const std::string& damaged :
         {test::with_flipped_bit(whole, random), whole.substr(0, whole.size() / 2), std::string()}) {
      folder.write(name, damaged);
      EXPECT_THAT(refusal(), AllOf(HasSubstr(folder.file(name)), HasSubstr("checksum")));
    }
    fs::remove(folder.file(name));
    EXPECT_THAT(refusal(), AllOf(HasSubstr(folder.file(name)), HasSubstr("missing")));
    folder.write(name, whole);
  }
  expect_same(read_shards(folder.path(), shards), some_tensors());
}

}  // namespace
}  // namespace dnamamba::files
