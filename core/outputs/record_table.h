// The names and lengths of the records that rows refer to, in constant memory for any number of them.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>

#include "core/files/spool.h"

namespace dnamamba::outputs {

class RecordTable {
 public:
  RecordTable();

  /// The index of the new record. @throws base::Error if the name holds control characters: it could not stand in a
  /// table.
  std::int64_t add(std::string_view name, std::int64_t length);
  void set_length(std::int64_t record, std::int64_t length);
  std::int64_t length(std::int64_t record) const;
  std::string name(std::int64_t record) const;
  std::int64_t count() const { return lengths_.size() / 8; }

  const files::Spool& names() const { return names_; }      ///< UTF-8, one after the other without separators.
  const files::Spool& offsets() const { return offsets_; }  ///< int64 [count + 1] into names.
  const files::Spool& lengths() const { return lengths_; }  ///< int64 [count], bases.

 private:
  files::Spool names_;
  files::Spool offsets_;
  files::Spool lengths_;
};

}  // namespace dnamamba::outputs
