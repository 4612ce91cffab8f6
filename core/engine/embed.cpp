#include "core/engine/embed.h"

#include <cmath>

#include "core/base/error.h"
#include "core/base/log.h"

namespace dnamamba::engine {
namespace {

constexpr std::int64_t kLargeOutput = 1'000'000'000;  // bytes; said before it is written

char strand_letter(tokens::Strand strand) {
  switch (strand) {
    case tokens::Strand::kForward:
      return '+';
    case tokens::Strand::kReverse:
      return '-';
    case tokens::Strand::kBoth:
      break;
  }
  return '.';
}

// Says once that the output grows large, as soon as that is known.
class SizeNotice {
 public:
  explicit SizeNotice(std::int64_t width) : row_bytes_(width * static_cast<std::int64_t>(sizeof(float))) {}

  void count(const EmbedRecord& record) {
    rows_ += record.windows().count();
    if (said_ || rows_ * row_bytes_ < kLargeOutput) return;
    said_ = true;
    base::log_info(base::concat("the output will hold at least ", rows_ * row_bytes_ / 1'000'000, " MB (", rows_,
                                " rows up to record ", base::shown_name(record.tokens().name), ")"));
  }

 private:
  std::int64_t row_bytes_;
  std::int64_t rows_ = 0;
  bool said_ = false;
};

}  // namespace

EmbedCounts embed(const EmbedOptions& options, const model::Model& model, outputs::EmbeddingWriter& writer,
                  const RecordProgress& progress, EmbedMap* map) {
  const tokens::Alphabet& alphabet = alphabet_of(model);
  const model::Backbone backbone(model.config, model.parameters, model.activations);
  const std::int64_t width = model.config.d_model;
  const char strand = strand_letter(options.plan.strand);
  SizeNotice notice(width);
  EmbedCounts counts;
  std::vector<float> values;
  RecordJob job;
  job.layer = options.layer;
  job.strands = tokens::strand_count(options.plan.strand);
  job.begin = [&](std::unique_ptr<TokenizedRecord> record) {
    auto embedded = std::make_unique<EmbedRecord>(std::move(record), options.plan, width, alphabet);
    notice.count(*embedded);
    return embedded;
  };
  job.end = [&](const LaneRecord& done) {
    const auto& record = static_cast<const EmbedRecord&>(done);
    const std::int64_t index = writer.add_record(record.tokens().name, record.tokens().length);
    if (map != nullptr) map->add_record(record);
    for (std::int64_t row = 0; row < record.windows().count(); ++row) {
      record.read_row(row, values);
      const tokens::Range place = record.windows().window(row);
      writer.write({index, place.first, place.last, strand, values});
      if (map != nullptr) map->add_row(record, row, values);
      ++counts.rows;
      if (std::isnan(values.front())) ++counts.ambiguous_rows;
    }
  };
  static_cast<RecordCounts&>(counts) = run_records(options, backbone, alphabet, job, progress);
  return counts;
}

}  // namespace dnamamba::engine
