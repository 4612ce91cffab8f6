// Training sequences in memory, and random segments of them: the same (seed, step, place in the batch) gives the same
// segment.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "core/tokens/tokenizer.h"

namespace dnamamba::train {

struct TrainingSequence {
  std::string name;
  std::vector<std::uint8_t> tokens;
};

/// The records of one file; what is drawn together.
struct TrainingFile {
  std::string path;
  std::vector<TrainingSequence> sequences;

  [[nodiscard]] std::int64_t tokens() const;
};

/// Reads a whole FASTA or FASTQ file of any compression. @throws base::IoError.
TrainingFile read_training_file(const std::string& path, const tokens::Tokenizer& tokenizer);

enum class SampleBy { kLength, kFile };  ///< a file's chance: its length, or the same for all

class SegmentSampler {
 public:
  struct Options {
    std::int64_t context = 1024;  ///< inputs of a segment; shorter sequences come whole
    SampleBy by = SampleBy::kLength;
    bool reverse_complement = true;  ///< either strand with the same chance
    std::uint64_t seed = 0;
  };
  /// Refers to `files`. @throws base::Error if no sequence has 2 tokens.
  SegmentSampler(const std::vector<TrainingFile>& files, const tokens::Alphabet& alphabet, const Options& options);

  /// At most context + 1 tokens: file, then sequence by the number of its segments, then position, all uniform.
  [[nodiscard]] std::vector<std::uint8_t> draw(std::int64_t step, std::int64_t place) const;

 private:
  [[nodiscard]] std::int64_t places_in(const TrainingSequence& sequence) const;

  const std::vector<TrainingFile>& files_;
  tokens::Alphabet alphabet_;
  Options options_;
  std::vector<double> file_ends_;                         // cumulated chances, the last is 1
  std::vector<std::vector<std::int64_t>> sequence_ends_;  // per file, cumulated places
};

}  // namespace dnamamba::train
