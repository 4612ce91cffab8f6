#include "core/files/safetensors.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <random>

#include "core/base/error.h"
#include "tests/support/damage.h"
#include "tests/support/file_size_limit.h"
#include "tests/support/python.h"
#include "tests/support/temp_dir.h"
#include "tests/support/throws.h"

namespace dnamamba::files {
namespace {

namespace fs = std::filesystem;
using base::IoError;
using test::content_of;
using test::error_text;
using test::TempDir;
using ::testing::AllOf;
using ::testing::HasSubstr;

StoredTensor random_tensor(TensorType type, std::vector<std::int64_t> shape, unsigned seed) {
  std::mt19937 random(seed);
  std::vector<std::byte> bytes(static_cast<std::size_t>(*byte_count(type, shape)));
  for (auto& byte : bytes) byte = static_cast<std::byte>(type == TensorType::kBool ? random() % 2 : random());
  return make_tensor(type, std::move(shape), std::move(bytes));
}

TensorMap sample() {
  TensorMap tensors;
  tensors["weight"] = random_tensor(TensorType::kFloat32, {3, 5}, 1);
  tensors["half"] = random_tensor(TensorType::kFloat16, {7}, 2);
  tensors["brain"] = random_tensor(TensorType::kBFloat16, {2, 1, 3}, 3);
  tensors["double"] = random_tensor(TensorType::kFloat64, {4}, 4);
  tensors["ids"] = random_tensor(TensorType::kInt64, {2, 2}, 5);
  tensors["i32"] = random_tensor(TensorType::kInt32, {1}, 6);
  tensors["i16"] = random_tensor(TensorType::kInt16, {3}, 7);
  tensors["i8"] = random_tensor(TensorType::kInt8, {5}, 8);
  tensors["u8"] = random_tensor(TensorType::kUint8, {9}, 9);
  tensors["mask"] = random_tensor(TensorType::kBool, {11}, 10);
  tensors["scalar"] = random_tensor(TensorType::kFloat32, {}, 11);
  tensors["none"] = random_tensor(TensorType::kFloat32, {0, 4}, 12);
  tensors["ünï\"code"] = random_tensor(TensorType::kFloat32, {1}, 13);
  return tensors;
}

void expect_equal(const TensorMap& a, const TensorMap& b) {
  ASSERT_EQ(a.size(), b.size());
  for (const auto& [name, tensor] : a) {
    ASSERT_EQ(b.count(name), 1u) << name;
    EXPECT_EQ(tensor.type, b.at(name).type) << name;
    EXPECT_EQ(tensor.shape, b.at(name).shape) << name;
    EXPECT_TRUE(std::ranges::equal(tensor.bytes(), b.at(name).bytes())) << name;
  }
}

// A file with this header, whose length is right, and `data` bytes.
std::string file_with(const std::string& header, std::size_t data) {
  const std::uint64_t length = header.size();
  std::string bytes(sizeof(length), '\0');
  std::memcpy(bytes.data(), &length, sizeof(length));
  return bytes + header + std::string(data, '\1');
}

TEST(Safetensors, EveryTypeIsReadBack) {
  const TempDir folder;
  write_safetensors(folder.file("a"), sample(), false, {{"format", "pt"}, {"step", "3"}});
  const auto content = read_safetensors(folder.file("a"));
  expect_equal(content.tensors, sample());
  EXPECT_EQ(content.metadata, (Metadata{{"format", "pt"}, {"step", "3"}}));
}

TEST(Safetensors, TensorsAreAlignedInTheFile) {
  const TempDir folder;
  write_safetensors(folder.file("a"), sample(), false);
  for (const auto& [name, entry] : read_safetensors_header(folder.file("a")).entries)
    EXPECT_EQ(entry.offset % element_size(entry.type), 0) << name;
}

TEST(Safetensors, TheSameTensorsGiveTheSameBytes) {
  const TempDir folder;
  write_safetensors(folder.file("a"), sample(), false);
  write_safetensors(folder.file("b"), sample(), false);
  EXPECT_EQ(content_of(folder.file("a")), content_of(folder.file("b")));
}

TEST(Safetensors, NoTensorsAreAFileToo) {
  const TempDir folder;
  write_safetensors(folder.file("a"), {}, false);
  EXPECT_TRUE(read_safetensors(folder.file("a")).tensors.empty());
  EXPECT_TRUE(read_safetensors(folder.write("b", file_with("{}", 0))).tensors.empty());
}

TEST(Safetensors, ThePythonLibraryReadsOursAndWeReadItsOwn) {
  DNAMAMBA_REQUIRE_PYTHON("numpy, safetensors.numpy");
  const TempDir folder;
  TensorMap tensors = sample();
  tensors.erase("brain");  // NumPy has no bfloat16
  write_safetensors(folder.file("ours"), tensors, false);
  const auto result = test::run_python(R"(
import sys
from safetensors import safe_open
from safetensors.numpy import load_file, save_file
tensors = load_file(sys.argv[1])
assert safe_open(sys.argv[1], "np").metadata() == {"format": "pt"}
save_file(tensors, sys.argv[2])
)",
                                       {folder.file("ours"), folder.file("theirs")});
  ASSERT_EQ(result.status, 0) << result.output;
  expect_equal(read_safetensors(folder.file("theirs")).tensors, tensors);
}

TEST(Safetensors, GoldenFilesAreRead) {
  const fs::path golden = fs::path(DNAMAMBA_SHARED) / "golden";
  if (!fs::exists(golden)) GTEST_SKIP() << "no " << golden;
  int files = 0;
  for (const auto& entry : fs::recursive_directory_iterator(golden)) {
    if (entry.path().filename() != "golden.safetensors") continue;
    const auto tensors = read_safetensors(entry.path()).tensors;
    EXPECT_EQ(tensors.at("input_ids").type, TensorType::kInt64);
    EXPECT_EQ(tensors.at("logits").type, TensorType::kFloat32);
    EXPECT_EQ(tensors.at("logits").shape.size(), 3u);
    ++files;
  }
  EXPECT_GT(files, 0);
}

TEST(Safetensors, RefusesHeadersThatCanNotBeBelieved) {
  const TempDir folder;
  const std::string good = R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})";
  EXPECT_EQ(read_safetensors(folder.write("f", file_with(good, 8))).tensors.size(), 1u);
  EXPECT_EQ(read_safetensors(folder.write("f", file_with(good + "   ", 8))).tensors.size(), 1u);
  const struct {
    const char* header;
    std::size_t data;
    const char* says;
  } cases[] = {
      {R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})",
       8, "twice"},
      {R"({"a":{"dtype":"F32","dtype":"F32","shape":[2],"data_offsets":[0,8]}})", 8, "twice"},
      {R"({"a":{"dtype":"F8","shape":[2],"data_offsets":[0,8]}})", 8, "dtype"},
      {R"({"a":{"dtype":5,"shape":[2],"data_offsets":[0,8]}})", 8, "dtype"},
      {R"({"a":{"dtype":"F32","shape":[3],"data_offsets":[0,8]}})", 8, "size"},
      {R"({"a":{"dtype":"F32","shape":[-2],"data_offsets":[0,8]}})", 8, "count"},
      {R"({"a":{"dtype":"F32","shape":[2.0],"data_offsets":[0,8]}})", 8, "count"},
      {R"({"a":{"dtype":"F32","shape":[18446744073709551615],"data_offsets":[0,8]}})", 8, "count"},
      {R"({"a":{"dtype":"F32","shape":[4611686018427387904,4],"data_offsets":[0,0]}})", 0, "size"},
      {R"({"a":{"dtype":"U8","shape":[9223372036854775807],"data_offsets":[0,9223372036854775807]}})", 8, "truncated"},
      {R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[8,0]}})", 8, "size"},
      {R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0]}})", 8, "pair"},
      {R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}})", 12, "gap"},
      {R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}})",
       12, "overlap"},
      {R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})", 9, "unexpected"},
      {R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})", 7, "truncated"},
      {R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8],"x":1}})", 8, "exactly"},
      {R"({"a":{"dtype":"F32","shape":[2]}})", 8, "exactly"},
      {R"({"a":[1]})", 8, "exactly"},
      {R"({"__metadata__":{"a":1}})", 0, "not a string"},
      {R"({"__metadata__":[]})", 0, "not an object"},
      {R"([1,2])", 0, "{"},
      {R"( {})", 0, "{"},
      {R"({"a":)", 0, "JSON"},
      {"{\"\xff\":1}", 0, "JSON"},
  };
  for (const auto& bad : cases) {
    const std::string path = folder.write("f", file_with(bad.header, bad.data));
    EXPECT_THAT(error_text<IoError>([&] { read_safetensors(path); }), AllOf(HasSubstr(path), HasSubstr(bad.says)))
        << bad.header;
  }
}

