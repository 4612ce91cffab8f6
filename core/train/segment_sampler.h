// Random segments of sequences: the same (seed, step, place in the batch) gives the same segment, whether the sequences
// are in memory or in a store.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "core/tokens/alphabet.h"
#include "core/train/data_options.h"
#include "core/train/hold_out.h"
#include "core/train/training_file.h"

namespace dnamamba::train {

class SegmentSampler {
 public:
  struct Options {
    std::int64_t context = 1024;  ///< inputs of a segment; shorter pieces come whole; 0: all pieces do
    SampleBy by = SampleBy::kLength;
    std::vector<double> weights = {};  ///< of the files, times their chance; empty: 1 each
    bool reverse_complement = true;    ///< either strand with the same chance
    std::uint64_t seed = 0;
  };
  /// Refers to `files`. Segments lie inside the training pieces of `divided`, one for each file.
  /// @throws base::Error if none has 2 tokens.
  SegmentSampler(const TrainingFiles& files, const std::vector<DividedFile>& divided, const tokens::Alphabet& alphabet,
                 const Options& options);

  /// At most context + 1 tokens: file, then sequence, then a place where a segment can begin, then strand.
  [[nodiscard]] Segment draw(std::int64_t step, std::int64_t place) const;
  /// Where that segment is: "genome.fa: chr1:1-1025, reverse strand", counted from 1.
  [[nodiscard]] std::string origin(std::int64_t step, std::int64_t place) const;

 private:
  struct Table {
    std::vector<Piece> pieces;           // of at least 2 tokens
    std::vector<std::int64_t> ends;      // cumulated places of the pieces
    std::vector<std::size_t> sequences;  // where each sequence's pieces begin, and their number
  };
  struct Drawn {
    std::size_t file;
    std::int64_t sequence, begin, count;
    bool other_strand;
  };
  [[nodiscard]] Drawn choose(std::int64_t step, std::int64_t place) const;
  [[nodiscard]] std::int64_t places_in(const Piece& piece) const;
  [[nodiscard]] Table table_of(const std::vector<Piece>& pieces) const;

  const TrainingFiles& files_;
  tokens::Alphabet alphabet_;
  Options options_;
  std::vector<double> file_ends_;  // cumulated chances, the last is 1
  std::vector<Table> tables_;      // of the files
};

}  // namespace dnamamba::train
