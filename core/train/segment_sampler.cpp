#include "core/train/segment_sampler.h"

#include <ATen/core/PhiloxRNGEngine.h>

#include <algorithm>

#include "core/base/error.h"
#include "core/tokens/tokenizer.h"

namespace dnamamba::train {
namespace {

// A number in [0, 1) with 53 bits, from a counter-based generator.
double uniform(at::Philox4_32& random) {
  const std::uint64_t high = random(), low = random();
  return static_cast<double>(((high << 32) | low) >> 11) * 0x1p-53;
}

std::int64_t below(at::Philox4_32& random, std::int64_t count) {
  return static_cast<std::int64_t>(uniform(random) * static_cast<double>(count));
}

Segment on_the_other_strand(const tokens::Alphabet& alphabet, const Segment& segment) {
  Segment other{std::vector<std::uint8_t>(segment.tokens.size()),
                {segment.soft_masked.rbegin(), segment.soft_masked.rend()}};
  tokens::reverse_complement(alphabet, segment.tokens, other.tokens);
  return other;
}

}  // namespace

SegmentSampler::SegmentSampler(const TrainingFiles& files, const std::vector<DividedFile>& divided,
                               const tokens::Alphabet& alphabet, const Options& options)
    : files_(files), alphabet_(alphabet), options_(options) {
  double total = 0;
  for (std::size_t i = 0; i < files.size(); ++i) {
    tables_.push_back(table_of(divided[i].training));
    const auto& ends = tables_.back().ends;
    const double weight = options.weights.empty() ? 1.0 : options.weights[i];
    const double share = ends.empty() ? 0.0 : options.by == SampleBy::kLength ? static_cast<double>(ends.back()) : 1.0;
    file_ends_.push_back(total += weight * share);
  }
  if (total == 0) throw base::Error("the training files hold no sequence of at least 2 bases");
  for (double& end : file_ends_) end /= total;
}

std::int64_t SegmentSampler::places_in(const Piece& piece) const {
  return options_.context == 0 ? 1 : std::max(piece.length() - options_.context, std::int64_t{1});
}

SegmentSampler::Table SegmentSampler::table_of(const std::vector<Piece>& pieces) const {
  Table table;
  std::int64_t places = 0;
  for (const Piece& piece : pieces) {
    if (piece.length() < 2) continue;
    if (table.pieces.empty() || table.pieces.back().sequence != piece.sequence)
      table.sequences.push_back(table.pieces.size());
    table.pieces.push_back(piece);
    table.ends.push_back(places += places_in(piece));
  }
  table.sequences.push_back(table.pieces.size());
  return table;
}

SegmentSampler::Drawn SegmentSampler::choose(std::int64_t step, std::int64_t place) const {
  at::Philox4_32 random(options_.seed, static_cast<std::uint64_t>(step), static_cast<std::uint64_t>(place) << 32);
  const auto file = std::upper_bound(file_ends_.begin(), file_ends_.end() - 1, uniform(random)) - file_ends_.begin();
  const auto& [pieces, ends, sequences] = tables_[file];
  std::size_t first = 0, last = pieces.size();
  if (options_.by == SampleBy::kSequence) {
    const std::int64_t sequence = below(random, static_cast<std::int64_t>(sequences.size()) - 1);
    first = sequences[sequence];
    last = sequences[sequence + 1];
  }
  const std::int64_t before = first == 0 ? 0 : ends[first - 1];
  const std::int64_t at = before + below(random, ends[last - 1] - before);
  const auto from = ends.begin() + static_cast<std::ptrdiff_t>(first);
  const auto index = std::upper_bound(from, ends.begin() + static_cast<std::ptrdiff_t>(last) - 1, at) - ends.begin();
  const Piece& piece = pieces[index];
  const std::int64_t begin = piece.begin + at - (index == 0 ? 0 : ends[index - 1]), left = piece.end - begin;
  const std::int64_t count = options_.context == 0 || left <= options_.context ? left : options_.context + 1;
  const bool other_strand = options_.reverse_complement && uniform(random) >= 0.5;
  return {static_cast<std::size_t>(file), piece.sequence, begin, count, other_strand};
}

Segment SegmentSampler::draw(std::int64_t step, std::int64_t place) const {
  const Drawn drawn = choose(step, place);
  Segment segment = files_[drawn.file]->read(drawn.sequence, drawn.begin, drawn.count);
  return drawn.other_strand ? on_the_other_strand(alphabet_, segment) : segment;
}

std::string SegmentSampler::origin(std::int64_t step, std::int64_t place) const {
  const Drawn drawn = choose(step, place);
  const TrainingFile& file = *files_[drawn.file];
  return base::concat(file.path(), ": ", file.name(drawn.sequence), ":", drawn.begin + 1, "-",
                      drawn.begin + drawn.count, drawn.other_strand ? ", reverse strand" : "");
}

}  // namespace dnamamba::train