TEST(Safetensors, DeepNestingIsAnErrorAndNotACrash) {
  const TempDir folder;
  const std::string deep = "{\"a\":" + std::string(1'000'000, '[');
  EXPECT_THROW(read_safetensors(folder.write("f", file_with(deep, 0))), IoError);
  EXPECT_THROW(read_safetensors(folder.write("f", file_with(deep + std::string(1'000'000, ']') + "}", 0))), IoError);
  const std::string dtype = R"({"a":{"dtype":)" + std::string(1'000'000, '[') + std::string(1'000'000, ']') +
                            R"(,"shape":[],"data_offsets":[0,0]}})";
  EXPECT_THAT(error_text<IoError>([&] { read_safetensors(folder.write("f", file_with(dtype, 0))); }),
              HasSubstr("dtype an array"));
}

TEST(Safetensors, AHugeHeaderLengthAsksForNoMemory) {
  const TempDir folder;
  for (const std::uint64_t length : {~std::uint64_t{0}, std::uint64_t{1} << 40, std::uint64_t{90'000'000}}) {
    std::string bytes(100, '{');
    std::memcpy(bytes.data(), &length, sizeof(length));
    EXPECT_THROW(read_safetensors(folder.write("f", bytes)), IoError);
  }
}

TEST(Safetensors, EveryCutIsNoticed) {
  const TempDir folder;
  write_safetensors(folder.file("whole"), sample(), false);
  const std::string whole = content_of(folder.file("whole"));
  const auto lengths = test::cuts(whole.size(), 120, 150);
  EXPECT_GE(lengths.size(), 200u);
  for (const std::size_t length : lengths)
    EXPECT_THROW(read_safetensors(folder.write("cut", whole.substr(0, length))), IoError) << length;
  EXPECT_THROW(read_safetensors(folder.write("longer", whole + '\0')), IoError);
}

