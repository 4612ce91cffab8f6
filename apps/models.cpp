// dnamamba models: what ships, what a model is, whether it is whole and right, and copies for other programs.
#include <filesystem>
#include <iomanip>
#include <iostream>
#include <optional>
#include <string>
#include <vector>

#include "apps/commands.h"
#include "core/base/error.h"
#include "core/base/log.h"
#include "core/engine/run_settings.h"
#include "core/engine/verify.h"
#include "core/model/model_folder.h"
#include "core/model/registry.h"

namespace dnamamba::apps {
namespace {

struct ModelsCommand {
  std::string action;
  std::vector<std::string> models;
  double tolerance = 1e-4;
  std::string device = "auto", precision = "fp32";
  std::string to = "transformers";
  std::string output;
  bool force = false;
};

std::optional<ModelsCommand> parse_models(const Arguments& arguments) {
  namespace po = cli::po;
  ModelsCommand command;
  cli::Description description(
      "models", "list | show MODEL | verify MODEL... | export MODEL -o FOLDER --to FORMAT",
      "Lists the models that ship, shows one, checks it, or writes it for other programs. MODEL is a name "
      "or a folder: ours, mamba-ssm's or Transformers'.");
  description.positional("action", po::value(&command.action)->value_name("list|show|verify|export"), 1);
  description.positional("models", po::value(&command.models)->value_name("MODEL"));
  auto& verify = description.group("verify");
  verify.add_options()("tolerance",
                       po::value(&command.tolerance)->default_value(command.tolerance, "1e-4")->value_name("X"),
                       "largest |ours - golden| / (1 + |golden|) allowed, where the folder holds golden.safetensors");
  cli::add_device(verify, &command.device);
  cli::add_precision(verify, &command.precision);
  auto& output = description.group("export");
  output.add_options()("to", cli::choice(&command.to, {"transformers", "mamba-ssm", "dnamamba"}), "who will read it");
  cli::add_output(output, &command.output, &command.force, "the new folder");
  description.example("what there is", "dnamamba models list");
  description.example("names, shapes, checksums and golden answers of a folder", "dnamamba models verify my-model/");
  description.example("the same on a GPU", "dnamamba models verify my-model/ --device cuda");
  description.example("for MambaForCausalLM.from_pretrained",
                      "dnamamba models export dnamamba-tiny --to transformers -o tiny-hf");
  if (!cli::parse(arguments, description)) return std::nullopt;
  cli::require(!command.action.empty(), "say what to do: list, show, verify or export");
  const bool known =
      command.action == "list" || command.action == "show" || command.action == "verify" || command.action == "export";
  cli::require(known, "'" + command.action + "' is not one of list, show, verify, export");
  cli::require(command.tolerance >= 0, "--tolerance is a number from 0");
  cli::require(command.action == "list" || !command.models.empty(), "name a model or its folder");
  cli::require(command.action != "export" || command.models.size() == 1, "export takes one model");
  cli::require(command.action != "export" || !command.output.empty(), "name the new folder with -o");
  return command;
}

int list_models() {
  const auto names = model::shipped_models();
  if (names.empty()) throw base::Error("no models are found; looked in pretrained/ beside the program and its source");
  for (const std::string& name : names) {
    const model::Model model = model::load_model(model::pretrained_folder() / name);
    std::cout << name << (name == model::kDefaultModel ? " (default)" : "") << "\t"
              << model::count_parameters(model.config) << " parameters\t" << model::describe(model.config) << "\n";
  }
  return 0;
}

int show_model(const std::string& name) {
  const auto folder = model::find_model(name);
  const model::Model model = model::load_model(folder);
  constexpr const char* kKinds[] = {"dnamamba", "mamba-ssm", "Transformers"};
  std::cout << "folder      " << folder.string() << "\nwritten by  " << kKinds[static_cast<int>(model.kind)]
            << "\nmodel       " << model::describe(model.config) << "\nparameters  "
            << model::count_parameters(model.config) << "\nalphabet    "
            << (model.alphabet ? model.alphabet->name() : "none: embed needs --alphabet") << "\n";
  if (const auto card = folder / "README.md"; std::filesystem::exists(card))
    std::cout << "card        " << card.string() << "\n";
  std::cout << "\n";
  for (const auto& spec : model::parameter_specs(model.config)) {
    std::cout << spec.name << "\t[";
    for (std::size_t i = 0; i < spec.shape.size(); ++i) std::cout << (i == 0 ? "" : ", ") << spec.shape[i];
    std::cout << "]\n";
  }
  return 0;
}

void verify_model(const std::string& name, const ModelsCommand& command) {
  const auto folder = model::find_model(name);
  const bool checksums = model::verify_checksums(folder);
  engine::Compute compute = engine::choose_compute(command.device, command.precision);
  model::Model model = model::load_model(folder, compute.wide());  // names, shapes, finite values
  compute = engine::compute_for(model.config, compute);
  engine::place_for_inference(model, compute);
  std::cout << folder.string() << ": names and shapes are right; "
            << (checksums ? "checksums are right" : "no SHA256SUMS") << "; ";
  const auto golden = engine::compare_with_golden(model);
  if (!golden) {
    std::cout << "no golden.safetensors\n";
    return;
  }
  std::cout << std::scientific << std::setprecision(2) << "largest error of hidden states " << golden->hidden.relative
            << ", of logits " << golden->logits.relative << " on " << c10::str(compute.device) << " (tolerance "
            << command.tolerance << ", " << golden->sequences << " sequences of " << golden->length << ")\n";
  if (golden->hidden.relative > command.tolerance || golden->logits.relative > command.tolerance)
    throw base::Error(folder.string() + ": its answers differ from golden.safetensors by more than the tolerance");
}

int export_to(const ModelsCommand& command) {
  const model::Model model = model::load_model(model::find_model(command.models.front()));
  const auto kind = command.to == "transformers" ? model::FolderKind::kTransformers
                    : command.to == "mamba-ssm"  ? model::FolderKind::kMambaSsm
                                                 : model::FolderKind::kDnamamba;
  model::export_model(model, kind, command.output, command.force);
  base::log_info("the model is in " + command.output);
  return 0;
}

}  // namespace

int run_models(const Arguments& arguments) {
  const auto command = parse_models(arguments);
  if (!command) return 0;
  engine::set_threads(0);
  if (command->action == "list") return list_models();
  if (command->action == "export") return export_to(*command);
  for (const std::string& name : command->models) {
    if (command->action == "show") {
      show_model(name);
    } else {
      verify_model(name, *command);
    }
  }
  return 0;
}

}  // namespace dnamamba::apps
