#include "core/io/region.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <optional>

#include "core/base/error.h"
#include "core/base/log.h"
#include "core/io/line_stream.h"

namespace dnamamba::io {
namespace {

using base::concat;

constexpr std::size_t kMostBedLine = std::size_t{2} << 20;  // bytes

std::optional<std::int64_t> whole_number(std::string_view text) {
  std::int64_t value = 0;
  const auto result = std::from_chars(text.data(), text.data() + text.size(), value);
  if (text.empty() || result.ec != std::errc{} || result.ptr != text.data() + text.size() || value < 0)
    return std::nullopt;
  return value;
}

/// Digits with commas anywhere, as samtools takes them.
std::optional<std::int64_t> position(std::string_view text) {
  std::string digits(text);
  std::erase(digits, ',');
  return whole_number(digits);
}

/// Fills begin and end from "1,000-2,000", "1000", "1000-" or "-2000"; false if it is none of them.
bool read_range(std::string_view text, Region& region) {
  const std::size_t dash = text.find('-');
  const std::string_view first = text.substr(0, dash);
  const std::string_view last = dash == std::string_view::npos ? std::string_view{} : text.substr(dash + 1);
  if (first.empty() && last.empty()) return false;
  const auto from = first.empty() ? std::optional<std::int64_t>(1) : position(first);
  const auto to = last.empty() ? std::optional<std::int64_t>(Region::kToEnd) : position(last);
  if (!from || !to) return false;
  if (*from < 1 || *to < *from)
    throw base::UsageError(
        concat("region '", region.given, "': positions count from 1, and the last is not before the first"));
  region.begin = *from - 1;
  region.end = *to;
  return true;
}

bool is_blank(char c) {
  return c == ' ' || c == '\t';
}

/// The next word of a line of BED; empty at its end.
std::string_view next_word(std::string_view& line) {
  while (!line.empty() && is_blank(line.front())) line.remove_prefix(1);
  const std::string_view word = line.substr(0, std::find_if(line.begin(), line.end(), is_blank) - line.begin());
  line.remove_prefix(word.size());
  return word;
}

bool is_comment(std::string_view line) {
  std::string_view rest = line;
  const std::string_view first = next_word(rest);
  return first.empty() || first.starts_with('#') || first == "track" || first == "browser";
}

Region bed_region(std::string_view line, const std::string& place) {
  std::string_view rest = line;
  Region region;
  region.name = next_word(rest);
  const auto begin = whole_number(next_word(rest)), end = whole_number(next_word(rest));
  if (!begin || !end || *begin > *end)
    throw base::IoError(concat(place, " is not BED: expected a name, a start and an end that is not before it"));
  region.begin = *begin;
  region.end = *end;
  region.given = concat(region.name, ":", *begin + 1, "-", *end);
  return region;
}

}  // namespace

Region parse_region(std::string_view text) {
  Region region;
  region.given = text;
  if (text.empty()) throw base::UsageError("a region is a record's name, or name:first-last");
  if (text.front() == '{') {
    const std::size_t close = text.find('}');
    const std::string_view rest = close == std::string_view::npos ? std::string_view{} : text.substr(close + 1);
    const bool whole = rest.empty();
    if (close == std::string_view::npos || close == 1 ||
        (!whole && (rest[0] != ':' || !read_range(rest.substr(1), region))))
      throw base::UsageError(concat("region '", text, "' is not {name} or {name}:first-last"));
    region.name = text.substr(1, close - 1);
    return region;
  }
  const std::size_t colon = text.rfind(':');
  region.name = text;
  if (colon != std::string_view::npos && colon > 0 && read_range(text.substr(colon + 1), region))
    region.name = text.substr(0, colon);
  return region;
}

std::vector<Region> read_bed(const std::string& path) {
  LineStream lines{files::ByteSource(path)};
  std::vector<Region> regions;
  while (true) {
    const std::int64_t number = lines.line_number();
    const auto line = lines.take_line(kMostBedLine);
    if (!line) return regions;
    if (!is_comment(*line)) regions.push_back(bed_region(*line, concat(lines.source().name(), ": line ", number)));
  }
}

std::int64_t end_within(const Region& region, std::int64_t length, const std::string& file) {
  if (region.begin > length || (region.begin == length && region.end != region.begin && length > 0))
    throw base::IoError(concat(file, ": region ", region.given, " begins behind the end of record '",
                               base::shown_name(region.name), "' (", length, " bases): correct it"));
  if (region.end != Region::kToEnd && region.end > length)
    base::log_warning(concat(file, ": region ", region.given, " ends at ", length, ", where record '",
                             base::shown_name(region.name), "' ends"));
  return std::min(region.end, length);
}

std::string region_name(const Region& region, std::int64_t end) {
  const bool whole = region.begin == 0 && region.end == Region::kToEnd;
  return whole ? region.name : concat(region.name, ":", region.begin + 1, "-", end);
}

RegionList::RegionList(std::vector<Region> regions) : regions_(std::move(regions)), found_(regions_.size(), false) {
  for (std::size_t i = 0; i < regions_.size(); ++i) {
    by_name_[regions_[i].name].push_back(i);
    if (regions_[i].given != regions_[i].name) by_name_[regions_[i].given].push_back(i);
  }
}

std::vector<Region> RegionList::of(const std::string& record, std::int64_t length, const std::string& file) {
  std::vector<Region> here;
  const auto found = by_name_.find(record);
  if (found == by_name_.end()) return here;
  for (const std::size_t i : found->second) {
    found_[i] = true;
    here.push_back(regions_[i].given == record ? Region{record, 0, Region::kToEnd, record} : regions_[i]);
    if (length != Region::kToEnd) end_within(here.back(), length, file);
  }
  std::stable_sort(here.begin(), here.end(), [](const Region& a, const Region& b) {
    return a.begin != b.begin ? a.begin < b.begin : a.end < b.end;
  });
  return here;
}

void RegionList::require_all_found(const std::string& file) const {
  const auto missing = std::find(found_.begin(), found_.end(), false);
  if (missing == found_.end()) return;
  const Region& region = regions_[missing - found_.begin()];
  throw base::IoError(concat(file, ": region ", region.given, ": there is no record '", base::shown_name(region.name),
                             "': `dnamamba info --records` lists them"));
}

}  // namespace dnamamba::io
