// Models in folders: what was saved comes back bit for bit; what is missing, unknown, misshapen or not finite is an
// error.
#include <ATen/core/grad_mode.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/zeros.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "core/base/error.h"
#include "core/files/safetensors.h"
#include "core/model/backbone.h"
#include "core/model/model_folder.h"
#include "core/model/registry.h"
#include "tests/support/models.h"
#include "tests/support/temp_dir.h"
#include "tests/support/throws.h"

namespace dnamamba::model {
namespace {

using test::content_of;
using test::error_text;
using test::RandomTensors;
using test::TempDir;
using ::testing::AllOf;
using ::testing::HasSubstr;

Model some_model(const ModelConfig& config, std::uint64_t seed = 1) {
  Model model;
  model.config = config;
  model.parameters = test::random_parameters(config, seed, at::kFloat);
  model.alphabet = tokens::Alphabet::built_in("dnamamba");
  return model;
}

void expect_same_bits(const Parameters& one, const Parameters& other) {
  ASSERT_EQ(one.size(), other.size());
  for (const auto& [name, tensor] : one) EXPECT_TRUE(at::equal(tensor, other.at(name))) << name;
}

at::Tensor answer_of(const Model& model) {
  const at::NoGradGuard no_graph;
  RandomTensors random(8);
  return Backbone(model.config, model.parameters)
      .advance({.tokens = random.ids(50, 16), .offsets = std::nullopt})
      .hidden;
}

TEST(AModelFolder, GivesBackWhatWasSavedBitForBit) {
  const TempDir folder;
  for (std::uint64_t seed = 0; seed < 8; ++seed) {
    RandomTensors random(seed);
    const auto mixer = seed % 2 == 0 ? test::Mixer::kMamba1 : test::Mixer::kMamba2;
    const Model model = some_model(test::random_config(random, 30, mixer), seed);
    const std::string path = folder.file("model" + std::to_string(seed));
    save_model(model, path, "# A card\n", false);
    const Model loaded = load_model(path);
    EXPECT_EQ(loaded.kind, FolderKind::kDnamamba);
    EXPECT_EQ(loaded.config, model.config);
    EXPECT_EQ(loaded.alphabet, model.alphabet);
    expect_same_bits(loaded.parameters, model.parameters);
    EXPECT_EQ(content_of(path + "/README.md"), "# A card\n");
    EXPECT_TRUE(verify_checksums(path));
    EXPECT_EQ(load_model(path, at::kDouble).parameters.at("backbone.norm_f.weight").scalar_type(), at::kDouble);
  }
}

TEST(AModelFolder, HasTheSameBytesWhenTheSameModelIsSavedAgain) {
  const TempDir folder;
  const Model model = some_model(mamba1_config(16, 2));
  save_model(model, folder.file("a"), "card", false);
  save_model(load_model(folder.file("a")), folder.file("b"), "card", false);
  for (const char* name : {"config.json", "model.safetensors", "alphabet.json", "README.md", "SHA256SUMS"})
    EXPECT_EQ(content_of(folder.file("a") + "/" + name), content_of(folder.file("b") + "/" + name)) << name;
}

TEST(AModelFolder, IsNotReplacedUnlessForced) {
  const TempDir folder;
  const Model one = some_model(mamba1_config(16, 1), 1), two = some_model(mamba1_config(16, 1), 2);
  save_model(one, folder.file("m"), "", false);
  EXPECT_THROW(save_model(two, folder.file("m"), "", false), base::IoError);
  expect_same_bits(load_model(folder.file("m")).parameters, one.parameters);
  save_model(two, folder.file("m"), "", true);
  expect_same_bits(load_model(folder.file("m")).parameters, two.parameters);
}

TEST(AnExportedFolder, LoadsBackToTheSameBitsAndAnswers) {
  const TempDir folder;
  for (ModelConfig config : {mamba1_config(32, 2), mamba2_config(32, 2, 8, 2, 16)})
    for (const bool tied : {true, false})
      for (const FolderKind kind : {FolderKind::kMambaSsm, FolderKind::kTransformers}) {
        config.vocabulary = 20;
        config.tie_embeddings = tied;
        const Model model = some_model(config);
        const std::string path = folder.file("m");
        export_model(model, kind, path, true);
        const Model loaded = load_model(path);
        EXPECT_EQ(loaded.kind, kind);
        expect_same_bits(loaded.parameters, model.parameters);
        EXPECT_TRUE(at::equal(answer_of(loaded), answer_of(model)));
        if (kind == FolderKind::kTransformers) {  // mamba-ssm reads its names from pytorch_model.bin
          const auto stored = files::read_safetensors(path + "/model.safetensors");
          EXPECT_EQ(stored.tensors.count("backbone.embeddings.weight"), 1U);
        }
      }
}

TEST(AnExportedFolder, OfMambaSsmMayHaveAnMlpAndLayerNorm) {
  const TempDir folder;
  ModelConfig config = mamba1_config(32, 2);
  config.final_norm = NormKind::kLayer;
  for (LayerConfig& layer : config.layers) {
    layer.mlp = MlpConfig{128};
    layer.norm = NormKind::kLayer;
  }
  const Model model = some_model(config);
  export_model(model, FolderKind::kMambaSsm, folder.file("m"), false);
  expect_same_bits(load_model(folder.file("m")).parameters, model.parameters);
  EXPECT_THROW(export_model(model, FolderKind::kTransformers, folder.file("t"), false), base::Error);
  EXPECT_FALSE(std::filesystem::exists(folder.file("t")));
}

// The error of a folder whose tensors were changed.
class DamagedModel : public ::testing::Test {
 protected:
  template <typename Change>
  std::string error_after(Change change, bool tied = true) {
    const std::string path = folder_.file("m");
    std::filesystem::remove_all(path);
    ModelConfig config = mamba1_config(16, 1);
    config.tie_embeddings = tied;
    save_model(some_model(config), path, "", false);
    files::TensorMap tensors = files::read_safetensors(path + "/model.safetensors").tensors;
    change(tensors);
    files::write_safetensors(path + "/model.safetensors", tensors, true);
    return error_text<base::Error>([&] { load_model(path); });
  }
  TempDir folder_;
};

const std::string kAny = "backbone.layers.0.mixer.A_log", kEmbedding = "backbone.embedding.weight",
                  kHead = "lm_head.weight";

TEST_F(DamagedModel, EveryTensorThatIsMissingIsNamed) {
  for (const ParameterSpec& spec : parameter_specs(mamba1_config(16, 1)))
    EXPECT_THAT(error_after([&](auto& tensors) { tensors.erase(spec.name); }),
                AllOf(HasSubstr("model.safetensors"), HasSubstr(spec.name + " is missing")));
  EXPECT_THAT(error_after([](auto& tensors) { tensors.erase(kHead); }, false), HasSubstr(kHead + " is missing"));
}

TEST_F(DamagedModel, ATensorThatIsUnknownMisshapenOrNotFiniteIsNamed) {
  EXPECT_THAT(error_after([](auto& t) { t["backbone.layers.1.norm.weight"] = to_stored(at::zeros({16})); }),
              HasSubstr("backbone.layers.1.norm.weight is unknown"));
  EXPECT_THAT(error_after([](auto& t) {
                t[kAny] = to_stored(at::zeros({32, 15}));
              }),
              AllOf(HasSubstr(kAny), HasSubstr("[32, 15]"), HasSubstr("[32, 16]")));
  EXPECT_THAT(error_after([](auto& t) {
                t[kAny] = to_stored(at::zeros({32, 16}, at::kLong));
              }),
              HasSubstr(kAny + " is not floating point"));
  for (const double bad : {std::numeric_limits<double>::quiet_NaN(), std::numeric_limits<double>::infinity()})
    EXPECT_THAT(error_after([&](auto& t) {
                  at::Tensor values = at::zeros({32, 16});
                  values[31][15].fill_(bad);
                  t[kAny] = to_stored(values);
                }),
                HasSubstr(kAny + " holds a NaN or an infinity"));
}

TEST_F(DamagedModel, ATiedHeadMustBeTheEmbedding) {
  EXPECT_THAT(error_after([](auto& t) { t[kHead] = to_stored(to_tensor(t.at(kEmbedding)).add(1e-3)); }),
              HasSubstr(kHead));
  const std::string path = folder_.file("m");
  files::TensorMap tensors = files::read_safetensors(path + "/model.safetensors").tensors;
  tensors[kHead] = tensors.at(kEmbedding);
  files::write_safetensors(path + "/model.safetensors", tensors, true);
  EXPECT_EQ(load_model(path).parameters.count(kHead), 0U);
}

TEST_F(DamagedModel, TheEmbeddingMayBeThereUnderOneNameOnly) {
  EXPECT_THAT(error_after([](auto& t) {
                t["backbone.embeddings.weight"] = to_stored(at::zeros({16, 16}));
              }),
              HasSubstr("backbone.embeddings.weight"));
}

TEST_F(DamagedModel, IsNoticedByItsChecksums) {
  error_after([](auto& tensors) { tensors.erase(kAny); });
  EXPECT_THAT(error_text<base::Error>([&] { verify_checksums(folder_.file("m")); }), HasSubstr("model.safetensors"));
}

TEST(AModelFolder, WithoutConfigOrWeightsIsAnErrorThatSaysWhatIsMissing) {
  const TempDir folder;
  EXPECT_THAT(error_text<base::IoError>([&] { load_model(folder.path()); }), HasSubstr("config.json"));
  folder.write("config.json", "{");
  EXPECT_THAT(error_text<base::IoError>([&] { load_model(folder.path()); }), HasSubstr("not JSON"));
  folder.write("config.json", config_to_json(mamba1_config(16, 1)).dump());
  EXPECT_THAT(error_text<base::IoError>([&] { load_model(folder.path()); }), HasSubstr("pytorch_model.bin"));
}

TEST(AModelFolder, WithMoreLettersThanTheModelHasIdsIsAnError) {
  const TempDir folder;
  ModelConfig config = mamba1_config(16, 1);
  config.vocabulary = 8;
  save_model(some_model(config), folder.file("m"), "", false);
  EXPECT_THAT(error_text<base::Error>([&] { load_model(folder.file("m")); }), HasSubstr("alphabet.json"));
}

TEST(FindModel, TakesAFolderAsItIsAndNamesWhatShipsOtherwise) {
  const TempDir folder;
  EXPECT_EQ(find_model(folder.path().string()), folder.path());
  EXPECT_THAT(error_text<base::Error>([] { find_model("no-such-model"); }), HasSubstr("no-such-model"));
}

}  // namespace
}  // namespace dnamamba::model
