// One record on its way through `embed`: the rows it gives, and what is left to compute of it.
#pragma once
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "core/engine/lane_record.h"
#include "core/heads/window_pooler.h"

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

/// Rows of both strands are added up in the order in which they come, the sum of two does not depend on it.
class EmbedRecord : public LaneRecord {
 public:
  EmbedRecord(std::unique_ptr<TokenizedRecord> record, const EmbedPlan& plan, std::int64_t width,
              const tokens::Alphabet& alphabet);

  /// A finished row of a lane.
  void add_row(std::int64_t row, std::span<const float> values);

  [[nodiscard]] const tokens::WindowPlan& windows() const { return windows_; }
  /// Row `row`, [width]: the mean of the strands.
  void read_row(std::int64_t row, std::vector<float>& values) const;

 private:
  std::unique_ptr<Lane> make_lane(std::int64_t lane) override;

  EmbedPlan plan_;
  std::int64_t width_;
  tokens::WindowPlan windows_;
  files::Spool rows_{TokenizedRecord::kSpoolMemory};  // [windows, width] float32, zeros at first
  std::vector<float> old_row_;
};

}  // namespace dnamamba::engine
