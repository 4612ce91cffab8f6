// Parts of records: chr1:1,000-2,000 of the command line, and BED files.
#pragma once
#include <cstdint>
#include <limits>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace dnamamba::io {

/// Bases [begin, end) of the record `name`, 0-based.
struct Region {
  static constexpr std::int64_t kToEnd = std::numeric_limits<std::int64_t>::max();

  std::string name;
  std::int64_t begin = 0;
  std::int64_t end = kToEnd;
  std::string given;  ///< as the user wrote it, for messages; also a name, where a record is called so

  bool operator==(const Region&) const = default;
};

/// samtools' notation, 1-based and inclusive: "chr1", "chr1:1,000-2,000", "chr1:1000" (from there to the end),
/// "chr1:-2000", and "{name:with:colons}:1-10". @throws base::UsageError
Region parse_region(std::string_view text);

/// The lines of a BED file (plain or compressed; "-" is standard input): name, start, end (0-based, end exclusive), the
/// rest of a line is not looked at. "#", "track" and "browser" lines are skipped.
/// @throws base::IoError naming the file and the line.
std::vector<Region> read_bed(const std::string& path);

/// The regions that were asked for, as records come: which of them are in a record, and which were never found.
class RegionList {
 public:
  explicit RegionList(std::vector<Region> regions);

  [[nodiscard]] bool empty() const { return regions_.empty(); }
  /// Those of the record of that name and length, by begin and end, with their ends inside the record. The length is
  /// kToEnd while it is not known. Says once which region was longer than its record.
  /// @throws base::IoError if one begins behind the record's end, naming `file`.
  std::vector<Region> of(const std::string& record, std::int64_t length, const std::string& file);
  /// @throws base::IoError naming the first that no record had.
  void require_all_found(const std::string& file) const;

 private:
  std::vector<Region> regions_;
  std::vector<bool> found_;
  std::unordered_map<std::string, std::vector<std::size_t>> by_name_;
};

/// The end of `region` in a record of `length` bases, with a warning where that makes it shorter.
/// @throws base::IoError if it begins behind the record's end.
std::int64_t end_within(const Region& region, std::int64_t length, const std::string& file);

/// What a region's bases are called: "chr1:1001-2000" as samtools faidx has it, or the record's name if it is whole.
std::string region_name(const Region& region, std::int64_t end);

}  // namespace dnamamba::io
