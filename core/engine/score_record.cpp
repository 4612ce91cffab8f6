#include "core/engine/score_record.h"

#include <ATen/ops/from_blob.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <numbers>
#include <vector>

#include "core/base/error.h"
#include "core/heads/language_head.h"
#include "core/ops/tensors.h"

namespace dnamamba::engine {
namespace {

constexpr float kNone = std::numeric_limits<float>::quiet_NaN();
constexpr std::int64_t kPiece = 1 << 16;  // values that are filled in at a time

// What the model says after each token is about the one behind it.
class ScoreLane : public Lane {
 public:
  ScoreLane(ScoreRecord& record, bool reverse) : Lane(record, {0, record.tokens().length}, reverse), record_(record) {}

  void take(std::span<const std::uint8_t> tokens, const at::Tensor& hidden) override {
    const auto count = std::min(static_cast<std::int64_t>(tokens.size()), left() - 1);
    if (count == 0) return;
    targets_.clear();
    record_.read_tokens(*this, read + 1, count, targets_);
    weights_.resize(count);
    std::transform(targets_.begin(), targets_.end(), weights_.begin(),
                   [&](std::uint8_t token) { return record_.is_base(token) ? 1.0F : 0.0F; });
    const at::Device device = hidden.device();
    const at::Tensor nats =
        heads::next_token_loss(record_.backbone(), hidden.narrow(0, 0, count),
                               ops::to_device(at::from_blob(targets_.data(), {count}, at::kByte), device),
                               ops::to_device(at::from_blob(weights_.data(), {count}, at::kFloat), device))
            .to(at::kDouble)
            .cpu();
    const double* values = nats.const_data_ptr<double>();
    bits_.resize(count);
    for (std::int64_t i = 0; i < count; ++i) {
      bits_[i] = weights_[i] > 0 ? static_cast<float>(values[i] / std::numbers::ln2) : kNone;
      if (weights_[i] > 0 && !std::isfinite(bits_[i])) refuse(read + 1 + i);
    }
    record_.add(*this, read + 1, bits_);
  }

 private:
  [[noreturn]] void refuse(std::int64_t token) const {
    throw base::Error(base::concat(record_.tokens().file, ": record ", base::shown_name(record_.tokens().name),
                                   ", base ", reverse() ? place().last - 1 - token : token,
                                   ": the model's answer is not a number; are its weights whole?"));
  }

  ScoreRecord& record_;
  std::vector<std::uint8_t> targets_;
  std::vector<float> weights_;
  std::vector<float> bits_;
};

}  // namespace

ScoreRecord::ScoreRecord(std::unique_ptr<TokenizedRecord> record, tokens::Strand strand,
                         const model::Backbone& backbone, const tokens::Alphabet& alphabet)
    : LaneRecord(std::move(record), alphabet), strand_(strand), backbone_(backbone) {
  const std::int64_t length = tokens().length;
  if (length > 0) set_lanes(tokens::strand_count(strand));
  for (const std::uint8_t base : alphabet.bases()) is_base_[base] = true;
  const std::vector<float> none(std::min(kPiece, length), kNone);
  for (std::int64_t done = 0; done < length; done += kPiece)
    bits_.append(std::as_bytes(std::span(none).first(std::min(kPiece, length - done))));
}

std::unique_ptr<Lane> ScoreRecord::make_lane(std::int64_t lane) {
  return std::make_unique<ScoreLane>(*this, strand_ == tokens::Strand::kReverse || lane == 1);
}

void ScoreRecord::add(const Lane& lane, std::int64_t first, std::span<const float> bits) {
  constexpr std::int64_t kBytes = sizeof(float);
  const auto count = static_cast<std::int64_t>(bits.size());
  const std::int64_t place = lane.reverse() ? tokens().length - first - count : first;
  std::vector<float> values(bits.begin(), bits.end());
  if (lane.reverse()) std::reverse(values.begin(), values.end());
  if (strand_ == tokens::Strand::kBoth) {
    std::vector<float> before(bits.size());
    bits_.read_at(place * kBytes, std::as_writable_bytes(std::span(before)));
    for (std::int64_t i = 0; i < count; ++i)
      if (!std::isnan(before[i])) values[i] = (before[i] + values[i]) / 2;
  }
  bits_.write_at(place * kBytes, std::as_bytes(std::span(values)));
}

void ScoreRecord::read_bits(const std::function<void(std::span<const float>)>& take) const {
  std::vector<float> values;
  bits_.read_all([&](std::span<const std::byte> piece) {
    values.resize(piece.size() / sizeof(float));
    std::memcpy(values.data(), piece.data(), piece.size());
    take(values);
  });
}

}  // namespace dnamamba::engine
