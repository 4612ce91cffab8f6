#include "core/outputs/bigwig_writer.h"

#include <algorithm>
#include <cmath>

#include "core/base/error.h"

namespace dnamamba::outputs {
namespace {

using base::concat;

constexpr std::uint32_t kMagic = 0x888FFC26;
constexpr std::uint16_t kVersion = 4;
constexpr std::uint32_t kNamesMagic = 0x78CA8C91;
constexpr std::int64_t kNamesWidth = 256;  // children of a node
constexpr std::uint8_t kFixedStep = 3;     // values of bases that follow one another
constexpr std::size_t kHeaderBytes = 64;
constexpr std::size_t kLevelBytes = 24;  // of a zoom level's place in the header
constexpr std::uint32_t kValuesPerBlock = 4096;
constexpr std::uint32_t kSummariesPerBlock = 512;

}  // namespace

std::int64_t BigWigWriter::reduction(std::size_t level) {
  std::int64_t bases = kFirstReduction;
  for (std::size_t i = 0; i < level; ++i) bases *= kReductionStep;
  return bases;
}

BigWigWriter::BigWigWriter(const std::filesystem::path& path, bool force) : name_(path.string()), file_(path, force) {
  file_.path_to_fill();  // places are filled in last: not for a pipe
}

void BigWigWriter::begin_record(std::string_view name, std::int64_t length) {
  end_record();
  if (length > kLongestRecord)
    throw base::Error(concat(name_, ": record ", base::shown_name(name), " has ", length, " bases, and bigWig at most ",
                             kLongestRecord, "; write .bedGraph.gz"));
  record_ = static_cast<std::uint32_t>(records_.size());
  const Record record{record_, static_cast<std::uint32_t>(length)};
  if (name.empty() || !records_.emplace(name, record).second)
    throw base::Error(concat(name_, ": record ", record_ + 1, " is called '", base::shown_name(name),
                             name.empty() ? "'" : "' as one before it",
                             ", and bigWig knows records by their names; "
                             "rename it or write .bedGraph.gz"));
  length_ = length;
  longest_ = std::max(longest_, length);
  position_ = 0;
}

void BigWigWriter::append(std::span<const float> values) {
  if (static_cast<std::int64_t>(values.size()) > length_ - position_)
    throw base::Error(concat(name_, ": more values than bases in record ", record_ + 1));
  for (const float value : values) {
    if (std::isnan(value)) {
      end_run();
      ++position_;
      continue;
    }
    run_.push_back(value);
    const auto at = static_cast<std::uint32_t>(position_++);
    add_to_level(0, {record_, at, at + 1, 1, value, value, value, double{value} * value});
    if (run_.size() == kValuesPerBlock) end_run();
  }
}

void BigWigWriter::end_run() {
  if (run_.empty()) return;
  const auto end = static_cast<std::uint32_t>(position_);
  const auto start = end - static_cast<std::uint32_t>(run_.size());
  LittleEndianBytes block;
  block << record_ << start << end << std::uint32_t{1} << std::uint32_t{1} << kFixedStep << std::uint8_t{0}
        << static_cast<std::uint16_t>(run_.size()) << std::as_bytes(std::span(run_));
  values_.add({record_, start}, {record_, end}, block.bytes());
  run_.clear();
}

void BigWigWriter::end_record() {
  if (position_ < length_)
    throw base::Error(concat(name_, ": ", position_, " values for the ", length_, " bases of record ", record_ + 1));
  end_run();
}

void BigWigWriter::merge(Summary& into, const Summary& more) {
  if (into.count == 0) {
    into = more;
    return;
  }
  into.end = more.end;
  into.count += more.count;
  into.least = std::min(into.least, more.least);
  into.most = std::max(into.most, more.most);
  into.sum += more.sum;
  into.sum_of_squares += more.sum_of_squares;
}

// Summaries begin and end with a base that has a value, and lie between multiples of the level's reduction.
void BigWigWriter::add_to_level(std::size_t level, const Summary& summary) {
  if (level == kLevels) {
    merge(total_, summary);
    return;
  }
  Summary& open = levels_[level].open;
  const std::int64_t bases = reduction(level);
  if (open.count > 0 && (open.record != summary.record || open.start / bases != summary.start / bases))
    end_summary(level);
  merge(open, summary);
}

void BigWigWriter::end_summary(std::size_t level) {
  Level& at = levels_[level];
  if (at.open.count == 0) return;
  add_to_level(level + 1, at.open);
  at.full.push_back(at.open);
  at.open = {};
  if (at.full.size() == kSummariesPerBlock) write_summaries(at);
}

void BigWigWriter::write_summaries(Level& level) {
  if (level.full.empty()) return;
  LittleEndianBytes block;
  for (const Summary& one : level.full)
    block << one.record << one.start << one.end << static_cast<std::uint32_t>(one.count)
          << static_cast<float>(one.least) << static_cast<float>(one.most) << static_cast<float>(one.sum)
          << static_cast<float>(one.sum_of_squares);
  const Summary &first = level.full.front(), &last = level.full.back();
  level.blocks.add({first.record, first.start}, {last.record, last.end}, block.bytes());
  level.full.clear();
}

// A level with one summary a record is enough.
std::size_t BigWigWriter::useful_levels() const {
  std::size_t levels = 1;
  while (levels < kLevels && reduction(levels - 1) < longest_) ++levels;
  return levels;
}

void BigWigWriter::close() {
  end_record();
  for (std::size_t i = 0; i < kLevels; ++i) {
    end_summary(i);
    write_summaries(levels_[i]);
  }
  const std::size_t levels = useful_levels();
  const std::vector<std::byte> room(kHeaderBytes + levels * kLevelBytes);
  file_.append(room);
  LittleEndianBytes total;
  total << total_.count << total_.least << total_.most << total_.sum << total_.sum_of_squares;
  const std::int64_t total_place = file_.size();
  file_.append(total.bytes());
  const std::int64_t names = file_.size();
  write_names();
  const std::int64_t values = file_.size();
  const auto blocks = static_cast<std::uint64_t>(values_.count());
  file_.append(std::as_bytes(std::span(&blocks, 1)));
  values_.write_blocks(file_);
  LittleEndianBytes header;
  header << kMagic << kVersion << static_cast<std::uint16_t>(levels) << names << values << file_.size()
         << std::uint16_t{0} << std::uint16_t{0} << std::uint64_t{0} << total_place
         << static_cast<std::uint32_t>(BigWigBlocks::kBlockBytes) << std::uint64_t{0};
  values_.write_index(file_, kValuesPerBlock);
  for (std::size_t i = 0; i < levels; ++i) {
    BigWigBlocks& level = levels_[i].blocks;
    header << static_cast<std::uint32_t>(reduction(i)) << std::uint32_t{0} << file_.size();
    const auto count = static_cast<std::uint32_t>(level.count());
    file_.append(std::as_bytes(std::span(&count, 1)));
    level.write_blocks(file_);
    header << file_.size();
    level.write_index(file_, kSummariesPerBlock);
  }
  file_.append(std::as_bytes(std::span(&kMagic, 1)));  // at the end too, as readers check
  file_.write_at(0, header.bytes());
  file_.commit();
}

// A tree like the index, with every node as large as a full one; names in their order, padded to the longest.
void BigWigWriter::write_names() {
  std::size_t key = 1;
  for (const auto& [name, record] : records_) key = std::max(key, name.size());
  const auto count = static_cast<std::int64_t>(records_.size());
  const std::int64_t width = std::clamp<std::int64_t>(count, 1, kNamesWidth);
  const std::size_t node_bytes = 4 + static_cast<std::size_t>(width) * (key + 8);
  LittleEndianBytes out;
  out << kNamesMagic << static_cast<std::uint32_t>(width) << static_cast<std::uint32_t>(key) << std::uint32_t{8}
      << static_cast<std::uint64_t>(count) << std::uint64_t{0};
  file_.append(out.bytes());
  const std::vector<std::int64_t> levels = tree_levels(count, width);
  std::int64_t span = 1;
  for (std::size_t i = 1; i < levels.size(); ++i) span *= width;
  for (const std::int64_t nodes : levels) {
    const std::int64_t next_level = file_.size() + nodes * static_cast<std::int64_t>(node_bytes);
    const std::int64_t items = (count + span - 1) / span;
    auto record = records_.begin();
    for (std::int64_t node = 0; node < nodes; ++node) {
      const std::int64_t from = node * width, to = std::min(from + width, items);
      out.clear();
      out << static_cast<std::uint8_t>(span == 1) << std::uint8_t{0} << static_cast<std::uint16_t>(to - from);
      for (std::int64_t item = from; item < to; ++item) {
        const std::size_t begin = out.size();
        out << std::as_bytes(std::span(record->first));
        out.pad_to(begin + key);
        if (span == 1)
          out << record->second.id << record->second.length;
        else
          out << next_level + item * static_cast<std::int64_t>(node_bytes);
        for (std::int64_t i = 0; i < span && record != records_.end(); ++i) ++record;
      }
      out.pad_to(node_bytes);
      file_.append(out.bytes());
    }
    span /= width;
  }
}

}  // namespace dnamamba::outputs
