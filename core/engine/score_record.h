// One record on its way through `score`: how much of a surprise each of its bases is.
#pragma once
#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>

#include "core/engine/lane_record.h"
#include "core/model/backbone.h"

namespace dnamamba::engine {

/// A base has a value for each strand on which a base stands before it, and their mean where it has two. Ambiguous
/// bases have none.
class ScoreRecord : public LaneRecord {
 public:
  ScoreRecord(std::unique_ptr<TokenizedRecord> record, tokens::Strand strand, const model::Backbone& backbone,
              const tokens::Alphabet& alphabet);

  /// Bits [n] of the tokens from the lane's token `first` on; NaN where there are none.
  void add(const Lane& lane, std::int64_t first, std::span<const float> bits);
  /// Bits [length] of the bases in their order, in pieces, NaN where there are none. @throws base::IoError.
  void read_bits(const std::function<void(std::span<const float>)>& take) const;

  [[nodiscard]] const model::Backbone& backbone() const { return backbone_; }
  /// Whether the token is a base of the alphabet, and so something to predict.
  [[nodiscard]] bool is_base(std::uint8_t token) const { return is_base_[token]; }

 private:
  std::unique_ptr<Lane> make_lane(std::int64_t lane) override;

  tokens::Strand strand_;
  const model::Backbone& backbone_;
  std::array<bool, 256> is_base_ = {};
  files::Spool bits_{TokenizedRecord::kSpoolMemory};  // [length] float32
};

}  // namespace dnamamba::engine
