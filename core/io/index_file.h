// Indexes that lie beside a file: genome.fa.fai, reads.bam.bai.
#pragma once
#include <filesystem>
#include <optional>
#include <string>

namespace dnamamba::io {

/// `path` + `suffix`, if it is there and not older than `path`: an old index would give wrong bases without a sign.
/// Says so where one is left aside.
std::optional<std::string> index_beside(const std::filesystem::path& path, const std::string& suffix);

}  // namespace dnamamba::io
