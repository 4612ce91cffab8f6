#include "core/engine/record_job.h"

#include <thread>

#include "core/base/bounded_queue.h"
#include "core/base/error.h"
#include "core/base/first_error.h"
#include "core/base/stop.h"
#include "core/engine/lanes.h"

namespace dnamamba::engine {
namespace {

// Ends records on a thread of its own.
class RecordEnds {
 public:
  explicit RecordEnds(const std::function<void(const LaneRecord&)>& end)
      : end_(end), thread_([this] {
          if (!error_.run([this] { end_all(); })) queue_.close();
        }) {}
  ~RecordEnds() {
    queue_.close();
    if (thread_.joinable()) thread_.join();
  }
  RecordEnds(const RecordEnds&) = delete;
  RecordEnds& operator=(const RecordEnds&) = delete;

  void push(std::unique_ptr<LaneRecord> record) {
    if (!queue_.push(std::move(record))) finish();  // it failed: say why
  }

  RecordCounts finish() {
    queue_.close();
    if (thread_.joinable()) thread_.join();
    error_.rethrow();
    return counts_;
  }

 private:
  void end_all() {
    while (const auto record = queue_.pop()) {
      end_(**record);
      ++counts_.records;
      counts_.bases += (*record)->tokens().length;
    }
  }

  const std::function<void(const LaneRecord&)>& end_;
  base::BoundedQueue<std::unique_ptr<LaneRecord>> queue_{256};
  base::FirstError error_;
  RecordCounts counts_;
  std::thread thread_;
};

}  // namespace

const tokens::Alphabet& alphabet_of(const model::Model& model) {
  if (!model.alphabet) throw base::Error("the model has no alphabet");
  return *model.alphabet;
}

RecordCounts run_records(const SequenceInput& input, const model::Backbone& backbone, const tokens::Alphabet& alphabet,
                         const RecordJob& job, const RecordProgress& progress) {
  RecordStream records(input.inputs, tokens::Tokenizer(alphabet, input.invalid, input.soft_mask), input.reading);
  RecordEnds ends(job.end);
  Lanes lanes(backbone, job.layer, input.segment, job.strands, [&]() -> std::unique_ptr<LaneRecord> {
    auto record = records.next();
    return record == nullptr ? nullptr : job.begin(std::move(record));
  });
  std::vector<std::unique_ptr<LaneRecord>> finished;
  while (lanes.step(finished)) {
    base::throw_if_stopped();
    for (auto& record : finished) ends.push(std::move(record));
    finished.clear();
    const ReadingProgress read = records.progress();
    const std::int64_t bases = lanes.tokens() / job.strands;
    progress(bases,
             read.tokens > 0 ? read.fraction * static_cast<double>(bases) / static_cast<double>(read.tokens) : 0);
  }
  for (auto& record : finished) ends.push(std::move(record));
  RecordCounts counts = ends.finish();
  counts.invalid = records.progress().invalid;
  counts.left_out = records.progress().left_out;
  return counts;
}

}  // namespace dnamamba::engine
