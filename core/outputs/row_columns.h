// The places of rows, column by column, while they wait for the place of the columns in a file.
#pragma once
#include <span>

#include "core/files/spool.h"
#include "core/outputs/embedding_writer.h"

namespace dnamamba::outputs {

/// [rows] each, in constant memory.
struct RowColumns {
  files::Spool record;  ///< int64
  files::Spool start;   ///< int64
  files::Spool end;     ///< int64
  files::Spool strand;  ///< one byte, the letter's code

  void append(const EmbeddingRow& row) {
    record.append(std::as_bytes(std::span(&row.record, 1)));
    start.append(std::as_bytes(std::span(&row.start, 1)));
    end.append(std::as_bytes(std::span(&row.end, 1)));
    strand.append(std::as_bytes(std::span(&row.strand, 1)));
  }
};

}  // namespace dnamamba::outputs
