// Models of mamba-ssm and Transformers answer here what their own code answered.
#include "core/engine/verify.h"

#include <ATen/ops/equal.h>
#include <ATen/ops/zeros.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cctype>
#include <filesystem>

#include "core/base/error.h"
#include "core/files/safetensors.h"
#include "tests/support/temp_dir.h"
#include "tests/support/throws.h"

namespace dnamamba::engine {
namespace {

namespace fs = std::filesystem;
using test::TempDir;
using ::testing::HasSubstr;

class Golden : public ::testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    if (!fs::exists(folder())) GTEST_SKIP() << folder() << " is not there: set DNAMAMBA_SHARED when CMake configures";
  }
  static fs::path folder() { return fs::path(DNAMAMBA_SHARED) / "golden" / GetParam(); }

  // A copy of the folder without some of its files.
  static fs::path copy_without(const TempDir& temporary, const std::string& left_out) {
    const fs::path copy = temporary.path() / "model";
    fs::create_directory(copy);
    for (const auto& file : fs::directory_iterator(folder()))
      if (file.path().filename() != left_out) fs::copy(file.path(), copy / file.path().filename());
    return copy;
  }
};

TEST_P(Golden, AnswersAreThoseOfTheModelsOwnCodeWhereverTheyAreCut) {
  for (const at::ScalarType dtype : {at::kFloat, at::kDouble}) {
    const model::Model model = model::load_model(folder(), dtype);
    for (const std::int64_t segment : {0, 1, 7, 50}) {
      const auto compared = compare_with_golden(model, segment);
      ASSERT_TRUE(compared.has_value());
      EXPECT_LE(compared->hidden.relative, 1e-4) << "segment " << segment;
      EXPECT_LE(compared->logits.relative, 1e-4) << "segment " << segment;
      EXPECT_GT(compared->sequences * compared->length, 50);
    }
  }
}

TEST_P(Golden, AModelWithAnotherWeightDoesNotPass) {
  model::Model model = model::load_model(folder());
  at::Tensor& weight = model.parameters.at("backbone.layers.2.mixer.out_proj.weight");
  weight = weight.mul(1.05);
  EXPECT_GT(compare_with_golden(model)->hidden.relative, 1e-4);
}

TEST_P(Golden, WeightsFromATorchFileHaveTheSameBits) {
  if (!fs::exists(folder() / "pytorch_model.bin")) GTEST_SKIP() << "no pytorch_model.bin in " << folder();
  const TempDir temporary;
  const model::Model other = model::load_model(copy_without(temporary, "model.safetensors")),
                     model = model::load_model(folder());
  ASSERT_EQ(model.parameters.size(), other.parameters.size());
  for (const auto& [name, tensor] : model.parameters) EXPECT_TRUE(at::equal(tensor, other.parameters.at(name))) << name;
}

TEST_P(Golden, AFileOfAnotherFormIsAnError) {
  const TempDir temporary;
  const fs::path copy = copy_without(temporary, "golden.safetensors");
  const model::Model model = model::load_model(copy);
  EXPECT_FALSE(compare_with_golden(model).has_value());
  const auto refusal = [&](const files::TensorMap& tensors) {
    files::write_safetensors(copy / "golden.safetensors", tensors, true);
    return test::error_text<base::Error>([&] { compare_with_golden(model); });
  };
  const files::TensorMap good = files::read_safetensors(folder() / "golden.safetensors").tensors;
  for (const char* name : {"input_ids", "last_hidden_state", "logits"}) {
    files::TensorMap tensors = good;
    tensors.erase(name);
    EXPECT_THAT(refusal(tensors), HasSubstr(name));
    tensors[name] = model::to_stored(at::zeros({3}));
    EXPECT_THAT(refusal(tensors), HasSubstr(name));
  }
  files::TensorMap tensors = good;
  tensors["input_ids"] = model::to_stored(model::to_tensor(good.at("input_ids")).add(100));
  EXPECT_THAT(refusal(tensors), HasSubstr("vocabulary"));
}

INSTANTIATE_TEST_SUITE_P(Folders, Golden,
                         ::testing::Values("mamba_ssm-mamba1", "mamba_ssm-mamba1-mlp", "hf-mamba", "mamba_ssm-mamba2",
                                           "mamba_ssm-mamba2-groups-norm-before-gate", "hf-mamba2"),
                         [](const auto& tested) {
                           std::string name = tested.param;
                           std::replace_if(
                               name.begin(), name.end(), [](char c) { return !std::isalnum(c); }, '_');
                           return name;
                         });

}  // namespace
}  // namespace dnamamba::engine
