// What a training run takes its data from, and how: which files, how they are drawn from, what is held out.
#pragma once
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "core/io/region.h"
#include "core/tokens/tokenizer.h"

namespace dnamamba::train {

/// A file's chance: by how many segments begin in it, or the same for all files; then a sequence of the file: by how
/// many segments begin in it, or (kSequence) the same for all.
enum class SampleBy { kLength, kFile, kSequence };
/// "length", "file" or "sequence".
std::string_view name_of(SampleBy by);

struct HoldOutOptions {
  std::vector<io::Region> regions = {};  ///< in every file that has a record of the name
  double fraction = 0;                   ///< of all blocks, 0 … 1
  std::int64_t block = 100'000;          ///< bases; a sequence's last may be shorter
};

struct DataOptions {
  std::vector<std::string> inputs;         ///< sequence files and token stores
  std::vector<std::string> validation;     ///< the same; never trained on
  std::map<std::string, double> weights;   ///< of files by their name, times their chance; 1 if not there
  SampleBy sample_by = SampleBy::kLength;  ///< what a file's and a sequence's chance is
  std::int64_t context = 1024;             ///< bases a training sequence has before its last target; 0: all
  std::int64_t context_start = 0;          ///< the first steps' context; 0: as the others'
  double context_warmup = 0.25;            ///< part of the steps in which it doubles up to `context`
  std::int64_t batch = 65'536;             ///< tokens of a step
  bool reverse_complement = true;          ///< either strand with the same chance
  double soft_mask_weight = 1;             ///< of a soft-masked base in the loss
  HoldOutOptions hold_out;
  std::uint64_t seed = 1;
  tokens::InvalidPolicy invalid = tokens::InvalidPolicy::kError;
};

/// Inputs of a segment at `step` of `steps`; 0: whole pieces. From context_start on it doubles after equal numbers of
/// steps; where `options.context` is 0, until `longest`, the longest piece's, is reached.
std::int64_t context_at(const DataOptions& options, std::int64_t longest, std::int64_t steps, std::int64_t step);

}  // namespace dnamamba::train
