#include "core/train/hold_out.h"

#include <algorithm>
#include <string>
#include <string_view>

#include "core/base/error.h"

namespace dnamamba::train {
namespace {

// FNV-1a, then splitmix64's end: every bit of what went in changes half of those that come out.
std::uint64_t hash_of(std::string_view name) {
  std::uint64_t hash = 0xcbf29ce484222325;
  for (const char letter : name) hash = (hash ^ static_cast<unsigned char>(letter)) * 0x100000001b3;
  return hash;
}
std::uint64_t mixed(std::uint64_t value) {
  value += 0x9e3779b97f4a7c15;
  value = (value ^ (value >> 30)) * 0xbf58476d1ce4e5b9;
  value = (value ^ (value >> 27)) * 0x94d049bb133111eb;
  return value ^ (value >> 31);
}

// Parts of one sequence that are held out; they may overlap.
class Choice {
 public:
  Choice(const HoldOutOptions& options, std::uint64_t seed, io::RegionList& regions)
      : options_(options), seed_(seed), regions_(regions) {}

  std::vector<tokens::Range> in(const TrainingFile& file, std::int64_t sequence) {
    const std::string name(file.name(sequence));
    const std::int64_t length = file.length(sequence);
    std::vector<tokens::Range> ranges;
    for (const io::Region& region : regions_.of(name, length, file.path()))
      ranges.push_back({region.begin, std::min(region.end, length)});
    if (options_.fraction > 0) add_blocks(name, length, ranges);
    std::sort(ranges.begin(), ranges.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
    return ranges;
  }
  [[nodiscard]] std::int64_t blocks() const { return blocks_; }

 private:
  void add_blocks(const std::string& name, std::int64_t length, std::vector<tokens::Range>& ranges) {
    const std::uint64_t of_name = mixed(hash_of(name) ^ mixed(seed_));
    for (std::int64_t i = 0, begin = 0; begin < length; ++i, begin += options_.block) {
      const double chance = static_cast<double>(mixed(of_name + static_cast<std::uint64_t>(i)) >> 11) * 0x1p-53;
      const std::int64_t end = length - begin > options_.block ? begin + options_.block : length;
      if (chance < options_.fraction) {
        ranges.push_back({begin, end});
        ++blocks_;
      }
      if (end == length) return;  // so that `begin` can't overflow
    }
  }

  const HoldOutOptions& options_;
  std::uint64_t seed_;
  io::RegionList& regions_;
  std::int64_t blocks_ = 0;  // held out so far
};

// Adds the sequence's pieces; `ranges` by their begin.
void add_pieces(DividedFile& divided, std::int64_t sequence, std::int64_t length,
                const std::vector<tokens::Range>& ranges) {
  std::int64_t end = 0;  // of what is divided
  for (const tokens::Range& range : ranges) {
    if (range.last <= std::max(end, range.first)) continue;
    if (range.first > end) divided.training.push_back({sequence, end, range.first});
    if (range.first <= end && end > 0) {  // goes on from the last one
      divided.held_out.back().end = range.last;
    } else {
      divided.held_out.push_back({sequence, range.first, range.last});
    }
    end = range.last;
  }
  if (end < length) divided.training.push_back({sequence, end, length});
}

}  // namespace

std::vector<DividedFile> divide(const TrainingFiles& files, const HoldOutOptions& options, std::uint64_t seed) {
  io::RegionList regions(options.regions);
  Choice choice(options, seed, regions);
  std::vector<DividedFile> divided(files.size());
  bool any_held_out = false, any_left = false;
  for (std::size_t i = 0; i < files.size(); ++i) {
    for (std::int64_t s = 0; s < files[i]->sequences(); ++s)
      add_pieces(divided[i], s, files[i]->length(s), choice.in(*files[i], s));
    any_held_out = any_held_out || !divided[i].held_out.empty();
    any_left = any_left || !divided[i].training.empty();
  }
  regions.require_all_found("the training files");
  if (options.fraction > 0 && choice.blocks() == 0)
    throw base::Error(base::concat("--hold-out-fraction ", options.fraction, " of blocks of ", options.block,
                                   " bases holds out none: give more, or a smaller --hold-out-block"));
  if (any_held_out && !any_left) throw base::Error("all bases are held out: none are left to train on");
  return divided;
}

}  // namespace dnamamba::train
