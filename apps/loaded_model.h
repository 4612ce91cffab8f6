// The model that a command computes with, and the letters that it reads.
#pragma once
#include <boost/program_options/options_description.hpp>
#include <string>

namespace dnamamba::engine {
struct Compute;
}
namespace dnamamba::model {
struct Model;
}

namespace dnamamba::apps::cli {

struct ModelOptions {
  std::string model;  ///< add_model() puts the default here
  std::string alphabet;
};

/// -m, --model and --alphabet.
void add_model(boost::program_options::options_description& group, ModelOptions* options);

/// The model, where it is computed (which may become the CPU, for a network that GPUs don't take), with the letters
/// that it carries or that were named. @throws base::UsageError if it carries none, or more than it has ids for; what
/// model::load_model() throws.
model::Model load_model(const ModelOptions& options, engine::Compute* compute);

}  // namespace dnamamba::apps::cli
