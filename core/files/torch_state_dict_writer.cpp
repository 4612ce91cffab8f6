// The archive of torch.save: data.pkl, a pickle of protocol 2 that tells names, types and shapes, and a member for each
// storage.
#include <map>
#include <string>
#include <string_view>
#include <tuple>
#include <vector>

#include "core/base/error.h"
#include "core/files/torch_state_dict.h"
#include "core/files/zip_writer.h"

namespace dnamamba::files {
namespace {

constexpr std::string_view kFolder = "archive";

std::span<const std::byte> bytes_of(std::string_view text) {
  return std::as_bytes(std::span(text));
}

const char* storage_class(TensorType type) {
  switch (type) {
    case TensorType::kFloat64:
      return "DoubleStorage";
    case TensorType::kFloat32:
      return "FloatStorage";
    case TensorType::kFloat16:
      return "HalfStorage";
    case TensorType::kBFloat16:
      return "BFloat16Storage";
    case TensorType::kInt64:
      return "LongStorage";
    case TensorType::kInt32:
      return "IntStorage";
    case TensorType::kInt16:
      return "ShortStorage";
    case TensorType::kInt8:
      return "CharStorage";
    case TensorType::kUint8:
      return "ByteStorage";
    case TensorType::kBool:
      return "BoolStorage";
  }
  throw base::Error("a tensor of an unknown type");
}

// Opcodes are those of Python's pickletools.
class Pickle {
 public:
  Pickle() { out_ = "\x80\x02"; }  // PROTO 2

  Pickle& opcode(char code) {
    out_ += code;
    return *this;
  }
  Pickle& text(std::string_view value) { return opcode('X').little_endian(value.size(), 4).raw(value); }  // BINUNICODE
  Pickle& number(std::int64_t value) {                                                                    // LONG1
    return opcode('\x8a').opcode(8).little_endian(static_cast<std::uint64_t>(value), 8);
  }
  Pickle& global(const std::string& module, const std::string& name) { return raw("c" + module + "\n" + name + "\n"); }
  Pickle& tuple(std::span<const std::int64_t> values) {
    opcode('(');
    for (const std::int64_t value : values) number(value);
    return opcode('t');
  }
  const std::string& bytes() const { return out_; }

 private:
  Pickle& raw(std::string_view value) {
    out_ += value;
    return *this;
  }
  Pickle& little_endian(std::uint64_t value, int count) {
    for (int i = 0; i < count; ++i) out_ += static_cast<char>(value >> (8 * i) & 0xff);
    return *this;
  }
  std::string out_;
};

std::vector<std::int64_t> contiguous_strides(const std::vector<std::int64_t>& shape) {
  std::vector<std::int64_t> strides(shape.size(), 1);
  for (std::size_t d = shape.size(); d-- > 1;) strides[d - 1] = strides[d] * shape[d];
  return strides;
}

// torch._utils._rebuild_tensor_v2(storage, offset, shape, strides, requires_grad, backward_hooks)
void add_tensor(Pickle& pickle, const StoredTensor& tensor, std::string_view storage) {
  pickle.global("torch._utils", "_rebuild_tensor_v2").opcode('(');
  pickle.opcode('(').text("storage").global("torch", storage_class(tensor.type)).text(storage).text("cpu");
  pickle.number(*element_count(tensor.shape)).opcode('t').opcode('Q');                          // BINPERSID
  pickle.number(0).tuple(tensor.shape).tuple(contiguous_strides(tensor.shape)).opcode('\x89');  // NEWFALSE
  pickle.global("collections", "OrderedDict").opcode(')').opcode('R').opcode('t').opcode('R');
}

void add_member(ZipWriter& zip, const std::string& name, std::span<const std::byte> bytes) {
  zip.begin_member(base::concat(kFolder, "/", name));
  zip.append(bytes);
  zip.end_member();
}

}  // namespace

void write_torch_state_dict(const std::filesystem::path& path, const TensorMap& tensors, bool force) {
  // Tensors of the same elements share a storage, so that tied weights are stored once.
  std::map<std::tuple<const std::byte*, TensorType, std::int64_t>, std::size_t> places;
  std::vector<const StoredTensor*> storages;
  Pickle pickle;
  pickle.opcode('}').opcode('(');  // EMPTY_DICT MARK
  for (const auto& [name, tensor] : tensors) {
    const auto [place, added] =
        places.emplace(std::tuple(tensor.elements.get(), tensor.type, tensor.size), storages.size());
    if (added) storages.push_back(&tensor);
    pickle.text(name);
    add_tensor(pickle, tensor, std::to_string(place->second));
  }
  pickle.opcode('u').opcode('.');  // SETITEMS STOP

  ZipWriter zip(path, force);
  add_member(zip, "data.pkl", bytes_of(pickle.bytes()));
  add_member(zip, "byteorder", bytes_of("little"));
  for (std::size_t i = 0; i < storages.size(); ++i) add_member(zip, base::concat("data/", i), storages[i]->bytes());
  add_member(zip, "version", bytes_of("3\n"));
  zip.commit();
}

}  // namespace dnamamba::files
