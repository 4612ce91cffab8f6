// dnamamba models: folders of other programs are checked here, and folders of ours are read there.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "tests/cli/tiny_model.h"
#include "tests/support/python.h"
#include "tests/support/throws.h"

namespace dnamamba::test {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

const fs::path kGolden = fs::path(DNAMAMBA_SHARED) / "golden";

class ModelsCommand : public ::testing::Test {
 protected:
  std::string copy_of(const fs::path& folder) const {
    fs::copy(folder, folder_.path() / "copy", fs::copy_options::recursive);
    return folder_.file("copy");
  }
  const TempDir folder_;
};

class GoldenFolder : public ModelsCommand, public ::testing::WithParamInterface<const char*> {};

TEST_P(GoldenFolder, VerifiesAndFailsPastTheTolerance) {
  const fs::path folder = kGolden / GetParam();
  if (!fs::exists(folder)) GTEST_SKIP() << folder << " is not there: set DNAMAMBA_SHARED when CMake configures";
  const ProgramResult good = dnamamba({"models", "verify", folder});
  EXPECT_EQ(good.status, 0) << good.err;
  EXPECT_THAT(good.out, AllOf(HasSubstr("names and shapes are right"), HasSubstr("largest error of hidden states ")));
  const ProgramResult strict = dnamamba({"models", "verify", folder, "--tolerance", "1e-12"});
  EXPECT_EQ(strict.status, 1);
  EXPECT_THAT(strict.err, HasSubstr("more than the tolerance"));
}

INSTANTIATE_TEST_SUITE_P(Of, GoldenFolder,
                         ::testing::Values("mamba_ssm-mamba1", "mamba_ssm-mamba1-mlp", "hf-mamba", "mamba_ssm-mamba2",
                                           "mamba_ssm-mamba2-groups-norm-before-gate", "hf-mamba2"),
                         [](const auto& tested) {
                           std::string name = tested.param;
                           for (char& c : name)
                             if (c == '-') c = '_';
                           return name;
                         });

TEST_F(ModelsCommand, VerifyFindsADamagedFile) {
  const std::string copy = copy_of(tiny_model());
  EXPECT_EQ(dnamamba({"models", "verify", copy}).status, 0);
  std::string weights = content_of(copy + "/model.safetensors");
  weights[weights.size() - 2] ^= 1;
  folder_.write("copy/model.safetensors", weights);
  const ProgramResult damaged = dnamamba({"models", "verify", copy});
  EXPECT_EQ(damaged.status, 1);
  EXPECT_THAT(damaged.err, AllOf(HasSubstr("model.safetensors"), HasSubstr("checksum")));
}

TEST_F(ModelsCommand, VerifyRefusesATensorTooFewOrTooMany) {
  DNAMAMBA_REQUIRE_PYTHON("numpy, safetensors");
  const std::string copy = copy_of(tiny_model());
  fs::remove(copy + "/SHA256SUMS");
  const auto edit = [&](const std::string& line) {
    const auto result = run_python(
        "import sys, numpy as np\nfrom safetensors.numpy import load_file, save_file\n"
        "t = load_file(sys.argv[1])\n" +
            line + "\nsave_file(t, sys.argv[2])\n",
        {tiny_model() + "/model.safetensors", copy + "/model.safetensors"});
    ASSERT_EQ(result.status, 0) << result.output;
  };
  edit("del t['backbone.layers.1.mixer.D']");
  EXPECT_THAT(dnamamba({"models", "verify", copy}).err, HasSubstr("backbone.layers.1.mixer.D"));
  edit("t['backbone.layers.2.norm.weight'] = np.ones(32, np.float32)");
  EXPECT_THAT(dnamamba({"models", "verify", copy}).err, HasSubstr("backbone.layers.2.norm.weight"));
  edit("t['backbone.norm_f.weight'] = np.ones(31, np.float32)");
  EXPECT_THAT(dnamamba({"models", "verify", copy}).err, HasSubstr("backbone.norm_f.weight"));
  EXPECT_EQ(dnamamba({"models", "verify", copy}).status, 1);
}

TEST_F(ModelsCommand, ShowSaysWhatAModelIs) {
  const ProgramResult result = dnamamba({"models", "show", tiny_model()});
  EXPECT_EQ(result.status, 0);
  EXPECT_THAT(result.out, AllOf(HasSubstr("written by  dnamamba"), HasSubstr("Mamba-1, 2 layers of 32"),
                                HasSubstr("alphabet    dnamamba"), HasSubstr("backbone.norm_f.weight\t[32]")));
  EXPECT_THAT(dnamamba({"models", "show", tiny_model("mamba2")}).out,
              AllOf(HasSubstr("Mamba-2, 2 layers of 32, 64 channels, 4 heads of 16, 128 states"),
                    HasSubstr("backbone.layers.1.mixer.norm.weight\t[64]")));
  EXPECT_THAT(result.err, IsEmpty());
}

TEST_F(ModelsCommand, RefusesWrongUsageAndUnknownModels) {
  EXPECT_EQ(dnamamba({"models"}).status, 2);
  EXPECT_EQ(dnamamba({"models", "verfy", tiny_model()}).status, 2);
  EXPECT_EQ(dnamamba({"models", "show"}).status, 2);
  EXPECT_EQ(dnamamba({"models", "export", tiny_model()}).status, 2);
  EXPECT_EQ(dnamamba({"models", "export", tiny_model(), "-o", folder_.file("x"), "--to", "onnx"}).status, 2);
  EXPECT_EQ(dnamamba({"models", "verify", tiny_model(), "--tolerance", "nan"}).status, 2);
  const ProgramResult unknown = dnamamba({"models", "show", "no-such-model"});
  EXPECT_EQ(unknown.status, 1);
  EXPECT_THAT(unknown.err, HasSubstr("no-such-model"));
  const ProgramResult there = dnamamba({"models", "export", tiny_model(), "-o", folder_.path()});
  EXPECT_EQ(there.status, 1);
  EXPECT_THAT(there.err, HasSubstr("--force"));
}

class ModelOfMixer : public ModelsCommand, public ::testing::WithParamInterface<const char*> {};

// The answers of Transformers to random ids become the golden file of our own folder.
TEST_P(ModelOfMixer, IsReadByTransformersAfterAnExportAndAnswersTheSame) {
  DNAMAMBA_REQUIRE_PYTHON("torch, transformers, safetensors");
  const std::string ours = copy_of(tiny_model(GetParam()));
  const std::string exported = folder_.file("exported");
  ASSERT_EQ(dnamamba({"models", "export", ours, "--to", "transformers", "-o", exported}).status, 0);
  const auto result = run_python(R"(
import sys, torch
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM
model, said = AutoModelForCausalLM.from_pretrained(sys.argv[1], output_loading_info=True)
assert not any(said.values()), said
torch.manual_seed(1)
ids = torch.randint(0, 16, (3, 80))
with torch.no_grad():
    save_file({"input_ids": ids, "logits": model.eval()(ids).logits.contiguous(),
               "last_hidden_state": model.backbone(ids).last_hidden_state.contiguous()}, sys.argv[2])
)",
                                 {exported, ours + "/golden.safetensors"});
  ASSERT_EQ(result.status, 0) << result.output;
  const ProgramResult verified = dnamamba({"models", "verify", ours, "--tolerance", "1e-5"});
  EXPECT_EQ(verified.status, 0) << verified.out << verified.err;
  EXPECT_THAT(verified.out, HasSubstr("3 sequences of 80"));
  fs::copy(ours + "/golden.safetensors", exported);
  EXPECT_EQ(dnamamba({"models", "verify", exported, "--tolerance", "1e-5"}).status, 0);
}

