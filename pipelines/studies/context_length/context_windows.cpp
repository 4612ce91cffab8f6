#include "pipelines/studies/context_length/context_windows.h"

#include <algorithm>
#include <random>
#include <span>

#include "core/base/error.h"

namespace dnamamba::studies {
namespace {

constexpr int kTries = 100;  // of other places, until one has few N

// One for each window and context, so that none depends on what else is read.
std::mt19937_64 generator(std::uint64_t seed, std::int64_t window, std::int64_t context) {
  const auto number = static_cast<std::uint64_t>(window), bases = static_cast<std::uint64_t>(context);
  std::seed_seq sequence{seed & 0xffffffff, seed >> 32,         number & 0xffffffff,
                         number >> 32,      bases & 0xffffffff, bases >> 32};
  return std::mt19937_64(sequence);
}

std::int64_t below(std::mt19937_64& random, std::int64_t count) {
  return static_cast<std::int64_t>(random() % static_cast<std::uint64_t>(count));
}

void shuffle_words(std::span<std::uint8_t> tokens, std::int64_t word, std::mt19937_64& random) {
  for (std::int64_t i = std::ssize(tokens) / word - 1; i > 0; --i) {
    const auto one = tokens.begin() + i * word, other = tokens.begin() + below(random, i + 1) * word;
    if (one != other) std::swap_ranges(one, one + word, other);
  }
}

}  // namespace

std::string_view name_of(Context kind) {
  return kind == Context::kTrue ? "true" : kind == Context::kShuffled ? "shuffled" : "elsewhere";
}

std::vector<std::uint8_t> ContextWindows::Place::read(std::int64_t from, std::int64_t bases) const {
  return file->read(sequence, from, bases).tokens;
}

std::string ContextWindows::Place::text() const {
  return base::concat(file->path(), ": record ", base::shown_name(file->name(sequence)), ", base ", begin);
}

ContextWindows::ContextWindows(std::vector<WindowSource> sources, const tokens::Alphabet& alphabet,
                               const WindowOptions& options)
    : sources_(std::move(sources)), ambiguous_(alphabet.ambiguous()), options_(options) {
  // Each piece is cut into slots behind its first `longest` bases.
  std::vector<std::int64_t> ends;
  std::int64_t slots = 0, longest = 0;
  for (const auto& [file, piece] : sources_) {
    longest = std::max(longest, piece.length());
    ends.push_back(slots += std::max((piece.length() - options_.longest) / options_.window, std::int64_t{0}));
  }
  if (slots == 0)
    throw base::Error(base::concat("no sequence has a window of ", options_.window, " bases behind a context of ",
                                   options_.longest, "; the longest has ", longest,
                                   " bases: give longer ones, or a smaller --longest"));
  const std::int64_t windows = std::min(options_.windows, slots);
  for (std::int64_t i = 0; i < windows; ++i) {
    const std::int64_t slot = (2 * i + 1) * slots / (2 * windows);
    const auto at = std::upper_bound(ends.begin(), ends.end(), slot) - ends.begin();
    const std::int64_t before = at == 0 ? 0 : ends[at - 1];
    add(sources_[at], options_.longest + (slot - before) * options_.window, i);
  }
  if (windows_.empty())
    throw base::Error(base::concat("all ", windows, " windows have more than a tenth of N in them or in the ",
                                   options_.longest, " bases before: give other regions, or a smaller --longest"));
}

std::vector<std::uint8_t> ContextWindows::read(std::int64_t i, std::int64_t context, Context kind) const {
  const Window& window = windows_.at(i);
  auto tokens = window.target.read(window.target.begin - context, context + options_.window);
  const std::int64_t far = context - options_.shortest;
  if (kind == Context::kShuffled) {
    auto random = generator(options_.seed, window.number, context);
    shuffle_words(std::span(tokens).first(far), options_.word, random);
  } else if (kind == Context::kElsewhere) {
    const auto other = window.elsewhere.read(window.elsewhere.begin + far_bases() - far, far);
    std::copy(other.begin(), other.end(), tokens.begin());
  }
  return tokens;
}

std::string ContextWindows::place_of(std::int64_t i) const {
  return windows_.at(i).target.text();
}

bool ContextWindows::has_few_ambiguous(const std::vector<std::uint8_t>& tokens) const {
  return std::count(tokens.begin(), tokens.end(), ambiguous_) * 10 <= std::ssize(tokens);
}

void ContextWindows::add(const WindowSource& source, std::int64_t place, std::int64_t number) {
  const Place target{source.file, source.piece.sequence, source.piece.begin + place};
  if (has_few_ambiguous(target.read(target.begin - options_.longest, options_.longest)) &&
      has_few_ambiguous(target.read(target.begin, options_.window)))
    windows_.push_back({target, other_place(target, number), number});
  else
    ++left_out_;
}

// Where far bases can begin without touching the window or its own context.
std::vector<tokens::Range> ContextWindows::other_places(const WindowSource& source, const Place& target) const {
  const train::Piece& piece = source.piece;
  const std::int64_t behind_last = piece.end - far_bases() + 1;
  const bool own = source.file == target.file && piece.sequence == target.sequence && piece.begin <= target.begin &&
                   target.begin < piece.end;
  if (!own) return {{piece.begin, behind_last}};
  return {{piece.begin, target.begin - options_.longest - far_bases() + 1},
          {target.begin + options_.window, behind_last}};
}

ContextWindows::Place ContextWindows::other_place(const Place& target, std::int64_t number) const {
  std::vector<Place> begins;
  std::vector<std::int64_t> ends;
  std::int64_t places = 0;
  for (const WindowSource& source : sources_)
    for (const tokens::Range& range : other_places(source, target)) {
      if (range.size() <= 0) continue;
      begins.push_back({source.file, source.piece.sequence, range.first});
      ends.push_back(places += range.size());
    }
  auto random = generator(options_.seed, number, 0);
  for (int i = 0; i < kTries && places > 0; ++i) {
    const std::int64_t drawn = below(random, places);
    const auto at = std::upper_bound(ends.begin(), ends.end(), drawn) - ends.begin();
    Place place = begins[at];
    place.begin += drawn - (at == 0 ? 0 : ends[at - 1]);
    if (has_few_ambiguous(place.read(place.begin, far_bases()))) return place;
  }
  throw base::Error(base::concat(target.text(), ": beside this window and its context there are no other ", far_bases(),
                                 " bases with few N: give longer sequences, or a smaller --longest"));
}

}  // namespace dnamamba::studies
