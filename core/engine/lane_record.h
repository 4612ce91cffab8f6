// One record on its way through a model: its tokens, and the lanes in which they are read.
#pragma once
#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "core/engine/record_stream.h"
#include "core/model/state.h"
#include "core/tokens/alphabet.h"
#include "core/tokens/windows.h"

namespace dnamamba::engine {

class LaneRecord;

/// A piece of a record that is read from one end to the other with one state: a strand of it, or of one of its windows.
class Lane {
 public:
  Lane(LaneRecord& record, tokens::Range place, bool reverse) : record_(record), place_(place), reverse_(reverse) {}
  virtual ~Lane() = default;

  /// The next tokens [n] of the lane, and what the model made of them, [n, d_model].
  virtual void take(std::span<const std::uint8_t> tokens, const at::Tensor& hidden) = 0;

  [[nodiscard]] LaneRecord& record() const { return record_; }
  [[nodiscard]] tokens::Range place() const { return place_; }
  [[nodiscard]] bool reverse() const { return reverse_; }
  [[nodiscard]] std::int64_t left() const { return place_.size() - read; }

  std::int64_t read = 0;  ///< tokens so far
  model::State state;     ///< behind them

 private:
  LaneRecord& record_;
  tokens::Range place_;  // positions of the record
  bool reverse_;         // the reverse complement, from place.last down
};

class LaneRecord {
 public:
  LaneRecord(std::unique_ptr<TokenizedRecord> record, const tokens::Alphabet& alphabet)
      : record_(std::move(record)), alphabet_(alphabet) {}
  virtual ~LaneRecord() = default;

  /// The next lane that was not begun, or nullptr.
  std::unique_ptr<Lane> next_lane() { return begun_ == lanes_ ? nullptr : make_lane(begun_++); }
  void lane_ended() { ++ended_; }
  [[nodiscard]] bool done() const { return ended_ == lanes_; }

  /// `count` tokens of the lane from its token `first` on, appended to `out`.
  void read_tokens(const Lane& lane, std::int64_t first, std::int64_t count, std::vector<std::uint8_t>& out) const;

  [[nodiscard]] const TokenizedRecord& tokens() const { return *record_; }

 protected:
  /// How many there are; for the constructor.
  void set_lanes(std::int64_t lanes) { lanes_ = lanes; }
  [[nodiscard]] const tokens::Alphabet& alphabet() const { return alphabet_; }

 private:
  virtual std::unique_ptr<Lane> make_lane(std::int64_t lane) = 0;

  std::unique_ptr<TokenizedRecord> record_;
  const tokens::Alphabet& alphabet_;
  std::int64_t lanes_ = 0;  // in all
  std::int64_t begun_ = 0;
  std::int64_t ended_ = 0;
};

}  // namespace dnamamba::engine
