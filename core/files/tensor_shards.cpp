#include "core/files/tensor_shards.h"

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <nlohmann/json.hpp>

#include "core/base/error.h"
#include "core/files/checksum.h"
#include "core/files/safetensors.h"

namespace dnamamba::files {
namespace {

namespace fs = std::filesystem;
using base::concat;
using base::IoError;
using nlohmann::json;

// Of a tensor in a header, beside its name and generously: {"dtype": …, "shape": […], "data_offsets": […]}.
constexpr std::int64_t kHeaderBytes = 256;

// Rows [first, first + count) of a tensor; the bytes are the tensor's own.
StoredTensor rows_of(const StoredTensor& tensor, std::int64_t first, std::int64_t count) {
  const std::int64_t row = tensor.size / tensor.shape[0];
  StoredTensor part = tensor;
  part.shape[0] = count;
  part.elements = {tensor.elements, tensor.elements.get() + first * row};
  part.size = count * row;
  return part;
}

class ShardWriter {
 public:
  ShardWriter(const fs::path& folder, std::int64_t most_bytes) : folder_(folder), most_bytes_(most_bytes) {}

  void add(const std::string& name, const StoredTensor& tensor) {
    const std::int64_t beside = static_cast<std::int64_t>(name.size()) + kHeaderBytes;
    const std::int64_t rows = tensor.shape.empty() ? 1 : tensor.shape[0];
    if (beside + tensor.size <= most_bytes_ || rows <= 1) return put(name, tensor, beside + tensor.size);
    const std::int64_t row = tensor.size / rows;
    const std::int64_t most = std::max((most_bytes_ - beside) / row, std::int64_t{1});
    for (std::int64_t first = 0; first < rows; first += most) {
      const StoredTensor part = rows_of(tensor, first, std::min(most, rows - first));
      put(name, part, beside + part.size);
    }
  }
  json finish() {
    if (!open_.empty()) write();
    return std::move(shards_);
  }

 private:
  void put(const std::string& name, const StoredTensor& tensor, std::int64_t bytes) {
    if (!open_.empty() && (bytes_ + bytes > most_bytes_ || open_.contains(name))) write();
    open_.emplace(name, tensor);
    bytes_ += bytes;
  }
  void write() {
    char name[64];
    std::snprintf(name, sizeof name, "shard-%05zu.safetensors", shards_.size() + 1);
    write_safetensors(folder_ / name, open_, /*force=*/false);
    shards_.push_back({{"file", name}, {"sha256", sha256_of_file(folder_ / name)}});
    open_.clear();
    bytes_ = 0;
  }

  const fs::path& folder_;
  const std::int64_t most_bytes_;
  TensorMap open_;
  std::int64_t bytes_ = 0;
  json shards_ = json::array();
};

// Rows of one tensor, one piece behind the other.
StoredTensor joined(const std::vector<StoredTensor>& pieces, const std::string& where) {
  if (pieces.size() == 1) return pieces[0];
  std::vector<std::int64_t> shape = pieces[0].shape;
  std::vector<std::byte> bytes;
  std::int64_t rows = 0;
  for (const StoredTensor& piece : pieces) {
    const bool fits = !shape.empty() && piece.type == pieces[0].type && piece.shape.size() == shape.size() &&
                      std::equal(shape.begin() + 1, shape.end(), piece.shape.begin() + 1);
    if (!fits) throw IoError(where + ": its shards hold rows of different shapes");
    bytes.insert(bytes.end(), piece.bytes().begin(), piece.bytes().end());
    rows += piece.shape[0];
  }
  shape[0] = rows;
  return make_tensor(pieces[0].type, std::move(shape), std::move(bytes));
}

}  // namespace

json write_shards(const fs::path& folder, const TensorMap& tensors, std::int64_t most_bytes) {
  ShardWriter writer(folder, most_bytes);
  for (const auto& [name, tensor] : tensors) writer.add(name, tensor);
  return writer.finish();
}

TensorMap read_shards(const fs::path& folder, const json& shards) {
  std::map<std::string, std::vector<StoredTensor>> pieces;
  for (const json& shard : shards) {
    const fs::path path = folder / shard.at("file").get<std::string>();
    if (!fs::exists(path)) throw IoError(path.string() + ": is missing");
    if (sha256_of_file(path) != shard.at("sha256").get<std::string>())
      throw IoError(path.string() + ": damaged: its checksum is not the one that was noted when it was written");
    for (auto& [name, piece] : read_safetensors(path).tensors) pieces[name].push_back(std::move(piece));
  }
  TensorMap tensors;
  for (const auto& [name, parts] : pieces)
    tensors.emplace(name, joined(parts, concat(folder.string(), ": tensor '", name, "'")));
  return tensors;
}

}  // namespace dnamamba::files
