#include "core/files/torch_state_dict.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <random>

#include "core/base/error.h"
#include "core/files/safetensors.h"
#include "core/files/torch_pickle.h"
#include "core/files/zip_writer.h"
#include "tests/support/damage.h"
#include "tests/support/python.h"
#include "tests/support/temp_dir.h"
#include "tests/support/throws.h"

namespace dnamamba::files {
namespace {

namespace fs = std::filesystem;
using namespace std::string_literals;
using base::IoError;
using test::content_of;
using test::error_text;
using test::TempDir;
using ::testing::HasSubstr;

void expect_equal(const TensorMap& a, const TensorMap& b) {
  ASSERT_EQ(a.size(), b.size());
  for (const auto& [name, tensor] : a) {
    ASSERT_EQ(b.count(name), 1u) << name;
    EXPECT_EQ(tensor.type, b.at(name).type) << name;
    EXPECT_EQ(tensor.shape, b.at(name).shape) << name;
    EXPECT_TRUE(std::ranges::equal(tensor.bytes(), b.at(name).bytes())) << name;
  }
}

// ---- pickles by hand: opcodes of protocol 2
std::string number(std::int32_t value) {
  std::string bytes(4, '\0');
  std::memcpy(bytes.data(), &value, 4);
  return "J" + bytes;
}
std::string text(const std::string& value) {
  return "X" + number(static_cast<std::int32_t>(value.size())).substr(1) + value;
}
std::string tuple(const std::vector<std::int32_t>& values) {
  std::string items = "(";
  for (const auto value : values) items += number(value);
  return items + "t";
}
const std::string kBegin = "\x80\x02"s + "ccollections\nOrderedDict\n)R(";
const std::string kEnd = "u.";
std::string storage(int elements, const std::string& type = "FloatStorage", const std::string& key = "0") {
  return "(" + text("storage") + "ctorch\n" + type + "\n" + text(key) + text("cpu") + number(elements) + "tQ";
}
std::string tensor(const std::string& of, int offset, const std::vector<int>& shape, const std::vector<int>& strides) {
  return "ctorch._utils\n_rebuild_tensor_v2\n(" + of + number(offset) + tuple(shape) + tuple(strides) + "\x89" +
         "ccollections\nOrderedDict\n)RtR";
}

std::string archive(const TempDir& folder, const std::string& pickle, const std::string& elements,
                    const std::string& order = "little") {
  const std::string path = folder.file("model.bin");
  ZipWriter zip(path, true);
  for (const auto& [name, content] : {std::pair("data.pkl"s, pickle), {"byteorder"s, order}, {"data/0"s, elements}}) {
    zip.begin_member("archive/" + name);
    zip.append(std::as_bytes(std::span(content)));
    zip.end_member();
  }
  zip.commit();
  return path;
}

// Floats 0, 1, 2 … as bytes.
std::string floats(int count) {
  std::string bytes;
  for (int i = 0; i < count; ++i) {
    const float value = static_cast<float>(i);
    bytes.append(reinterpret_cast<const char*>(&value), sizeof(value));
  }
  return bytes;
}

std::vector<float> values_of(const StoredTensor& tensor) {
  std::vector<float> values(tensor.bytes().size() / sizeof(float));
  std::memcpy(values.data(), tensor.bytes().data(), tensor.bytes().size());
  return values;
}

TEST(TorchStateDict, GoldenFilesEqualTheirSafetensors) {
  const fs::path golden = fs::path(DNAMAMBA_SHARED) / "golden";
  if (!fs::exists(golden)) GTEST_SKIP() << "no " << golden;
  int files = 0;
  for (const auto& entry : fs::recursive_directory_iterator(golden)) {
    if (entry.path().filename() != "pytorch_model.bin") continue;
    SCOPED_TRACE(entry.path());
    TensorMap ours = read_torch_state_dict(entry.path());
    TensorMap theirs = read_safetensors(entry.path().parent_path() / "model.safetensors").tensors;
    // Safetensors files hold tied tensors once.
    if (theirs.count("lm_head.weight") == 0) {
      const auto tied = ours.extract("lm_head.weight");
      if (!tied.empty()) {
        EXPECT_EQ(tied.mapped().elements, ours.at("backbone.embedding.weight").elements);
      }
    }
    expect_equal(ours, theirs);
    ++files;
  }
  EXPECT_GT(files, 0);
}

TEST(TorchStateDict, ReadsWhatTorchWrites) {
  DNAMAMBA_REQUIRE_PYTHON("torch, safetensors.torch");
  const TempDir folder;
  const auto result = test::run_python(
      R"(
import sys, torch
from safetensors.torch import save_file
torch.manual_seed(1)
base = torch.randn(6, 8)
tensors = {
    "base": base, "transposed": base.t(), "slice": base[1:5:2, 2:7:3], "row": base[2], "last": base[:, 7],
    "bf16": torch.randn(5).bfloat16(), "half": torch.randn(3, 2).half().t(), "double": torch.randn(2).double(),
    "long": torch.arange(-3, 4), "int": torch.arange(4, dtype=torch.int32), "short": torch.arange(4).short(),
    "char": torch.arange(4).char(), "byte": torch.arange(4).byte(), "bool": torch.arange(4) > 1,
    "scalar": torch.tensor(2.5), "empty": torch.zeros(0, 3), "one": torch.randn(1, 4, 1)[:, ::2],
    "parameter": torch.nn.Parameter(torch.randn(2, 3)), "parameter_view": torch.nn.Parameter(base[3:, 1:].t()),
}
tensors |= {f"many.{i}": torch.full((i,), float(i)) for i in range(300)}
torch.save(tensors, sys.argv[1])
module = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4))
module.add_module("again", module[0])
torch.save(module.state_dict(), sys.argv[3])
save_file({k: v.detach().contiguous().clone() for k, v in tensors.items()}, sys.argv[2])
save_file({k: v.detach().contiguous().clone() for k, v in module.state_dict().items()}, sys.argv[4])
torch.save({"state_dict": module.state_dict(), "step": 3}, sys.argv[5])
torch.save({"x": base[:1].expand(100, 8)}, sys.argv[6])
)",
      {folder.file("a"), folder.file("b"), folder.file("c"), folder.file("d"), folder.file("e"), folder.file("f")});
  ASSERT_EQ(result.status, 0) << result.output;
  expect_equal(read_torch_state_dict(folder.file("a")), read_safetensors(folder.file("b")).tensors);
  const TensorMap module = read_torch_state_dict(folder.file("c"));
  expect_equal(module, read_safetensors(folder.file("d")).tensors);
  EXPECT_EQ(module.at("0.weight").elements, module.at("again.weight").elements);
  EXPECT_THAT(error_text<IoError>([&] { read_torch_state_dict(folder.file("e")); }),
              HasSubstr("entry 'state_dict' is a dict"));
  EXPECT_THAT(error_text<IoError>([&] { read_torch_state_dict(folder.file("f")); }), HasSubstr("expanded"));
}

