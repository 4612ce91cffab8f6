#include "core/io/cram_index.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <set>
#include <string_view>

#include "core/base/error.h"
#include "core/io/line_stream.h"

namespace dnamamba::io {
namespace {

constexpr std::size_t kMostLine = 1'000;  // bytes
constexpr std::int64_t kSeveral = -2;     // as a reference sequence: the slice has reads of several

struct Slice {
  std::int64_t reference = 0, start = 0, span = 0, container = 0, offset = 0, size = 0;  // start from 1, others from 0
};

bool read_slice(std::string_view line, Slice& slice) {
  const std::array<std::int64_t*, 6> fields{&slice.reference, &slice.start,  &slice.span,
                                            &slice.container, &slice.offset, &slice.size};
  const char* at = line.data();
  const char* const end = at + line.size();
  for (std::int64_t* const field : fields) {
    const auto [behind, error] = std::from_chars(at, end, *field);
    const bool last = field == fields.back();
    if (error != std::errc{} || (last ? behind != end : behind == end || *behind != '\t')) return false;
    at = behind + 1;
  }
  return slice.container >= 0 && slice.span >= 0;
}

bool is_wanted(const Slice& slice, const std::vector<Intervals>& wanted) {
  if (slice.reference == kSeveral) return true;
  if (slice.reference < 0 || slice.reference >= static_cast<std::int64_t>(wanted.size())) return false;
  const std::int64_t begin = slice.start - 1;
  return std::any_of(wanted[slice.reference].begin(), wanted[slice.reference].end(), [&](const auto& interval) {
    return interval.first < interval.second && begin < interval.second && interval.first - begin <= slice.span;
  });
}

}  // namespace

std::vector<std::int64_t> containers_with(const std::vector<Intervals>& wanted, const std::string& index) {
  LineStream lines{files::ByteSource(index)};
  std::set<std::int64_t> containers;
  while (true) {
    const std::int64_t number = lines.line_number();
    const auto line = lines.take_line(kMostLine);
    if (!line) return {containers.begin(), containers.end()};
    Slice slice;
    if (!read_slice(*line, slice))
      throw base::IoError(
          base::concat(index, ": line ", number, " is not of a CRAM index: make it again with `samtools index`"));
    if (is_wanted(slice, wanted)) containers.insert(slice.container);
  }
}

}  // namespace dnamamba::io
