#include "core/engine/record_stream.h"

#include <atomic>
#include <deque>
#include <thread>

#include "core/base/bounded_queue.h"
#include "core/base/first_error.h"
#include "core/io/sequence_reader.h"

namespace dnamamba::engine {
namespace {

using Group = std::vector<std::unique_ptr<TokenizedRecord>>;

constexpr std::int64_t kGroupTokens = 1 << 18;  // a group is handed over when it has so many tokens …
constexpr std::size_t kGroupRecords = 4096;     // … or so many records
constexpr std::size_t kGroupsAhead = 2;

}  // namespace

struct RecordStream::Impl {
  std::vector<std::string> inputs;
  tokens::Tokenizer tokenizer;
  io::SequenceReaderOptions reading;
  base::BoundedQueue<Group> queue{kGroupsAhead};
  base::FirstError error;
  std::deque<std::unique_ptr<TokenizedRecord>> ready;
  std::atomic<std::int64_t> tokens_read{0}, invalid{0}, left_out{0};
  std::atomic<double> fraction{0};
  std::int64_t records = 0;
  std::thread thread;

  Impl(std::vector<std::string> files, tokens::Tokenizer letters, io::SequenceReaderOptions how)
      : inputs(std::move(files)), tokenizer(std::move(letters)), reading(std::move(how)) {}

  void read_all() {
    for (std::size_t i = 0; i < inputs.size(); ++i)
      if (!read_input(i)) return;
  }

  // False if nobody wants more.
  bool read_input(std::size_t input) {
    io::SequenceReader reader(inputs[input], reading);
    std::unique_ptr<TokenizedRecord> record;
    Group group;
    std::int64_t group_tokens = 0;
    std::vector<std::uint8_t> ids;
    while (const auto chunk = reader.next()) {
      if (chunk->offset == 0) {
        record = std::make_unique<TokenizedRecord>();
        record->index = records++;
        record->file = inputs[input];
        record->name = chunk->name;
      }
      ids.clear();
      invalid += tokenizer.append(chunk->bases, {inputs[input], chunk->name, chunk->offset}, ids).invalid;
      record->tokens.append(std::as_bytes(std::span(ids)));
      record->length += static_cast<std::int64_t>(ids.size());
      tokens_read += static_cast<std::int64_t>(ids.size());
      update_fraction(input, reader.progress());
      if (!chunk->ends_record) continue;
      group_tokens += record->length;
      group.push_back(std::move(record));
      if (group_tokens < kGroupTokens && group.size() < kGroupRecords) continue;
      if (!queue.push(std::exchange(group, {}))) return false;
      group_tokens = 0;
    }
    left_out += reader.left_out();
    return group.empty() || queue.push(std::move(group));
  }

  void update_fraction(std::size_t input, const io::ReadProgress& progress) {
    const double part = progress.bytes_total && *progress.bytes_total > 0
                            ? static_cast<double>(progress.bytes_read) / static_cast<double>(*progress.bytes_total)
                            : 0.0;
    if (inputs.size() == 1 && part == 0) return;  // a pipe: nothing is known
    fraction = (static_cast<double>(input) + part) / static_cast<double>(inputs.size());
  }
};

RecordStream::RecordStream(std::vector<std::string> inputs, tokens::Tokenizer tokenizer,
                           io::SequenceReaderOptions reading)
    : impl_(new Impl(std::move(inputs), std::move(tokenizer), std::move(reading))) {
  impl_->thread = std::thread([this] {
    impl_->error.run([this] { impl_->read_all(); });
    impl_->queue.close();
  });
}

RecordStream::~RecordStream() {
  impl_->queue.close();
  impl_->thread.join();
}

std::unique_ptr<TokenizedRecord> RecordStream::next() {
  while (impl_->ready.empty()) {
    auto group = impl_->queue.pop();
    if (!group) {
      impl_->error.rethrow();
      return nullptr;
    }
    for (auto& record : *group) impl_->ready.push_back(std::move(record));
  }
  auto record = std::move(impl_->ready.front());
  impl_->ready.pop_front();
  return record;
}

ReadingProgress RecordStream::progress() const {
  return {impl_->tokens_read, impl_->fraction, impl_->invalid, impl_->left_out};
}

}  // namespace dnamamba::engine
