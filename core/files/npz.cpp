#include "core/files/npz.h"

#include <string_view>
#include <utility>

#include "core/base/error.h"
#include "core/files/zip_reader.h"

namespace dnamamba::files {

void NpzWriter::begin_array(const std::string& name, std::string descr, std::vector<std::int64_t> row_shape) {
  descr_ = std::move(descr);
  row_shape_ = std::move(row_shape);
  header_size_ = npy_growing_header_size(descr_, row_shape_);
  zip_.begin_member(name + ".npy", static_cast<std::int64_t>(header_size_));
}

void NpzWriter::end_array() {
  NpyHeader header{descr_, {npy_row_count(descr_, row_shape_, zip_.member_size())}};
  header.shape.insert(header.shape.end(), row_shape_.begin(), row_shape_.end());
  const std::string bytes = npy_header_bytes(header, header_size_);
  zip_.end_member(std::as_bytes(std::span(bytes)));
}

std::map<std::string, NpyArray> read_npz(const std::filesystem::path& path) {
  constexpr std::string_view kSuffix = ".npy";
  const ZipReader zip(path);
  std::map<std::string, NpyArray> arrays;
  for (const auto& [name, size] : zip.sizes()) {
    const std::string where = base::concat(path.string(), ": member ", name);
    if (!name.ends_with(kSuffix)) throw base::IoError(where + " is not an array");
    arrays.emplace(name.substr(0, name.size() - kSuffix.size()), parse_npy(zip.read(name), where));
  }
  return arrays;
}

}  // namespace dnamamba::files