TEST(TorchStateDict, StridesAreFollowed) {
  const TempDir folder;
  const std::string pickle = kBegin + text("a") + tensor(storage(12), 0, {3, 4}, {4, 1}) + text("t") +
                             tensor(storage(12), 1, {2, 3}, {1, 4}) + text("e") +
                             tensor(storage(12), 12, {0, 3}, {3, 1}) + kEnd;
  const TensorMap tensors = read_torch_state_dict(archive(folder, pickle, floats(12)));
  EXPECT_EQ(values_of(tensors.at("a")), (std::vector<float>{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11}));
  EXPECT_EQ(values_of(tensors.at("t")), (std::vector<float>{1, 5, 9, 2, 6, 10}));
  EXPECT_EQ(tensors.at("e").bytes().size(), 0u);
}

TEST(TorchStateDict, RefusesWhatIsNotAStateDictAndSaysWhat) {
  const TempDir folder;
  const auto entry = [](const std::string& value) { return kBegin + text("a") + value + kEnd; };
  const std::string t = tensor(storage(12), 0, {12}, {1});
  // Statements, not a table: compilers take minutes for a large one of strings.
  const auto refused = [&](const std::string& pickle, const char* says) {
    EXPECT_THAT(error_text<IoError>([&] { read_torch_state_dict(archive(folder, pickle, floats(12))); }),
                HasSubstr(says));
  };
  refused("\x80\x02"s + "cos\nsystem\n" + text("true") + "\x85R.", "'os.system' is not allowed");
  refused("\x80\x02"s + "cbuiltins\neval\n.", "'builtins.eval' is not allowed");
  refused("\x80\x02"s + "ctorch\nload\n.", "'torch.load' is not allowed");
  refused("\x80\x04"s + "}.", "protocol 2");
  refused("}.", "protocol 2");
  refused("\x80\x02"s + "}\x80\x02.", "protocol 2");
  refused("\x80\x02"s + "i\x01.", "opcode 105");
  refused("\x80\x02"s + "\x93.", "opcode 147");
  refused("\x80\x02"s + "(((((", "truncated");
  refused("\x80\x02"s + "}", "truncated");
  refused("\x80\x02"s + ".", "other than one value");
  refused("\x80\x02"s + "}}.", "other than one value");
  refused("\x80\x02"s + "}.x", "bytes after the end");
  refused("\x80\x02"s + "t.", "no mark");
  refused("\x80\x02"s + "(\x86.", "more values than there are");
  refused("\x80\x02"s + "R.", "more values than there are");
  refused("\x80\x02"s + "h\x07.", "never set");
  refused("\x80\x02"s + "q\x07.", "nothing to memoise");
  refused("\x80\x02"s + "NK\x01K\x02s.", "not a dict");
  refused("\x80\x02"s + "}(K\x01u.", "without a value");
  refused("\x80\x02"s + ")Q.", "not a storage");
  refused("\x80\x02"s + "X\xff\xff\xff\xff", "truncated");
  refused("\x80\x02"s + "\x8a\x09" + "123456789.", "64 bits");
  refused("\x80\x02"s + "N.", "the whole is None");
  refused(entry("N"), "entry 'a' is None");
  refused(entry(number(3)), "entry 'a' is a number");
  refused(entry("}"), "entry 'a' is a dict");
  refused(kBegin + number(1) + t + kEnd, "a key is a number");
  refused(kBegin + text("a") + t + text("a") + t + kEnd, "there twice");
  refused(entry(tensor(storage(12), 0, {13}, {1})), "outside");
  refused(entry(tensor(storage(12), 1, {12}, {1})), "outside");
  refused(entry(tensor(storage(12), -1, {2}, {1})), "outside");
  refused(entry(tensor(storage(12), 13, {0}, {1})), "outside");
  refused(entry(tensor(storage(12), 0, {2, 2}, {11, 1})), "outside");
  refused(entry(tensor(storage(12), 0, {2}, {-1})), "negative");
  refused(entry(tensor(storage(12), 0, {-2}, {1})), "negative");
  refused(entry(tensor(storage(12), 0, {3}, {1, 1})), "differ in length");
  refused(entry(tensor(storage(12), 0, {2147483647, 2147483647, 2147483647}, {0, 0, 0})), "outside");
  refused(entry(tensor(storage(12), 0, {2147483647, 2147483647}, {0, 0})), "expanded");
  refused(entry(tensor(storage(13), 0, {12}, {1})), "has 48 bytes");
  refused(entry(tensor(storage(12, "DoubleStorage"), 0, {12}, {1})), "has 48 bytes");
  refused(entry(tensor(storage(-1), 0, {0}, {1})), "negative size");
  refused(entry(tensor(storage(12, "ComplexFloatStorage"), 0, {12}, {1})), "not allowed");
  refused(entry(tensor(storage(12, "FloatStorage", "1"), 0, {12}, {1})), "no member");
  refused(entry(tensor(storage(12, "FloatStorage", "../0"), 0, {12}, {1})), "no member");
  refused(entry(tensor("N", 0, {12}, {1})), "storage is None");
  refused(entry("ctorch._utils\n_rebuild_tensor_v2\n)R"), "6 or 7 arguments");
  refused(entry("ctorch._utils\n_rebuild_parameter\n)R"), "3 arguments");
  refused(entry("ctorch\nFloatStorage\n)R"), "a call of a class");
  refused(kBegin + text("a") + t + "u}" + text("__class__") + t + "sb.", "attribute '__class__'");
  EXPECT_THAT(error_text<IoError>([&] { read_torch_state_dict(archive(folder, entry(t), floats(12), "big")); }),
              HasSubstr("byte order 'big'"));
  EXPECT_EQ(read_torch_state_dict(archive(folder, entry(t), floats(12))).size(), 1u);
}

