#include "core/files/torch_state_dict.h"

#include <algorithm>
#include <cstring>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "core/base/error.h"
#include "core/files/torch_pickle.h"
#include "core/files/zip_reader.h"

namespace dnamamba::files {
namespace {

using base::concat;
using base::IoError;
using Bytes = std::shared_ptr<const std::vector<std::byte>>;

constexpr std::string_view kPickle = "/data.pkl";
constexpr std::int64_t kLargestPickle = std::int64_t{256} << 20;
// Copies of one storage through different strides: more than this many times the file is no state dict.
constexpr std::int64_t kMostCopies = 8;

// Everything in the archive lies in one folder, whose name is free.
std::string find_folder(const ZipReader& zip, const std::string& file) {
  std::string folder;
  for (const auto& [name, size] : zip.sizes()) {
    if (name.ends_with("/constants.pkl")) throw IoError(concat(file, ": is TorchScript, not a state dict"));
    if (!name.ends_with(kPickle) || name.find('/') != name.size() - kPickle.size()) continue;
    if (!folder.empty()) throw IoError(concat(file, ": has two members data.pkl"));
    folder = name.substr(0, name.size() - kPickle.size());
    if (size > kLargestPickle) throw IoError(concat(file, ": data.pkl of ", size, " bytes is no state dict"));
  }
  if (folder.empty()) throw IoError(concat(file, ": has no member data.pkl: not written by torch.save"));
  return folder;
}

void require_little_endian(const ZipReader& zip, const std::string& folder, const std::string& file) {
  const std::string name = folder + "/byteorder";
  if (zip.sizes().count(name) == 0) return;  // torch before 2.1 wrote little-endian without saying so
  const auto bytes = zip.read(name);
  const std::string order(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  if (order != "little") throw IoError(concat(file, ": byte order '", order, "' is not supported, only 'little'"));
}

bool is_contiguous(const PickledTensor& tensor) {
  std::int64_t expected = 1;
  for (std::size_t d = tensor.shape.size(); d-- > 0;) {
    if (tensor.shape[d] != 1 && tensor.strides[d] != expected) return false;
    expected *= tensor.shape[d];
  }
  return true;
}

// The elements of a strided view, in row-major order. The view was checked to lie within `storage` and is not empty.
std::vector<std::byte> gather(const PickledTensor& tensor, const std::vector<std::byte>& storage, std::int64_t size) {
  const std::int64_t width = element_size(tensor.type);
  std::vector<std::byte> out(static_cast<std::size_t>(size));
  std::vector<std::int64_t> index(tensor.shape.size(), 0);
  std::int64_t source = tensor.offset;
  for (std::int64_t done = 0; done < size; done += width) {
    std::memcpy(out.data() + done, storage.data() + source * width, static_cast<std::size_t>(width));
    for (std::size_t d = index.size(); d-- > 0;) {
      source += tensor.strides[d];
      if (++index[d] < tensor.shape[d]) break;
      source -= tensor.strides[d] * tensor.shape[d];
      index[d] = 0;
    }
  }
  return out;
}

class Storages {
 public:
  Storages(const ZipReader& zip, std::string folder, std::string file)
      : zip_(zip), folder_(std::move(folder)), file_(std::move(file)) {
    for (const auto& [name, size] : zip.sizes()) copies_left_ += kMostCopies * size;
  }

  StoredTensor tensor(const std::string& name, const PickledTensor& view) {
    const Bytes storage = read(name, view);
    StoredTensor tensor;
    tensor.type = view.type;
    tensor.shape = view.shape;
    tensor.size = *byte_count(view.type, view.shape);  // at most the storage's
    if (tensor.size == 0) return tensor;
    if (is_contiguous(view)) {
      tensor.elements = {storage, storage->data() + view.offset * element_size(view.type)};
      return tensor;
    }
    copies_left_ -= tensor.size;
    if (copies_left_ < 0)
      throw IoError(concat(file_, ": tensor '", name, "': too many strided views of the same storage"));
    return make_tensor(view.type, view.shape, gather(view, *storage, tensor.size));
  }

 private:
  Bytes read(const std::string& name, const PickledTensor& view) {
    const std::string member = concat(folder_, "/data/", view.storage);
    const auto size = zip_.sizes().find(member);
    if (size == zip_.sizes().end()) throw IoError(concat(file_, ": tensor '", name, "': there is no member ", member));
    const std::int64_t shape[] = {view.storage_elements};
    if (byte_count(view.type, shape) != size->second)
      throw IoError(concat(file_, ": tensor '", name, "': member ", member, " has ", size->second, " bytes, not ",
                           view.storage_elements, " of ", name_of(view.type)));
    Bytes& bytes = storages_[member];
    if (!bytes) bytes = std::make_shared<const std::vector<std::byte>>(zip_.read(member));
    return bytes;
  }

  const ZipReader& zip_;
  std::string folder_;
  std::string file_;
  std::int64_t copies_left_ = 0;  // bytes
  std::map<std::string, Bytes> storages_;
};

}  // namespace

TensorMap read_torch_state_dict(const std::filesystem::path& path) {
  const std::string file = path.string();
  const ZipReader zip(path);
  const std::string folder = find_folder(zip, file);
  require_little_endian(zip, folder, file);
  Storages storages(zip, folder, file);
  TensorMap tensors;
  for (const auto& [name, view] : read_torch_pickle(zip.read(folder + std::string(kPickle)), file))
    tensors.emplace(name, storages.tensor(name, view));
  return tensors;
}

}  // namespace dnamamba::files
