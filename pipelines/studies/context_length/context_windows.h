// Windows of sequences that are to be predicted, and what a model reads before them.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "core/tokens/alphabet.h"
#include "core/tokens/windows.h"
#include "core/train/hold_out.h"

namespace dnamamba::studies {

/// What stands before a window. The `shortest` bases next to it are always the true ones; of those beyond, kShuffled
/// has the same words in random order, kElsewhere what stands at another place of the same sequences.
enum class Context { kTrue, kShuffled, kElsewhere };
/// "true", "shuffled" or "elsewhere".
std::string_view name_of(Context kind);

struct WindowOptions {
  std::int64_t shortest = 1'024;     ///< context, bases
  std::int64_t longest = 1'048'576;  ///< context, bases
  std::int64_t window = 1'024;       ///< bases that are predicted
  std::int64_t windows = 64;         ///< at most
  std::int64_t word = 8;             ///< bases that stay together when shuffled
  std::uint64_t seed = 1;            ///< of shuffles and other places
};

/// A piece of a sequence of `file` that windows and contexts lie in.
struct WindowSource {
  const train::TrainingFile* file = nullptr;
  train::Piece piece;
};

/// Windows lie evenly over the pieces, which don't overlap, nor do they; each has the longest context before it in its
/// piece. Those with more than a tenth of N in them or in that context are left out.
class ContextWindows {
 public:
  /// Refers to the files. @throws base::Error if no piece is long enough or if no window is left.
  ContextWindows(std::vector<WindowSource> sources, const tokens::Alphabet& alphabet, const WindowOptions& options);

  [[nodiscard]] std::int64_t count() const { return static_cast<std::int64_t>(windows_.size()); }
  [[nodiscard]] std::int64_t left_out() const { return left_out_; }
  [[nodiscard]] const WindowOptions& options() const { return options_; }

  /// `context` bases, from the shortest to the longest, then those of window i. The same for the same seed, whatever
  /// else is read.
  [[nodiscard]] std::vector<std::uint8_t> read(std::int64_t i, std::int64_t context, Context kind) const;
  /// "genome.fa: record chr1, base 1000", counted from 0: for messages.
  [[nodiscard]] std::string place_of(std::int64_t i) const;

 private:
  struct Place {
    const train::TrainingFile* file = nullptr;
    std::int64_t sequence = 0;
    std::int64_t begin = 0;

    [[nodiscard]] std::vector<std::uint8_t> read(std::int64_t from, std::int64_t bases) const;
    [[nodiscard]] std::string text() const;
  };
  struct Window {
    Place target;     // its first base
    Place elsewhere;  // the first of the far bases of another place
    std::int64_t number = 0;
  };
  [[nodiscard]] std::int64_t far_bases() const { return options_.longest - options_.shortest; }
  [[nodiscard]] bool has_few_ambiguous(const std::vector<std::uint8_t>& tokens) const;
  void add(const WindowSource& source, std::int64_t place, std::int64_t number);
  [[nodiscard]] std::vector<tokens::Range> other_places(const WindowSource& source, const Place& target) const;
  [[nodiscard]] Place other_place(const Place& target, std::int64_t number) const;

  std::vector<WindowSource> sources_;
  std::uint8_t ambiguous_;
  WindowOptions options_;
  std::vector<Window> windows_;
  std::int64_t left_out_ = 0;
};

}  // namespace dnamamba::studies