TEST_P(ModelOfMixer, IsReadByTorchLoadAfterAnExportForMambaSsmAndSoByUs) {
  DNAMAMBA_REQUIRE_PYTHON("torch, safetensors");
  const std::string ours = tiny_model(GetParam());
  const std::string exported = folder_.file("exported");
  ASSERT_EQ(dnamamba({"models", "export", ours, "--to", "mamba-ssm", "-o", exported}).status, 0);
  const auto result = run_python(R"(
import sys, torch
from safetensors.torch import load_file
theirs = torch.load(sys.argv[1], weights_only=True)
ours = load_file(sys.argv[2])
ours["lm_head.weight"] = ours["backbone.embedding.weight"]
assert theirs.keys() == ours.keys(), theirs.keys() ^ ours.keys()
for name in ours: assert theirs[name].dtype == torch.float32 and torch.equal(theirs[name], ours[name]), name
)",
                                 {exported + "/pytorch_model.bin", ours + "/model.safetensors"});
  EXPECT_EQ(result.status, 0) << result.output;
  const ProgramResult verified = dnamamba({"models", "verify", exported});
  EXPECT_EQ(verified.status, 0) << verified.err;
  const std::string back = folder_.file("back");
  ASSERT_EQ(dnamamba({"models", "export", exported, "--to", "dnamamba", "-o", back}).status, 0);
  for (const char* file : {"/model.safetensors", "/config.json", "/alphabet.json"})
    EXPECT_EQ(content_of(back + file), content_of(ours + file)) << file;
}

INSTANTIATE_TEST_SUITE_P(Kinds, ModelOfMixer, ::testing::Values("mamba1", "mamba2"),
                         [](const auto& tested) { return std::string(tested.param); });

}  // namespace
}  // namespace dnamamba::test
