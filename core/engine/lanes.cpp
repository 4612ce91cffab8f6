#include "core/engine/lanes.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/from_blob.h>

#include <algorithm>

#include "core/tokens/ragged_batch.h"

namespace dnamamba::engine {

Lanes::Lanes(const model::Backbone& backbone, std::int64_t layer, std::int64_t segment, std::int64_t abreast,
             NextRecord next_record)
    : backbone_(backbone),
      layer_(layer),
      segment_(std::max(segment, abreast)),
      lane_share_(segment_ / abreast),
      next_record_(std::move(next_record)) {}

bool Lanes::add_lane() {
  while (true) {
    if (!records_.empty()) {
      if (auto lane = records_.back()->next_lane()) {
        lanes_.push_back(std::move(lane));
        return true;
      }
    }
    if (no_more_records_) return false;
    auto record = next_record_();
    if (record == nullptr) {
      no_more_records_ = true;
      return false;
    }
    records_.push_back(std::move(record));
  }
}

std::vector<Lanes::Piece> Lanes::choose() {
  std::vector<Piece> pieces;
  std::int64_t room = segment_;
  for (std::size_t i = 0; room > 0; ++i) {
    if (i == lanes_.size() && !add_lane()) break;
    Lane& lane = *lanes_[i];
    const std::int64_t count = std::min({lane.left(), lane_share_, room});
    pieces.push_back({&lane, count});
    room -= count;
  }
  return pieces;
}

void Lanes::run(const std::vector<Piece>& pieces) {
  const at::NoGradGuard no_graph;
  tokens::RaggedBatch batch;
  bool any_state = false, any_left = false;
  for (const Piece& piece : pieces) {
    piece.lane->record().read_tokens(*piece.lane, piece.lane->read, piece.count, batch.tokens);
    batch.end_sequence();
    any_state = any_state || piece.lane->read > 0;
    any_left = any_left || piece.count < piece.lane->left();
  }
  model::State before;
  if (any_state) {
    const model::State fresh = model::zero_state(backbone_.config(), 1, backbone_.options());
    std::vector<const model::State*> states;
    for (const Piece& piece : pieces) states.push_back(piece.lane->read > 0 ? &piece.lane->state : &fresh);
    before = model::join_states(states);
  }
  const auto out =
      backbone_.advance({.tokens = at::from_blob(batch.tokens.data(), {batch.token_count()}, at::kByte),
                         .offsets = at::from_blob(batch.offsets.data(), {batch.sequences() + 1}, at::kLong),
                         .state = &before,
                         .want_state = any_left,
                         .layer = layer_});
  for (std::int64_t s = 0; s < batch.sequences(); ++s) {
    Lane& lane = *pieces[s].lane;
    lane.take(batch.sequence(s), out.hidden.narrow(0, batch.offsets[s], batch.length(s)));
    lane.read += pieces[s].count;
    if (lane.left() > 0) lane.state = model::state_of_sequence(out.state, s);
  }
  tokens_ += batch.token_count();
}

bool Lanes::step(std::vector<std::unique_ptr<LaneRecord>>& finished) {
  const std::vector<Piece> pieces = choose();
  if (!pieces.empty()) run(pieces);
  std::erase_if(lanes_, [](const std::unique_ptr<Lane>& lane) {
    if (lane->left() > 0) return false;
    lane->record().lane_ended();
    return true;
  });
  while (!records_.empty() && records_.front()->done()) {
    finished.push_back(std::move(records_.front()));
    records_.pop_front();
  }
  return !pieces.empty() || !records_.empty();
}

}  // namespace dnamamba::engine