TEST(TorchStateDict, DeepNestingIsAnErrorAndNotACrash) {
  std::string pickle = "\x80\x02)"s;
  pickle.append(2'000'000, '\x85');
  const std::string end = pickle + ".";
  EXPECT_THROW(read_torch_pickle(std::as_bytes(std::span(end)), "deep"), IoError);
  const std::string marks = "\x80\x02"s + std::string(2'000'000, '(');
  EXPECT_THROW(read_torch_pickle(std::as_bytes(std::span(marks)), "deep"), IoError);
}

TEST(TorchStateDict, ManyStridedViewsOfOneStorageAskForBoundedMemory) {
  const TempDir folder;
  std::string pickle = kBegin;
  for (int i = 0; i < 5000; ++i) pickle += text(std::to_string(i)) + tensor(storage(40000), 0, {200, 200}, {1, 200});
  EXPECT_THAT(error_text<IoError>([&] { read_torch_state_dict(archive(folder, pickle + kEnd, floats(40000))); }),
              HasSubstr("too many strided views"));
}

std::string sample(const TempDir& folder) {
  std::string pickle = kBegin;
  for (int i = 0; i < 6; ++i)
    pickle += text("layer." + std::to_string(i)) + tensor(storage(120), 20 * i, {4, 5}, {5, 1});
  return content_of(archive(folder, pickle + kEnd, floats(120)));
}

