#include "core/outputs/unique_names.h"

#include <algorithm>
#include <cstring>
#include <functional>
#include <nlohmann/json.hpp>
#include <span>
#include <utility>
#include <vector>

namespace dnamamba::outputs {
namespace {

using Hash = std::uint64_t;

// The hashes of one share, with the records they are of; equal ones are in the same share and next to one another, in
// the order of the records.
std::vector<std::pair<Hash, std::int64_t>> sorted_share(const files::Spool& hashes, Hash share, Hash shares) {
  std::vector<std::pair<Hash, std::int64_t>> sorted;
  std::int64_t record = 0;
  hashes.read_all([&](std::span<const std::byte> piece) {
    for (std::size_t at = 0; at < piece.size(); at += sizeof(Hash), ++record) {
      Hash hash = 0;
      std::memcpy(&hash, piece.data() + at, sizeof(hash));
      if (hash % shares == share) sorted.emplace_back(hash, record);
    }
  });
  std::sort(sorted.begin(), sorted.end());
  return sorted;
}

}  // namespace

std::string utf8_of(const std::string& name) {
  using nlohmann::json;
  if (std::all_of(name.begin(), name.end(), [](unsigned char c) { return c < 0x80; })) return name;
  return json::parse(json(name).dump(-1, ' ', false, json::error_handler_t::replace)).get<std::string>();
}

UniqueNames::UniqueNames(const RecordTable& table, std::int64_t at_once) : table_(table), at_once_(at_once) {
  constexpr std::byte kNone[1] = {};
  for (std::int64_t i = 0; i < table.count(); ++i) marks_.append(kNone);
  while (mark_repeated()) {
  }
}

std::string UniqueNames::name(std::int64_t record) const {
  std::string name = utf8_of(table_.name(record));
  std::uint8_t marks = 0;
  marks_.read_at(record, std::as_writable_bytes(std::span(&marks, 1)));
  for (int i = 0; i < marks; ++i) name.append("#").append(std::to_string(record));
  return name;
}

files::Spool UniqueNames::hashes() const {
  files::Spool hashes;
  for (std::int64_t i = 0; i < table_.count(); ++i) {
    const Hash hash = std::hash<std::string>()(name(i));
    hashes.append(std::as_bytes(std::span(&hash, 1)));
  }
  return hashes;
}

// Names whose hashes alone are equal get a mark too: it does no harm.
bool UniqueNames::mark_repeated() {
  const files::Spool all = hashes();
  const auto shares = static_cast<Hash>(table_.count() / at_once_ + 1);
  bool any = false;
  for (Hash share = 0; share < shares; ++share) {
    const auto sorted = sorted_share(all, share, shares);
    for (std::size_t i = 1; i < sorted.size(); ++i) {
      if (sorted[i].first != sorted[i - 1].first) continue;
      std::byte marks{};
      marks_.read_at(sorted[i].second, std::span(&marks, 1));
      marks = std::byte(std::to_integer<unsigned>(marks) + 1);
      marks_.write_at(sorted[i].second, std::span(&marks, 1));
      any = true;
    }
  }
  return any;
}

}  // namespace dnamamba::outputs
