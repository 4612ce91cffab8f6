// The sequences that a model reads, and how it reads them: options of every command that goes through records.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "apps/cli.h"
#include "apps/input_options.h"

namespace dnamamba::engine {
struct Compute;
struct SequenceInput;
}  // namespace dnamamba::engine

namespace dnamamba::apps::cli {

/// The defaults here are the defaults of the command line.
struct SequenceOptions {
  std::vector<std::string> paths;
  InputOptions input;
  std::string invalid = "error";
  std::string soft_mask = "keep";
  std::int64_t segment = 0;  ///< 0: what suits the device
};

/// SEQUENCES and the group "Input".
void add_sequences(Description& description, SequenceOptions* options);
/// --invalid and --soft-mask.
void add_letters(po::options_description& group, SequenceOptions* options);

/// @throws base::UsageError if nothing is to be read.
void require_sequences(const SequenceOptions& options);
/// Into the job: what was asked for. @throws what reading() throws.
void fill_input(const SequenceOptions& options, const engine::Compute& compute, engine::SequenceInput* job);

}  // namespace dnamamba::apps::cli
