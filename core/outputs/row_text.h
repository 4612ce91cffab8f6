// The first columns of a row as text: record name, start, end, strand.
#pragma once
#include <cstdint>
#include <string>

#include "core/outputs/embedding_writer.h"
#include "core/outputs/record_table.h"

namespace dnamamba::outputs {

inline constexpr const char* kRowColumns = "#record\tstart\tend\tstrand";

class RowText {
 public:
  explicit RowText(const RecordTable& table) : table_(table) {}
  /// Puts the columns into `line`, in place of what was there.
  void put(const EmbeddingRow& row, std::string& line);

 private:
  const RecordTable& table_;
  std::int64_t record_ = -1;  // of name_: rows of a record mostly follow one another
  std::string name_;
};

}  // namespace dnamamba::outputs
