// The index of a CRAM file, .crai.
#pragma once
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace dnamamba::io {

/// Intervals of one reference sequence: [begin, end), 0-based, by begin.
using Intervals = std::vector<std::pair<std::int64_t, std::int64_t>>;

/// Which containers hold reads that can overlap `wanted` [reference sequences]: their offsets, rising. The format is
/// that of the CRAM specification: a line for each slice and reference sequence, in gzip or plain.
/// @throws base::IoError naming the index and the line.
std::vector<std::int64_t> containers_with(const std::vector<Intervals>& wanted, const std::string& index);

}  // namespace dnamamba::io
