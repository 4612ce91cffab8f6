#include "core/engine/embed_record.h"

#include <algorithm>

namespace dnamamba::engine {
namespace {

std::int64_t row_bytes(std::int64_t width) {
  return width * static_cast<std::int64_t>(sizeof(float));
}

}  // namespace

tokens::WindowPlan EmbedPlan::windows(std::int64_t length) const {
  if (pool == heads::Pool::kNone) return {length, 1, 1};
  if (window) return {length, *window, stride.value_or(*window)};
  return tokens::WindowPlan::standard(length);
}

EmbedRecord::EmbedRecord(std::unique_ptr<TokenizedRecord> record, const EmbedPlan& plan, std::int64_t width,
                         const tokens::Alphabet& alphabet)
    : record_(std::move(record)),
      plan_(plan),
      width_(width),
      alphabet_(alphabet),
      windows_(plan.windows(record_->length)),
      strands_(plan.strand == tokens::Strand::kBoth ? 2 : 1),
      lanes_(record_->length == 0 ? 0 : strands_ * (plan.context == Context::kWindow ? windows_.count() : 1)),
      old_row_(width) {
  const std::vector<std::byte> zeros(row_bytes(width));
  for (std::int64_t row = 0; row < windows_.count(); ++row) rows_.append(zeros);
}

std::optional<EmbedLane> EmbedRecord::next_lane() {
  if (lanes_begun_ == lanes_) return std::nullopt;
  const std::int64_t piece = lanes_begun_ / strands_;
  EmbedLane lane;
  lane.record = this;
  lane.reverse = strands_ == 2 ? lanes_begun_ % 2 == 1 : plan_.strand == tokens::Strand::kReverse;
  ++lanes_begun_;
  tokens::WindowPlan plan = windows_;
  if (plan_.context == Context::kWindow) {
    lane.place = windows_.window(piece);
    lane.first_row = piece;
    plan = tokens::WindowPlan::whole(lane.place.size());
  } else {
    lane.place = {0, record_->length};
  }
  lane.pooler.emplace(plan_.pool, width_, plan, lane.reverse, alphabet_.ambiguous());
  return lane;
}

void EmbedRecord::read_tokens(const EmbedLane& lane, std::int64_t count, std::vector<std::uint8_t>& out) const {
  const std::size_t begin = out.size();
  out.resize(begin + count);
  const std::span<std::uint8_t> target(out.data() + begin, count);
  if (!lane.reverse) {
    record_->tokens.read_at(lane.place.first + lane.read, std::as_writable_bytes(target));
    return;
  }
  std::vector<std::uint8_t> forward(count);
  record_->tokens.read_at(lane.place.last - lane.read - count, std::as_writable_bytes(std::span(forward)));
  tokens::reverse_complement(alphabet_, forward, target);
}

void EmbedRecord::add_row(std::int64_t row, std::span<const float> values) {
  read_row(row, old_row_);
  const float share = 1.0F / static_cast<float>(strands_);
  for (std::int64_t d = 0; d < width_; ++d) old_row_[d] += share * values[d];
  rows_.write_at(row * row_bytes(width_), std::as_bytes(std::span(old_row_)));
}

void EmbedRecord::read_row(std::int64_t row, std::vector<float>& values) const {
  values.resize(width_);
  rows_.read_at(row * row_bytes(width_), std::as_writable_bytes(std::span(values)));
}

}  // namespace dnamamba::engine