TEST(Safetensors, AChangedBitNeverCrashes) {
  const TempDir folder;
  write_safetensors(folder.file("whole"), sample(), false);
  const std::string whole = content_of(folder.file("whole"));
  std::mt19937 random(3);
  int refused = 0;
  for (int i = 0; i < 3000; ++i) {
    const std::string path = folder.write("bad", test::with_flipped_bit(whole, random));
    try {
      read_safetensors(path);
    } catch (const IoError&) {
      ++refused;
    }
  }
  EXPECT_GT(refused, 1000);
}

TEST(Safetensors, AFullDiskLeavesNothing) {
  const TempDir folder;
  {
    const test::FileSizeLimit limit(100);
    EXPECT_THROW(write_safetensors(folder.file("a"), sample(), false), IoError);
  }
  EXPECT_TRUE(fs::is_empty(folder.path()));
}

TEST(Safetensors, AnExistingFileNeedsForce) {
  const TempDir folder;
  const std::string path = folder.write("a", "old");
  EXPECT_THAT(error_text<IoError>([&] { write_safetensors(path, sample(), false); }), HasSubstr("--force"));
  EXPECT_EQ(content_of(path), "old");
  write_safetensors(path, sample(), true);
  expect_equal(read_safetensors(path).tensors, sample());
}

TEST(Safetensors, ANameThatIsNotUtf8IsNotWritten) {
  const TempDir folder;
  TensorMap tensors;
  tensors["\xff"] = random_tensor(TensorType::kFloat32, {1}, 1);
  EXPECT_THROW(write_safetensors(folder.file("a"), tensors, false), IoError);
  EXPECT_TRUE(fs::is_empty(folder.path()));
}

}  // namespace
}  // namespace dnamamba::files
