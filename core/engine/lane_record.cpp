#include "core/engine/lane_record.h"

namespace dnamamba::engine {

void LaneRecord::read_tokens(const Lane& lane, std::int64_t first, std::int64_t count,
                             std::vector<std::uint8_t>& out) const {
  const std::size_t begin = out.size();
  out.resize(begin + count);
  const std::span<std::uint8_t> target(out.data() + begin, count);
  if (!lane.reverse()) {
    record_->tokens.read_at(lane.place().first + first, std::as_writable_bytes(target));
    return;
  }
  std::vector<std::uint8_t> forward(count);
  record_->tokens.read_at(lane.place().last - first - count, std::as_writable_bytes(std::span(forward)));
  tokens::reverse_complement(alphabet_, forward, target);
}

}  // namespace dnamamba::engine
