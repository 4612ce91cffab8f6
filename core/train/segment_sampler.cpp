#include "core/train/segment_sampler.h"

#include <ATen/core/PhiloxRNGEngine.h>

#include <algorithm>

#include "core/base/error.h"
#include "core/io/sequence_reader.h"

namespace dnamamba::train {
namespace {

// A number in [0, 1) with 53 bits, from a counter-based generator.
double uniform(at::Philox4_32& random) {
  const std::uint64_t high = random(), low = random();
  return static_cast<double>(((high << 32) | low) >> 11) * 0x1p-53;
}

}  // namespace

std::int64_t TrainingFile::tokens() const {
  std::int64_t sum = 0;
  for (const TrainingSequence& sequence : sequences) sum += static_cast<std::int64_t>(sequence.tokens.size());
  return sum;
}

TrainingFile read_training_file(const std::string& path, const tokens::Tokenizer& tokenizer) {
  TrainingFile file{path, {}};
  io::SequenceReader reader(path);
  while (const auto chunk = reader.next()) {
    if (chunk->offset == 0) file.sequences.push_back({chunk->name, {}});
    tokenizer.append(chunk->bases, {path, chunk->name, chunk->offset}, file.sequences.back().tokens);
  }
  return file;
}

SegmentSampler::SegmentSampler(const std::vector<TrainingFile>& files, const tokens::Alphabet& alphabet,
                               const Options& options)
    : files_(files), alphabet_(alphabet), options_(options) {
  double total = 0;
  for (const TrainingFile& file : files) {
    auto& ends = sequence_ends_.emplace_back();
    std::int64_t places = 0;
    for (const TrainingSequence& sequence : file.sequences) ends.push_back(places += places_in(sequence));
    const double chance = options.by == SampleBy::kLength ? static_cast<double>(places) : (places > 0 ? 1.0 : 0.0);
    file_ends_.push_back(total += chance);
  }
  if (total == 0) throw base::Error("the training files hold no sequence of at least 2 bases");
  for (double& end : file_ends_) end /= total;
}

std::int64_t SegmentSampler::places_in(const TrainingSequence& sequence) const {
  const auto length = static_cast<std::int64_t>(sequence.tokens.size());
  if (length < 2) return 0;
  return std::max(length - options_.context, std::int64_t{1});
}

std::vector<std::uint8_t> SegmentSampler::draw(std::int64_t step, std::int64_t place) const {
  at::Philox4_32 random(options_.seed, static_cast<std::uint64_t>(step), static_cast<std::uint64_t>(place) << 32);
  const auto file = std::upper_bound(file_ends_.begin(), file_ends_.end() - 1, uniform(random)) - file_ends_.begin();
  const auto& ends = sequence_ends_[file];
  const auto at = static_cast<std::int64_t>(uniform(random) * static_cast<double>(ends.back()));
  const auto index = std::upper_bound(ends.begin(), ends.end() - 1, at) - ends.begin();
  const std::int64_t position = at - (index == 0 ? 0 : ends[index - 1]);
  const auto& tokens = files_[file].sequences[index].tokens;
  const std::int64_t count = std::min(options_.context + 1, static_cast<std::int64_t>(tokens.size()) - position);
  std::vector<std::uint8_t> segment(tokens.begin() + position, tokens.begin() + position + count);
  if (!options_.reverse_complement || uniform(random) < 0.5) return segment;
  std::vector<std::uint8_t> other(segment.size());
  tokens::reverse_complement(alphabet_, segment, other);
  return other;
}

}  // namespace dnamamba::train
