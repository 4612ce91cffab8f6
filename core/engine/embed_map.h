// What a report shows of the rows that `embed` makes: GC and N of each, and a place in two dimensions.
#pragma once
#include <cstdint>
#include <span>

#include "core/engine/embed_record.h"
#include "core/files/spool.h"
#include "core/outputs/covariance.h"
#include "core/outputs/embedding_report.h"
#include "core/outputs/even_sample.h"
#include "core/tokens/base_counts.h"

namespace dnamamba::engine {

/// Principal components of all rows; an even sample of the rows is placed on them. Memory: a matrix [width, width]; the
/// sample's rows wait in a spool. Rows that are not finite have no place. One thread at a time.
class EmbedMap {
 public:
  /// At least half as many rows are drawn where there are more.
  static constexpr std::int64_t kMostPoints = 200'000;

  EmbedMap(outputs::EmbeddingReport& report, std::int64_t width, const tokens::Alphabet& alphabet,
           std::int64_t most_points = kMostPoints);

  /// A record, then its rows.
  void add_record(const EmbedRecord& record);
  void add_row(const EmbedRecord& record, std::int64_t row, std::span<const float> values);
  /// After the last row.
  outputs::WindowMap finish();

 private:
  [[nodiscard]] tokens::BaseCounts count(const EmbedRecord& record, tokens::Range place);
  [[nodiscard]] std::int64_t row_bytes() const;
  void move_row(std::int64_t from, std::int64_t to);
  void keep_row(std::int64_t place, std::span<const float> values);

  outputs::EmbeddingReport& report_;
  tokens::BaseCounter counter_;
  outputs::Covariance covariance_;
  files::Spool rows_;  // [points, width] float32, of the sample
  outputs::EvenSample<outputs::MapPoint> points_;
  std::int64_t record_ = -1;  // the report's index of the last one
  std::vector<std::uint8_t> tokens_;
  std::vector<float> moved_;  // a row
};

}  // namespace dnamamba::engine
