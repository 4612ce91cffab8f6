// Where training and validation take sequences from: files tokenised into memory, and token stores.
#pragma once
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "core/tokens/token_store.h"
#include "core/tokens/tokenizer.h"
#include "core/tokens/windows.h"

namespace dnamamba::train {

/// A part of a sequence.
struct Segment {
  std::vector<std::uint8_t> tokens;
  std::vector<std::uint8_t> soft_masked;  ///< as many: 1 where the letter was lower case

  bool operator==(const Segment&) const = default;
};

/// The sequences of one file; what is drawn together. Any number of threads may read.
class TrainingFile {
 public:
  /// `names`: what the file is called on the command line, and where it was packed.
  TrainingFile(std::string path, std::vector<std::string> names);
  virtual ~TrainingFile() = default;
  TrainingFile(const TrainingFile&) = delete;
  TrainingFile& operator=(const TrainingFile&) = delete;

  /// For messages and reports.
  [[nodiscard]] const std::string& path() const { return path_; }
  [[nodiscard]] bool is_called(std::string_view name) const;
  [[nodiscard]] std::int64_t tokens() const;

  [[nodiscard]] virtual std::int64_t sequences() const = 0;
  [[nodiscard]] virtual std::string_view name(std::int64_t sequence) const = 0;
  [[nodiscard]] virtual std::int64_t length(std::int64_t sequence) const = 0;
  /// Tokens [begin, begin + count) of a sequence. @throws base::IoError if a store is damaged there.
  [[nodiscard]] virtual Segment read(std::int64_t sequence, std::int64_t begin, std::int64_t count) const = 0;

 private:
  std::string path_;
  std::vector<std::string> names_;
};

using TrainingFiles = std::vector<std::shared_ptr<const TrainingFile>>;

struct TrainingSequence {
  std::string name;
  std::vector<std::uint8_t> tokens;
  std::vector<tokens::Range> soft_masked = {};  ///< by their begin; they don't overlap
};

class SequencesInMemory : public TrainingFile {
 public:
  SequencesInMemory(std::string path, std::vector<TrainingSequence> sequences);

  [[nodiscard]] std::int64_t sequences() const override { return static_cast<std::int64_t>(sequences_.size()); }
  [[nodiscard]] std::string_view name(std::int64_t sequence) const override { return sequences_[sequence].name; }
  [[nodiscard]] std::int64_t length(std::int64_t sequence) const override {
    return static_cast<std::int64_t>(sequences_[sequence].tokens.size());
  }
  [[nodiscard]] Segment read(std::int64_t sequence, std::int64_t begin, std::int64_t count) const override;

 private:
  std::vector<TrainingSequence> sequences_;
};

/// What `path` holds: a token store's sources, each a file of its own, read when they are needed; else the records of
/// a sequence file of any format, tokenised into memory.
/// @throws base::IoError; base::Error if a store has other letters than the tokenizer.
TrainingFiles open_training_files(const std::string& path, const tokens::Tokenizer& tokenizer);
/// Of all of these.
TrainingFiles open_training_files(const std::vector<std::string>& paths, const tokens::Tokenizer& tokenizer);

}  // namespace dnamamba::train
