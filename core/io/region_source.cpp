#include "core/io/region_source.h"

#include <algorithm>
#include <span>
#include <utility>

namespace dnamamba::io {

RegionSource::RegionSource(std::unique_ptr<SequenceSource> records, RegionList regions, std::string file,
                           std::int64_t chunk_length)
    : records_(std::move(records)), regions_(std::move(regions)), file_(std::move(file)), chunk_length_(chunk_length) {}

std::optional<SequenceChunk> RegionSource::next() {
  while (ready_.empty()) {
    const auto chunk = records_->next();
    if (!chunk) {
      regions_.require_all_found(file_);
      return std::nullopt;
    }
    if (chunk->offset == 0) begin_record(*chunk);
    take(*chunk);
    if (chunk->ends_record) end_record(*chunk);
  }
  return next_of_ready();
}

void RegionSource::begin_record(const SequenceChunk& chunk) {
  for (Region& region : regions_.of(chunk.name, Region::kToEnd, file_)) {
    if (waiting_.empty() || region.begin >= waiting_.back()->end) {
      waiting_.push_back(std::make_unique<Cluster>());
      waiting_.back()->begin = region.begin;
      waiting_.back()->end = region.end;
    }
    waiting_.back()->end = std::max(waiting_.back()->end, region.end);
    waiting_.back()->regions.push_back(std::move(region));
  }
}

void RegionSource::take(const SequenceChunk& chunk) {
  const std::int64_t chunk_end = chunk.offset + static_cast<std::int64_t>(chunk.bases.size());
  while (!waiting_.empty() && waiting_.front()->begin < chunk_end) {
    Cluster& cluster = *waiting_.front();
    const std::int64_t from = std::max(cluster.begin, chunk.offset), to = std::min(cluster.end, chunk_end);
    cluster.bases.append(std::as_bytes(std::span(chunk.bases).subspan(from - chunk.offset, to - from)));
    if (to < cluster.end) return;
    ready_.push_back(std::move(waiting_.front()));
    waiting_.pop_front();
  }
}

/// What still waits ends with the record.
void RegionSource::end_record(const SequenceChunk& chunk) {
  const std::int64_t length = chunk.offset + static_cast<std::int64_t>(chunk.bases.size());
  for (auto& cluster : waiting_) {
    for (Region& region : cluster->regions) end_within(region, length, file_);
    ready_.push_back(std::move(cluster));
  }
  waiting_.clear();
}

SequenceChunk RegionSource::next_of_ready() {
  Cluster& cluster = *ready_.front();
  const Region& region = cluster.regions.front();
  const std::int64_t end = std::min(region.end, cluster.begin + cluster.bases.size());
  SequenceChunk chunk;
  chunk.name = region_name(region, end);
  chunk.offset = handed_out_;
  chunk.bases.resize(std::min(chunk_length_, end - region.begin - handed_out_));
  cluster.bases.read_at(region.begin - cluster.begin + handed_out_, std::as_writable_bytes(std::span(chunk.bases)));
  handed_out_ += static_cast<std::int64_t>(chunk.bases.size());
  chunk.ends_record = region.begin + handed_out_ == end;
  if (chunk.ends_record) {
    handed_out_ = 0;
    cluster.regions.pop_front();
    if (cluster.regions.empty()) ready_.pop_front();
  }
  return chunk;
}

}  // namespace dnamamba::io
