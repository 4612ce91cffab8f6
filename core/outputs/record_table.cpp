#include "core/outputs/record_table.h"

#include <algorithm>
#include <span>

#include "core/base/error.h"

namespace dnamamba::outputs {
namespace {

std::span<const std::byte> bytes_of(const std::int64_t& value) {
  return std::as_bytes(std::span(&value, 1));
}

}  // namespace

RecordTable::RecordTable() {
  offsets_.append(bytes_of(0));
}

std::int64_t RecordTable::add(std::string_view name, std::int64_t length) {
  const bool printable = std::none_of(name.begin(), name.end(), [](unsigned char c) { return c < 0x20 || c == 0x7f; });
  if (!printable) throw base::Error(base::concat("record ", count() + 1, ": its name holds control characters"));
  names_.append(std::as_bytes(std::span(name)));
  offsets_.append(bytes_of(names_.size()));
  lengths_.append(bytes_of(length));
  return count() - 1;
}

void RecordTable::set_length(std::int64_t record, std::int64_t length) {
  lengths_.write_at(8 * record, bytes_of(length));
}

std::int64_t RecordTable::length(std::int64_t record) const {
  std::int64_t length = 0;
  lengths_.read_at(8 * record, std::as_writable_bytes(std::span(&length, 1)));
  return length;
}

std::string RecordTable::name(std::int64_t record) const {
  std::int64_t range[2];
  offsets_.read_at(8 * record, std::as_writable_bytes(std::span(range)));
  std::string text(static_cast<std::size_t>(range[1] - range[0]), '\0');
  names_.read_at(range[0], std::as_writable_bytes(std::span(text)));
  return text;
}

}  // namespace dnamamba::outputs
