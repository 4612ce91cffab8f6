#include "core/engine/embed.h"

#include <cmath>
#include <thread>

#include "core/base/bounded_queue.h"
#include "core/base/error.h"
#include "core/base/first_error.h"
#include "core/base/log.h"
#include "core/base/stop.h"
#include "core/engine/embed_lanes.h"

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

// Writes finished records on a thread of its own.
class RowWriter {
 public:
  RowWriter(outputs::EmbeddingWriter& writer, tokens::Strand strand, EmbedMap* map)
      : writer_(writer), strand_(strand_letter(strand)), map_(map), thread_([this] {
          if (!error_.run([this] { write_all(); })) queue_.close();
        }) {}
  ~RowWriter() {
    queue_.close();
    if (thread_.joinable()) thread_.join();
  }
  RowWriter(const RowWriter&) = delete;
  RowWriter& operator=(const RowWriter&) = delete;

  void push(std::unique_ptr<EmbedRecord> record) {
    if (!queue_.push(std::move(record))) finish();  // the writer failed: say why
  }

  EmbedCounts finish() {
    queue_.close();
    if (thread_.joinable()) thread_.join();
    error_.rethrow();
    return counts_;
  }

 private:
  void write_all() {
    while (const auto record = queue_.pop()) write(**record);
  }

  void write(const EmbedRecord& record) {
    const std::int64_t index = writer_.add_record(record.tokens().name, record.tokens().length);
    if (map_ != nullptr) map_->add_record(record);
    ++counts_.records;
    counts_.bases += record.tokens().length;
    std::vector<float> values;
    for (std::int64_t row = 0; row < record.windows().count(); ++row) {
      record.read_row(row, values);
      const tokens::Range place = record.windows().window(row);
      writer_.write({index, place.first, place.last, strand_, values});
      if (map_ != nullptr) map_->add_row(record, row, values);
      ++counts_.rows;
      if (std::isnan(values.front())) ++counts_.ambiguous_rows;
    }
  }

  outputs::EmbeddingWriter& writer_;
  char strand_;
  EmbedMap* map_;  // may be absent
  base::BoundedQueue<std::unique_ptr<EmbedRecord>> queue_{256};
  base::FirstError error_;
  EmbedCounts counts_;
  std::thread thread_;
};

// Says once that the output grows large, as soon as that is known.
class SizeNotice {
 public:
  explicit SizeNotice(std::int64_t width) : row_bytes_(width * static_cast<std::int64_t>(sizeof(float))) {}

  void count(const EmbedRecord& record) {
    rows_ += record.windows().count();
    if (said_ || rows_ * row_bytes_ < kLargeOutput) return;
    said_ = true;
    base::log_info(base::concat("the output will hold at least ", rows_ * row_bytes_ / 1'000'000, " MB (", rows_,
                                " rows up to record ", record.tokens().name, ")"));
  }

 private:
  std::int64_t row_bytes_;
  std::int64_t rows_ = 0;
  bool said_ = false;
};

}  // namespace

EmbedCounts embed(const EmbedOptions& options, const model::Model& model, outputs::EmbeddingWriter& writer,
                  const EmbedProgress& progress, EmbedMap* map) {
  if (!model.alphabet) throw base::Error("the model has no alphabet");
  const tokens::Alphabet& alphabet = *model.alphabet;
  const model::Backbone backbone(model.config, model.parameters);
  const std::int64_t width = model.config.d_model;
  RecordStream records(options.inputs, tokens::Tokenizer(alphabet, options.invalid, options.soft_mask),
                       options.reading);
  RowWriter rows(writer, options.plan.strand, map);
  SizeNotice notice(width);
  const std::int64_t strands = options.plan.strand == tokens::Strand::kBoth ? 2 : 1;
  EmbedLanes lanes(backbone, options.layer, options.segment, strands, [&]() -> std::unique_ptr<EmbedRecord> {
    auto record = records.next();
    if (record == nullptr) return nullptr;
    auto embedded = std::make_unique<EmbedRecord>(std::move(record), options.plan, width, alphabet);
    notice.count(*embedded);
    return embedded;
  });
  std::vector<std::unique_ptr<EmbedRecord>> finished;
  while (lanes.step(finished)) {
    base::throw_if_stopped();
    for (auto& record : finished) rows.push(std::move(record));
    finished.clear();
    const ReadingProgress read = records.progress();
    const std::int64_t bases = lanes.tokens() / strands;
    progress(bases,
             read.tokens > 0 ? read.fraction * static_cast<double>(bases) / static_cast<double>(read.tokens) : 0);
  }
  for (auto& record : finished) rows.push(std::move(record));
  EmbedCounts counts = rows.finish();
  counts.invalid = records.progress().invalid;
  counts.left_out = records.progress().left_out;
  return counts;
}

}  // namespace dnamamba::engine