TEST(TorchStateDict, EveryCutIsNoticed) {
  const TempDir folder;
  const std::string whole = sample(folder);
  const auto lengths = test::cuts(whole.size(), 120, 150);
  EXPECT_GE(lengths.size(), 200u);
  for (const std::size_t length : lengths)
    EXPECT_THROW(read_torch_state_dict(folder.write("cut", whole.substr(0, length))), IoError) << length;
}

TEST(TorchStateDict, AChangedBitIsNoticedOrChangesNothing) {
  const TempDir folder;
  const std::string whole = sample(folder);
  const TensorMap expected = read_torch_state_dict(folder.write("whole", whole));
  std::mt19937 random(11);
  int refused = 0;
  for (int i = 0; i < 3000; ++i) {
    const std::string path = folder.write("bad", test::with_flipped_bit(whole, random));
    try {
      expect_equal(read_torch_state_dict(path), expected);
    } catch (const IoError&) {
      ++refused;
    }
  }
  EXPECT_GT(refused, 2000);
}

TEST(TorchStateDict, AChangedPickleNeverCrashes) {
  const std::string t = tensor(storage(12), 0, {3, 4}, {4, 1});
  const std::string whole = kBegin + text("a") + t + text("b") + t + kEnd;
  std::mt19937 random(13);
  for (int i = 0; i < 20000; ++i) {
    std::string bad = test::with_flipped_bit(whole, random);
    for (unsigned more = random() % 3; more > 0; --more) bad[random() % bad.size()] = static_cast<char>(random());
    try {
      read_torch_pickle(std::as_bytes(std::span(bad)), "bad");
    } catch (const IoError&) {
    }
  }
}

TEST(TorchStateDict, AGoldenFileThatIsDamagedIsRefused) {
  const fs::path golden = fs::path(DNAMAMBA_SHARED) / "golden/mamba_ssm-mamba1/pytorch_model.bin";
  if (!fs::exists(golden)) GTEST_SKIP() << "no " << golden;
  const TempDir folder;
  const std::string whole = content_of(golden);
  const TensorMap expected = read_torch_state_dict(golden);
  for (const std::size_t length : test::cuts(whole.size(), 50, 150))
    EXPECT_THROW(read_torch_state_dict(folder.write("cut", whole.substr(0, length))), IoError) << length;
  std::mt19937 random(17);
  for (int i = 0; i < 500; ++i) {
    const std::string path = folder.write("bad", test::with_flipped_bit(whole, random));
    try {
      expect_equal(read_torch_state_dict(path), expected);
    } catch (const IoError&) {
    }
  }
}

TEST(TorchStateDict, TorchLoadReadsWhatIsWrittenHere) {
  DNAMAMBA_REQUIRE_PYTHON("torch, safetensors");
  const TempDir folder;
  TensorMap tensors;
  const std::string bytes = floats(24);
  const auto elements = std::as_bytes(std::span(bytes));
  for (const TensorType type :
       {TensorType::kFloat64, TensorType::kFloat32, TensorType::kFloat16, TensorType::kBFloat16, TensorType::kInt64,
        TensorType::kInt32, TensorType::kInt16, TensorType::kInt8, TensorType::kUint8}) {
    const std::int64_t width = element_size(type);
    tensors[name_of(type)] = make_tensor(type, {96 / width / 4, 1, 4}, {elements.begin(), elements.end()});
  }
  tensors["bool"] = make_tensor(TensorType::kBool, {3}, {std::byte{1}, std::byte{0}, std::byte{1}});
  tensors["scalar"] = make_tensor(TensorType::kFloat32, {}, {elements.begin() + 8, elements.begin() + 12});
  tensors["empty"] = make_tensor(TensorType::kFloat32, {0, 3}, {});
  tensors["tied"] = tensors["float32"];
  write_torch_state_dict(folder.file("bin"), tensors, /*force=*/false);
  expect_equal(read_torch_state_dict(folder.file("bin")), tensors);
  EXPECT_THROW(write_torch_state_dict(folder.file("bin"), tensors, /*force=*/false), IoError);

  const auto result = test::run_python(R"(
import sys, torch
from safetensors.torch import save_file
tensors = torch.load(sys.argv[1], weights_only=True)
assert tensors["tied"].data_ptr() == tensors["float32"].data_ptr()
assert tensors["scalar"].item() == 2
save_file({k: v.clone() for k, v in tensors.items()}, sys.argv[2])
)",
                                       {folder.file("bin"), folder.file("safetensors")});
  ASSERT_EQ(result.status, 0) << result.output;
  expect_equal(read_safetensors(folder.file("safetensors")).tensors, tensors);
}

}  // namespace
}  // namespace dnamamba::files
