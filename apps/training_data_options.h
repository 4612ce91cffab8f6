// What `pretrain` trains and validates on, and how it draws from that: its options for data.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "apps/cli.h"

namespace dnamamba::train {
struct DataOptions;
}

namespace dnamamba::apps::cli {

/// What is said in words, and becomes part of the train::DataOptions later. The defaults here, and there, are the
/// defaults of the command line.
struct TrainingDataWords {
  std::vector<std::string> weights;  ///< FILE=X
  std::string sample_by = "length";
  std::string context = "1024";
  bool one_strand = false;
  std::vector<std::string> hold_out;  ///< regions
  std::string hold_out_bed;
  std::string invalid = "error";
  std::int64_t seed = 1;
};

/// SEQUENCES, and options in the groups "Data" and "Validation".
void add_training_data(Description& description, train::DataOptions* data, TrainingDataWords* words);

/// Checks what was given and puts the words into `data`.
/// @throws base::UsageError for what contradicts itself or is no number, region or weight; base::IoError for a bad BED
/// file.
void fill_training_data(const TrainingDataWords& words, train::DataOptions* data);

}  // namespace dnamamba::apps::cli
