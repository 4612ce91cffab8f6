#include "core/engine/embed_record.h"

#include <algorithm>

namespace dnamamba::engine {
namespace {

std::int64_t row_bytes(std::int64_t width) {
  return width * static_cast<std::int64_t>(sizeof(float));
}

std::int64_t lanes_of(const EmbedPlan& plan, std::int64_t length) {
  if (length == 0) return 0;
  return tokens::strand_count(plan.strand) * (plan.context == Context::kWindow ? plan.windows(length).count() : 1);
}

class EmbedLane : public Lane {
 public:
  EmbedLane(EmbedRecord& record, tokens::Range place, bool reverse, std::int64_t first_row, heads::WindowPooler pooler)
      : Lane(record, place, reverse), record_(record), first_row_(first_row), pooler_(std::move(pooler)) {}

  void take(std::span<const std::uint8_t> tokens, const at::Tensor& hidden) override {
    pooler_.add(tokens, hidden,
                [this](std::int64_t window, std::span<const float> row) { record_.add_row(first_row_ + window, row); });
  }

 private:
  EmbedRecord& record_;
  std::int64_t first_row_;  // of the record's rows, the pooler's window 0
  heads::WindowPooler pooler_;
};

}  // namespace

tokens::WindowPlan EmbedPlan::windows(std::int64_t length) const {
  if (pool == heads::Pool::kNone) return {length, 1, 1};
  if (window) return {length, *window, stride.value_or(*window)};
  return tokens::WindowPlan::standard(length);
}

EmbedRecord::EmbedRecord(std::unique_ptr<TokenizedRecord> record, const EmbedPlan& plan, std::int64_t width,
                         const tokens::Alphabet& alphabet)
    : LaneRecord(std::move(record), alphabet),
      plan_(plan),
      width_(width),
      windows_(plan.windows(tokens().length)),
      old_row_(width) {
  set_lanes(lanes_of(plan, tokens().length));
  const std::vector<std::byte> zeros(row_bytes(width));
  for (std::int64_t row = 0; row < windows_.count(); ++row) rows_.append(zeros);
}

std::unique_ptr<Lane> EmbedRecord::make_lane(std::int64_t lane) {
  const std::int64_t strands = tokens::strand_count(plan_.strand), piece = lane / strands;
  const bool reverse = strands == 2 ? lane % 2 == 1 : plan_.strand == tokens::Strand::kReverse;
  const bool pieces = plan_.context == Context::kWindow;
  const tokens::Range place = pieces ? windows_.window(piece) : tokens::Range{0, tokens().length};
  const tokens::WindowPlan plan = pieces ? tokens::WindowPlan::whole(place.size()) : windows_;
  return std::make_unique<EmbedLane>(*this, place, reverse, piece,
                                     heads::WindowPooler(plan_.pool, width_, plan, reverse, alphabet().ambiguous()));
}

void EmbedRecord::add_row(std::int64_t row, std::span<const float> values) {
  read_row(row, old_row_);
  const float share = 1.0F / static_cast<float>(tokens::strand_count(plan_.strand));
  for (std::int64_t d = 0; d < width_; ++d) old_row_[d] += share * values[d];
  rows_.write_at(row * row_bytes(width_), std::as_bytes(std::span(old_row_)));
}

void EmbedRecord::read_row(std::int64_t row, std::vector<float>& values) const {
  values.resize(width_);
  rows_.read_at(row * row_bytes(width_), std::as_writable_bytes(std::span(values)));
}

}  // namespace dnamamba::engine
