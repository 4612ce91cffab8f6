#include "core/train/training_file.h"

#include <algorithm>
#include <utility>

#include "core/base/error.h"
#include "core/base/log.h"
#include "core/io/sequence_reader.h"

namespace dnamamba::train {
namespace {

class StoredSequences : public TrainingFile {
 public:
  StoredSequences(std::shared_ptr<const tokens::TokenStore> store, const tokens::TokenStore::Source& source)
      : TrainingFile(store->sources().size() == 1 ? store->path() : base::concat(store->path(), ": ", source.name),
                     {store->path(), source.name}),
        store_(std::move(store)),
        first_(source.first_sequence),
        sequences_(source.sequences) {}

  [[nodiscard]] std::int64_t sequences() const override { return sequences_; }
  [[nodiscard]] std::string_view name(std::int64_t sequence) const override { return store_->name(first_ + sequence); }
  [[nodiscard]] std::int64_t length(std::int64_t sequence) const override { return store_->length(first_ + sequence); }
  [[nodiscard]] Segment read(std::int64_t sequence, std::int64_t begin, std::int64_t count) const override {
    Segment segment{std::vector<std::uint8_t>(count), std::vector<std::uint8_t>(count)};
    store_->read(first_ + sequence, begin, segment.tokens, segment.soft_masked);
    return segment;
  }

 private:
  std::shared_ptr<const tokens::TokenStore> store_;
  std::int64_t first_, sequences_;
};

// Adds the runs of ones in `lower_case`, which begins at position `offset`; a run may go on from the last one.
void append_runs(std::vector<tokens::Range>& runs, const std::vector<std::uint8_t>& lower_case, std::int64_t offset) {
  const auto begin = lower_case.begin(), end = lower_case.end();
  for (auto at = std::find(begin, end, 1); at != end; at = std::find(at, end, 1)) {
    const std::int64_t first = offset + (at - begin);
    at = std::find(at, end, 0);
    if (runs.empty() || runs.back().last != first) runs.push_back({first, first});
    runs.back().last = offset + (at - begin);
  }
}

std::shared_ptr<const TrainingFile> read_sequences(const std::string& path, const tokens::Tokenizer& tokenizer) {
  std::vector<TrainingSequence> sequences;
  io::SequenceReader reader(path);
  std::vector<std::uint8_t> lower_case;
  while (const auto chunk = reader.next()) {
    if (chunk->offset == 0) sequences.push_back({chunk->name, {}});
    TrainingSequence& sequence = sequences.back();
    const auto offset = static_cast<std::int64_t>(sequence.tokens.size());
    lower_case.clear();
    tokenizer.append(chunk->bases, {path, chunk->name, chunk->offset}, sequence.tokens, &lower_case);
    append_runs(sequence.soft_masked, lower_case, offset);
  }
  return std::make_shared<SequencesInMemory>(path, std::move(sequences));
}

TrainingFiles open_store(const std::string& path, const tokens::Alphabet& alphabet) {
  const auto store = std::make_shared<const tokens::TokenStore>(path);
  const tokens::Alphabet& packed = store->alphabet();
  if (packed.ids() != alphabet.ids() || packed.complement() != alphabet.complement())
    throw base::Error(base::concat(path, ": was packed with the alphabet ", packed.name(), ", the model's is ",
                                   alphabet.name(), ": pack it again with --alphabet"));
  TrainingFiles files;
  for (const auto& source : store->sources()) files.push_back(std::make_shared<StoredSequences>(store, source));
  return files;
}

}  // namespace

TrainingFile::TrainingFile(std::string path, std::vector<std::string> names)
    : path_(std::move(path)), names_(std::move(names)) {}

bool TrainingFile::is_called(std::string_view name) const {
  return std::find(names_.begin(), names_.end(), name) != names_.end();
}

std::int64_t TrainingFile::tokens() const {
  std::int64_t sum = 0;
  for (std::int64_t i = 0; i < sequences(); ++i) sum += length(i);
  return sum;
}

SequencesInMemory::SequencesInMemory(std::string path, std::vector<TrainingSequence> sequences)
    : TrainingFile(path, {path}), sequences_(std::move(sequences)) {}

Segment SequencesInMemory::read(std::int64_t sequence, std::int64_t begin, std::int64_t count) const {
  const auto& [name, tokens, runs] = sequences_[sequence];
  Segment segment{{tokens.begin() + begin, tokens.begin() + begin + count}, std::vector<std::uint8_t>(count)};
  auto run = std::upper_bound(runs.begin(), runs.end(), begin,
                              [](std::int64_t position, const tokens::Range& r) { return position < r.last; });
  for (; run != runs.end() && run->first < begin + count; ++run)
    std::fill(segment.soft_masked.begin() + (std::max(run->first, begin) - begin),
              segment.soft_masked.begin() + (std::min(run->last, begin + count) - begin), std::uint8_t{1});
  return segment;
}

TrainingFiles open_training_files(const std::string& path, const tokens::Tokenizer& tokenizer) {
  if (tokens::is_token_store(path)) return open_store(path, tokenizer.alphabet());
  return {read_sequences(path, tokenizer)};
}

TrainingFiles open_training_files(const std::vector<std::string>& paths, const tokens::Tokenizer& tokenizer) {
  TrainingFiles files;
  for (const std::string& path : paths)
    for (auto& file : open_training_files(path, tokenizer)) {
      base::log_debug(base::concat(file->path(), ": ", file->sequences(), " records, ", file->tokens(), " bases"));
      files.push_back(std::move(file));
    }
  return files;
}

}  // namespace dnamamba::train
