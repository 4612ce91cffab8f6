// The lanes that are being computed, and the ragged batches they give: which tokens are computed together depends on
// the input alone, never on the speed of a thread.
#pragma once
#include <deque>
#include <functional>
#include <memory>

#include "core/engine/lane_record.h"
#include "core/model/backbone.h"

namespace dnamamba::engine {

class Lanes {
 public:
  /// The next record, or nullptr after the last.
  using NextRecord = std::function<std::unique_ptr<LaneRecord>()>;

  /// At most `segment` tokens a step, of them at most segment / `abreast` from one lane: 2 where both strands are read,
  /// so that those of a long record go together.
  Lanes(const model::Backbone& backbone, std::int64_t layer, std::int64_t segment, std::int64_t abreast,
        NextRecord next_record);

  /// Computes one batch. The records that are complete now, in the order of the input; false after the last.
  bool step(std::vector<std::unique_ptr<LaneRecord>>& finished);

  /// Tokens computed so far, on both strands.
  [[nodiscard]] std::int64_t tokens() const { return tokens_; }

 private:
  struct Piece {
    Lane* lane;
    std::int64_t count;
  };
  std::vector<Piece> choose();
  bool add_lane();
  void run(const std::vector<Piece>& pieces);

  const model::Backbone& backbone_;
  std::int64_t layer_;
  std::int64_t segment_;
  std::int64_t lane_share_;  // tokens a step
  NextRecord next_record_;
  bool no_more_records_ = false;
  std::deque<std::unique_ptr<LaneRecord>> records_;  // not handed back yet
  std::deque<std::unique_ptr<Lane>> lanes_;          // begun and not ended
  std::int64_t tokens_ = 0;
};

}  // namespace dnamamba::engine
