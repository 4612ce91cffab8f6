// Tensors in files of a limited size, each with its checksum: what was damaged is found, and named.
#pragma once
#include <cstdint>
#include <filesystem>
#include <nlohmann/json_fwd.hpp>

#include "core/files/tensor_file.h"

namespace dnamamba::files {

/// Of a shard, its header included.
inline constexpr std::int64_t kShardBytes = std::int64_t{16} << 20;

/// Writes shard-00001.safetensors and so on into `folder`, in the order of the names. A tensor that is larger than
/// `most_bytes` is cut between rows of its first dimension; a single row is never cut. Returns the list of shards, for
/// read_shards(). @throws IoError.
nlohmann::json write_shards(const std::filesystem::path& folder, const TensorMap& tensors,
                            std::int64_t most_bytes = kShardBytes);

/// What was written. @throws IoError naming the first shard that is missing or whose checksum is not that of the list.
TensorMap read_shards(const std::filesystem::path& folder, const nlohmann::json& shards);

}  // namespace dnamamba::files
