// Whole records out of chunks, for comparing; and the chunks' promises, checked on the way.
#pragma once
#include <gtest/gtest.h>

#include <functional>
#include <ostream>
#include <string>
#include <vector>

#include "core/base/error.h"
#include "core/io/sequence_reader.h"

namespace dnamamba::io {

struct Record {
  std::string name;
  std::string description;
  std::string bases;
  bool operator==(const Record&) const = default;
};

inline std::ostream& operator<<(std::ostream& out, const Record& record) {
  return out << record.name << " '" << record.description << "' " << record.bases.substr(0, 100) << " ("
             << record.bases.size() << ")";
}

/// Expects of every chunk what SequenceChunk promises.
inline std::vector<Record> read_records(const std::string& path, const SequenceReaderOptions& options = {}) {
  SequenceReader reader(path, options);
  std::vector<Record> records;
  bool in_record = false;
  while (const auto chunk = reader.next()) {
    if (!in_record) records.push_back({chunk->name, chunk->description, ""});
    EXPECT_TRUE(!in_record || chunk->description.empty());
    Record& record = records.back();
    EXPECT_EQ(chunk->name, record.name);
    EXPECT_EQ(chunk->offset, static_cast<std::int64_t>(record.bases.size()));
    const auto length = static_cast<std::int64_t>(chunk->bases.size());
    EXPECT_TRUE(chunk->ends_record ? length <= options.chunk_length : length == options.chunk_length);
    EXPECT_TRUE(length > 0 || chunk->offset == 0) << "only an empty record has an empty chunk";
    record.bases += chunk->bases;
    in_record = !chunk->ends_record;
    EXPECT_EQ(reader.records_read(), static_cast<std::int64_t>(records.size()) - (in_record ? 1 : 0));
  }
  EXPECT_FALSE(in_record) << "the last record has no end";
  EXPECT_FALSE(reader.next().has_value()) << "the end stays the end";
  return records;
}

/// The message of the IoError, or "" if there was none.
inline std::string error_of(const std::function<void()>& work) {
  try {
    work();
  } catch (const base::IoError& error) {
    return error.what();
  }
  return "";
}

}  // namespace dnamamba::io
