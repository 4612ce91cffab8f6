// Record names for readers that take no name twice and no text but UTF-8.
#pragma once
#include <cstdint>
#include <string>

#include "core/files/spool.h"
#include "core/outputs/record_table.h"

namespace dnamamba::outputs {

/// The name with U+FFFD in the place of what is not UTF-8.
std::string utf8_of(const std::string& name);

/// The names of a table that no longer changes, in constant memory. A name that an earlier record has is followed by
/// "#" and the record's index.
class UniqueNames {
 public:
  /// `at_once`: hashes that are compared at a time, each in 16 bytes.
  explicit UniqueNames(const RecordTable& table, std::int64_t at_once = std::int64_t{1} << 21);
  std::string name(std::int64_t record) const;

 private:
  /// Adds a mark to every record whose name an earlier one has; whether there was any.
  bool mark_repeated();
  files::Spool hashes() const;

  const RecordTable& table_;
  std::int64_t at_once_;
  files::Spool marks_;  // uint8 [records]: how often "#INDEX" follows
};

}  // namespace dnamamba::outputs
