// One record on its way through `embed`: its tokens, the rows it gives, and what is left to compute of it.
#pragma once
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "core/engine/record_stream.h"
#include "core/heads/window_pooler.h"
#include "core/model/state.h"
#include "core/tokens/alphabet.h"

namespace dnamamba::engine {

/// Whether the state runs through the record or begins anew in each window.
enum class Context { kRecord, kWindow };

/// What is asked of every record.
struct EmbedPlan {
  heads::Pool pool = heads::Pool::kMean;
  std::optional<std::int64_t> window;  ///< absent: the standard of tokens::WindowPlan
  std::optional<std::int64_t> stride;  ///< absent: the window
  Context context = Context::kRecord;
  tokens::Strand strand = tokens::Strand::kBoth;

  [[nodiscard]] tokens::WindowPlan windows(std::int64_t length) const;
};

class EmbedRecord;

/// A piece of a record that is read from one end to the other with one state: a strand of it, or of one of its windows.
struct EmbedLane {
  EmbedRecord* record = nullptr;
  tokens::Range place;         ///< positions of the record
  bool reverse = false;        ///< the reverse complement, from place.last down
  std::int64_t read = 0;       ///< tokens so far
  std::int64_t first_row = 0;  ///< of the record's rows, the pooler's window 0
  model::State state;
  std::optional<heads::WindowPooler> pooler;

  [[nodiscard]] std::int64_t left() const { return place.size() - read; }
};

/// Rows of both strands are added up in the order in which they come, the sum of two does not depend on it.
class EmbedRecord {
 public:
  EmbedRecord(std::unique_ptr<TokenizedRecord> record, const EmbedPlan& plan, std::int64_t width,
              const tokens::Alphabet& alphabet);

  /// The next lane that was not begun, or nullopt.
  std::optional<EmbedLane> next_lane();
  /// The lane's next `count` tokens, appended to `out`.
  void read_tokens(const EmbedLane& lane, std::int64_t count, std::vector<std::uint8_t>& out) const;
  /// A finished row of a lane.
  void add_row(std::int64_t row, std::span<const float> values);
  void lane_ended() { ++lanes_ended_; }
  [[nodiscard]] bool done() const { return lanes_ended_ == lanes_; }

  [[nodiscard]] const TokenizedRecord& tokens() const { return *record_; }
  [[nodiscard]] const tokens::WindowPlan& windows() const { return windows_; }
  /// Row `row`, [width]: the mean of the strands.
  void read_row(std::int64_t row, std::vector<float>& values) const;

 private:
  std::unique_ptr<TokenizedRecord> record_;
  EmbedPlan plan_;
  std::int64_t width_;
  const tokens::Alphabet& alphabet_;
  tokens::WindowPlan windows_;
  std::int64_t strands_;
  std::int64_t lanes_;  // in all
  std::int64_t lanes_begun_ = 0;
  std::int64_t lanes_ended_ = 0;
  files::Spool rows_{TokenizedRecord::kSpoolMemory};  // [windows, width] float32, zeros at first
  std::vector<float> old_row_;
};

}  // namespace dnamamba::engine
