// dnamamba doctor: what this program was built with, what the machine offers, and what is missing.
#include <htslib/hts.h>
#include <zstd.h>

#include <filesystem>
#include <iostream>
#include <string>
#include <vector>

#include "apps/commands.h"
#include "apps/exit_status.h"
#include "apps/machine.h"
#include "core/base/error.h"
#include "core/engine/run_settings.h"
#include "core/model/registry.h"
#include "kernels/instruction_set.h"

namespace dnamamba::apps {
namespace {

using base::concat;

struct Fact {
  std::string name;
  std::string value;
};

std::string joined(const std::vector<std::string>& words) {
  std::string out;
  for (const std::string& word : words) out += (out.empty() ? "" : " ") + word;
  return out.empty() ? "none" : out;
}

std::string gigabytes(std::int64_t bytes) {
  const std::int64_t tenths = bytes / 100'000'000;
  return concat(tenths / 10, ".", tenths % 10, " GB");
}

std::vector<Fact> facts_of_program() {
  return {{"dnamamba", DNAMAMBA_VERSION},
          {"compiler", DNAMAMBA_COMPILER},
          {"LibTorch", concat(DNAMAMBA_LIBTORCH_VERSION, " in ", folder_of_library("libtorch_cpu.so"))},
          {"htslib", hts_version()},
          {"zstd", ZSTD_versionString()}};
}

std::vector<Fact> facts_of_machine(const Machine& machine) {
  return {{"processor", machine.processor.empty() ? "unknown" : machine.processor},
          {"vector units", joined(machine.vector_features)},
          {"kernels", std::string(kernels::cpu::instruction_set())},
          {"GPU", engine::gpu_description()},
          {"threads", std::to_string(machine.threads)},
          {"memory", concat(gigabytes(machine.memory), ", ", gigabytes(machine.available_memory), " available",
                            machine.memory_limit ? concat(", limited to ", gigabytes(*machine.memory_limit)) : "")}};
}

std::vector<Fact> facts_of_models() {
  const std::string folder = model::pretrained_folder().string();
  if (folder.empty()) return {{"models", "none"}};
  return {{"models", concat(joined(model::shipped_models()), " in ", folder)}};
}

std::vector<std::string> missing_things() {
  std::vector<std::string> missing;
  if (model::pretrained_folder().empty())
    missing.emplace_back("no folder of models that ship with the program: set DNAMAMBA_PRETRAINED, or give -m FOLDER");
  else if (model::shipped_models().empty())
    missing.emplace_back("no model in " + model::pretrained_folder().string());
  return missing;
}

void print(const std::vector<Fact>& facts) {
  for (const Fact& fact : facts) {
    std::string name = fact.name;
    name.resize(14, ' ');
    std::cout << name << fact.value << "\n";
  }
}

}  // namespace

int run_doctor(const Arguments& arguments) {
  cli::Description description(
      "doctor", "[options]",
      "Says which versions this program is made of, what the machine offers it, and which models it finds. "
      "Fails if something that the other commands need is missing.");
  description.example("what to put into a report of a problem", "dnamamba doctor");
  if (!cli::parse(arguments, description)) return kDone;
  print(facts_of_program());
  print(facts_of_machine(this_machine()));
  print(facts_of_models());
  const std::vector<std::string> missing = missing_things();
  for (const std::string& thing : missing) std::cout << "missing       " << thing << "\n";
  return missing.empty() ? kDone : kFailed;
}

}  // namespace dnamamba::apps
