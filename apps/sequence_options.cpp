#include "apps/sequence_options.h"

#include "core/engine/run_settings.h"
#include "core/engine/sequence_input.h"

namespace dnamamba::apps::cli {

void add_sequences(Description& description, SequenceOptions* options) {
  description.positional("sequences", po::value(&options->paths));
  add_input(description.group("Input"), &options->input);
}

void add_letters(po::options_description& group, SequenceOptions* options) {
  group.add_options()("invalid", choice(&options->invalid, {"error", "n", "drop"}),
                      "what to do with letters that are no IUPAC code, gaps among them")(
      "soft-mask", choice(&options->soft_mask, {"keep", "n"}),
      "lower case, as repeats are marked: keep reads it as upper case, n as N");
}

void require_sequences(const SequenceOptions& options) {
  require(!options.paths.empty(), "no input: give FASTA, FASTQ, SAM, BAM or CRAM files, or - for standard input");
}

void fill_input(const SequenceOptions& options, const engine::Compute& compute, engine::SequenceInput* job) {
  job->inputs = options.paths;
  job->reading = reading(options.input);
  job->reading.decompression_threads = 1;
  job->segment = compute.inference_segment(options.segment);
  job->invalid = tokens::parse_invalid_policy(options.invalid);
  job->soft_mask = tokens::parse_soft_mask_policy(options.soft_mask);
}

}  // namespace dnamamba::apps::cli
