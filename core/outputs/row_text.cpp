#include "core/outputs/row_text.h"

namespace dnamamba::outputs {

void RowText::put(const EmbeddingRow& row, std::string& line) {
  if (row.record != record_) {
    name_ = table_.name(row.record);
    record_ = row.record;
  }
  line = name_;
  line += '\t';
  line += std::to_string(row.start);
  line += '\t';
  line += std::to_string(row.end);
  line += '\t';
  line += row.strand;
}

}  // namespace dnamamba::outputs
