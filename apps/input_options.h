// Which sequences of the inputs are read: options that every command with sequence input has.
#pragma once
#include <boost/program_options/options_description.hpp>
#include <cstdint>
#include <string>
#include <vector>

#include "core/io/sequence_reader.h"

namespace dnamamba::apps::cli {

struct InputOptions {
  std::vector<std::string> regions;
  std::string regions_file;
  std::string reference;
  std::int64_t min_mapq = 0;
  std::string exclude_flags = "SECONDARY,QCFAIL,DUP,SUPPLEMENTARY";
};

/// -r, -R, --reference, --min-mapq and --exclude-flags.
void add_input(boost::program_options::options_description& group, InputOptions* options);

/// @throws base::UsageError for what is no region or flag; base::IoError for a bad BED file.
io::SequenceReaderOptions reading(const InputOptions& options);

}  // namespace dnamamba::apps::cli
