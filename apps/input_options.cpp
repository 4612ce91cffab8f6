#include "apps/input_options.h"

#include <htslib/sam.h>

#include "apps/cli.h"
#include "core/base/error.h"

namespace dnamamba::apps::cli {
namespace {

constexpr int kMostFlags = 0xffff;
constexpr std::int64_t kMostMapq = 255;

std::uint16_t flags_from(const std::string& text) {
  const int flags = text.empty() ? 0 : bam_str2flag(text.c_str());
  if (flags < 0 || flags > kMostFlags)
    throw base::UsageError("--exclude-flags: '" + text + "' is neither a number nor names that `samtools flags` lists");
  return static_cast<std::uint16_t>(flags);
}

}  // namespace

void add_input(po::options_description& group, InputOptions* options) {
  group.add_options()(
      "region,r", po::value(&options->regions)->composing()->value_name("REGION"),
      "only this part: chr1 or chr1:1,000-2,000, counted from 1; may be given again. Of alignments, the "
      "reads that overlap it")("regions-file,R", po::value(&options->regions_file)->value_name("FILE"),
                               "only the parts that this BED file lists")(
      "reference", po::value(&options->reference)->value_name("FILE"),
      "the FASTA that a CRAM was written with, plain or bgzip; nothing is downloaded")(
      "min-mapq", number(&options->min_mapq, 0, kMostMapq), "leave out alignments of a lower mapping quality")(
      "exclude-flags", po::value(&options->exclude_flags)->default_value(options->exclude_flags)->value_name("FLAGS"),
      "leave out alignments with any of these, as names or a number; 0: none");
}

io::SequenceReaderOptions reading(const InputOptions& options) {
  io::SequenceReaderOptions out;
  for (const std::string& text : options.regions) out.regions.push_back(io::parse_region(text));
  if (!options.regions_file.empty())
    for (io::Region& region : io::read_bed(options.regions_file)) out.regions.push_back(std::move(region));
  require(out.regions.size() > 0 || options.regions_file.empty(), options.regions_file + " lists no region");
  out.alignments = {.exclude_flags = flags_from(options.exclude_flags),
                    .min_mapq = static_cast<int>(options.min_mapq),
                    .reference = options.reference};
  return out;
}

}  // namespace dnamamba::apps::cli
