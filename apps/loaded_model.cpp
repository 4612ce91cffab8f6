#include "apps/loaded_model.h"

#include "apps/cli.h"
#include "core/base/error.h"
#include "core/engine/run_settings.h"
#include "core/model/model_folder.h"
#include "core/model/registry.h"

namespace dnamamba::apps::cli {

void add_model(po::options_description& group, ModelOptions* options) {
  options->model = model::kDefaultModel;
  group.add_options()("model,m", po::value(&options->model)->default_value(options->model)->value_name("MODEL"),
                      "a model that ships, by name, or a folder: ours, mamba-ssm's or Transformers'")(
      "alphabet", po::value(&options->alphabet)->value_name("dnamamba|caduceus|hyenadna|plantcad|FILE"),
      "letters of a model that carries none, by name or as an alphabet.json");
}

model::Model load_model(const ModelOptions& options, engine::Compute* compute) {
  model::Model loaded = model::load_model(model::find_model(options.model), compute->wide());
  *compute = engine::compute_for(loaded.config, *compute);
  engine::place_for_inference(loaded, *compute);
  if (!options.alphabet.empty()) loaded.alphabet = tokens::Alphabet::named_or_file(options.alphabet);
  if (!loaded.alphabet)
    throw base::UsageError("the model " + options.model +
                           " carries no alphabet; say which letters it was trained on with --alphabet");
  if (loaded.alphabet->vocabulary() > loaded.config.vocabulary)
    throw base::UsageError(base::concat("the alphabet has ", loaded.alphabet->vocabulary(), " ids, the model only ",
                                        loaded.config.vocabulary));
  return loaded;
}

}  // namespace dnamamba::apps::cli
