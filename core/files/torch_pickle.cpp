#include "core/files/torch_pickle.h"

#include <algorithm>
#include <cstring>
#include <optional>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <variant>

#include "core/base/error.h"

namespace dnamamba::files {
namespace {

using base::concat;
using base::IoError;

constexpr std::size_t kMostDimensions = 64;
constexpr std::size_t kLongestKey = 255;
constexpr std::size_t kLongestGlobal = 255;

// Values live in one list and name one another by index: no recursion, so no depth that a hostile file could exhaust,
// and every opcode adds at most one value, so memory is bounded by the pickle's size.
using Index = std::size_t;
struct None {};
struct OrderedDictClass {};
struct RebuildTensor {};
struct RebuildParameter {};
struct StorageClass {
  TensorType type;
};
struct Tuple {
  std::vector<Index> items;
};
struct Dict {
  std::vector<std::pair<Index, Index>> items;
};
struct Storage {
  std::string key;
  TensorType type;
  std::int64_t elements;
};
using Value = std::variant<None, bool, std::int64_t, std::string, OrderedDictClass, RebuildTensor, RebuildParameter,
                           StorageClass, Tuple, Dict, Storage, PickledTensor>;

// In the order of Value's alternatives.
constexpr const char* kKinds[] = {"None",       "a bool",  "a number", "a string", "a class",   "a function",
                                  "a function", "a class", "a tuple",  "a dict",   "a storage", "a tensor"};

std::optional<Value> allowed_global(std::string_view name) {
  if (name == "collections OrderedDict") return OrderedDictClass{};
  if (name == "torch._utils _rebuild_tensor_v2") return RebuildTensor{};
  if (name == "torch._utils _rebuild_parameter") return RebuildParameter{};
  static constexpr std::pair<std::string_view, TensorType> kStorages[] = {
      {"torch DoubleStorage", TensorType::kFloat64}, {"torch FloatStorage", TensorType::kFloat32},
      {"torch HalfStorage", TensorType::kFloat16},   {"torch BFloat16Storage", TensorType::kBFloat16},
      {"torch LongStorage", TensorType::kInt64},     {"torch IntStorage", TensorType::kInt32},
      {"torch ShortStorage", TensorType::kInt16},    {"torch CharStorage", TensorType::kInt8},
      {"torch ByteStorage", TensorType::kUint8},     {"torch BoolStorage", TensorType::kBool},
  };
  for (const auto& [storage, type] : kStorages)
    if (name == storage) return StorageClass{type};
  return std::nullopt;
}

class Machine {
 public:
  Machine(std::span<const std::byte> pickle, const std::string& file) : pickle_(pickle), file_(file) {}

  std::map<std::string, PickledTensor> run() {
    bool stopped = false;
    while (!stopped) stopped = step();
    if (position_ != pickle_.size()) fail("bytes after the end");
    if (stack_.size() != 1 || !marks_.empty()) fail("ends with other than one value");
    return state_dict(stack_.front());
  }

 private:
  [[noreturn]] void fail(const std::string& what) const {
    throw IoError(concat(file_, ": data.pkl offset ", opcode_at_, ": ", what,
                         "; only what torch.save(model.state_dict(), ...) writes is read"));
  }

  // ---- bytes
  std::span<const std::byte> take(std::size_t count) {
    if (count > pickle_.size() - position_) fail("truncated");
    const auto bytes = pickle_.subspan(position_, count);
    position_ += count;
    return bytes;
  }
  template <typename T>
  T number() {
    T value;
    std::memcpy(&value, take(sizeof(T)).data(), sizeof(T));
    return value;
  }
  std::string text(std::size_t length) {
    const auto bytes = take(length);
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
  }
  std::string line() {
    std::string text;
    for (char c = number<char>(); c != '\n'; c = number<char>()) {
      if (text.size() == kLongestGlobal) fail("a name without an end");
      text += c;
    }
    return text;
  }

  // ---- the stack and the memo
  void push(Value value) {
    values_.push_back(std::move(value));
    stack_.push_back(values_.size() - 1);
  }
  Index pop() {
    if (stack_.size() <= (marks_.empty() ? 0 : marks_.back())) fail("takes more values than there are");
    const Index top = stack_.back();
    stack_.pop_back();
    return top;
  }
  std::vector<Index> pop_to_mark() {
    if (marks_.empty()) fail("there is no mark");
    const auto first = stack_.begin() + static_cast<std::ptrdiff_t>(marks_.back());
    std::vector<Index> items(first, stack_.end());
    stack_.erase(first, stack_.end());
    marks_.pop_back();
    return items;
  }
  Tuple pop_tuple(int count) {
    Tuple tuple;
    for (int i = 0; i < count; ++i) tuple.items.push_back(pop());
    std::reverse(tuple.items.begin(), tuple.items.end());
    return tuple;
  }
  void memoise(std::uint32_t key) {
    if (stack_.empty()) fail("nothing to memoise");
    memo_[key] = stack_.back();
  }
  void recall(std::uint32_t key) {
    const auto found = memo_.find(key);
    if (found == memo_.end()) fail("a memo that was never set");
    stack_.push_back(found->second);
  }

  template <typename T>
  const T& expect(Index index, const char* what) const {
    if (const T* value = std::get_if<T>(&values_[index])) return *value;
    fail(concat(what, " is ", kKinds[values_[index].index()]));
  }
  Dict& top_dict() {
    if (stack_.empty()) fail("there is no dict");
    if (auto* dict = std::get_if<Dict>(&values_[stack_.back()])) return *dict;
    fail("items for something that is not a dict");
  }

  // ---- opcodes
  bool step();
  void set_items(const std::vector<Index>& items);
  void build();
  void reduce();
  void persistent_id();
  void global();
  void long1();
  std::vector<std::int64_t> counts(Index index, const char* what) const;
  PickledTensor rebuild_tensor(const Tuple& arguments) const;
  void check_bounds(const PickledTensor& tensor) const;
  std::map<std::string, PickledTensor> state_dict(Index index) const;

  std::span<const std::byte> pickle_;
  const std::string& file_;
  std::size_t position_ = 0;
  std::size_t opcode_at_ = 0;
  std::vector<Value> values_;
  std::vector<Index> stack_;
  std::vector<std::size_t> marks_;  // heights of the stack
  std::unordered_map<std::uint32_t, Index> memo_;
};

// One opcode; true at the end. Names are those of Python's pickletools.
bool Machine::step() {
  opcode_at_ = position_;
  const auto opcode = number<std::uint8_t>();
  if (opcode_at_ == 0 && opcode != 0x80) fail("not a pickle of protocol 2");
  switch (opcode) {
    case 0x80:  // PROTO
      if (number<std::uint8_t>() != 2 || opcode_at_ != 0) fail("not a pickle of protocol 2");
      return false;
    case '.':
      return true;  // STOP
    case '(':
      marks_.push_back(stack_.size());
      return false;  // MARK
    case ')':
      push(Tuple{});
      return false;  // EMPTY_TUPLE
    case 't':
      push(Tuple{pop_to_mark()});
      return false;  // TUPLE
    case 0x85:
      push(pop_tuple(1));
      return false;  // TUPLE1
    case 0x86:
      push(pop_tuple(2));
      return false;  // TUPLE2
    case 0x87:
      push(pop_tuple(3));
      return false;  // TUPLE3
    case '}':
      push(Dict{});
      return false;  // EMPTY_DICT
    case 'N':
      push(None{});
      return false;  // NONE
    case 0x88:
      push(true);
      return false;  // NEWTRUE
    case 0x89:
      push(false);
      return false;  // NEWFALSE
    case 'K':
      push(std::int64_t{number<std::uint8_t>()});
      return false;  // BININT1
    case 'M':
      push(std::int64_t{number<std::uint16_t>()});
      return false;  // BININT2
    case 'J':
      push(std::int64_t{number<std::int32_t>()});
      return false;  // BININT
    case 0x8a:
      long1();
      return false;  // LONG1
    case 'X':
      push(text(number<std::uint32_t>()));
      return false;  // BINUNICODE
    case 'q':
      memoise(number<std::uint8_t>());
      return false;  // BINPUT
    case 'r':
      memoise(number<std::uint32_t>());
      return false;  // LONG_BINPUT
    case 'h':
      recall(number<std::uint8_t>());
      return false;  // BINGET
    case 'j':
      recall(number<std::uint32_t>());
      return false;  // LONG_BINGET
    case 'c':
      global();
      return false;  // GLOBAL
    case 'Q':
      persistent_id();
      return false;  // BINPERSID
    case 'R':
      reduce();
      return false;  // REDUCE
    case 'b':
      build();
      return false;  // BUILD
    case 's':
      set_items(pop_tuple(2).items);
      return false;  // SETITEM
    case 'u':
      set_items(pop_to_mark());
      return false;  // SETITEMS
    default:
      fail(concat("opcode ", int{opcode}, " is not allowed"));
  }
}

void Machine::set_items(const std::vector<Index>& items) {
  if (items.size() % 2 != 0) fail("a key without a value");
  Dict& dict = top_dict();
  for (std::size_t i = 0; i < items.size(); i += 2) dict.items.emplace_back(items[i], items[i + 1]);
}

// state_dict() has an attribute _metadata (versions of the modules), which tells nothing about the tensors.
void Machine::build() {
  const Dict& state = expect<Dict>(pop(), "the state of an object");
  top_dict();
  for (const auto& [key, value] : state.items)
    if (expect<std::string>(key, "an attribute's name") != "_metadata")
      fail(concat("attribute '", std::get<std::string>(values_[key]), "' is not allowed"));
}

void Machine::reduce() {
  const Tuple arguments = expect<Tuple>(pop(), "the list of arguments");
  const Index callee = pop();
  const Value& function = values_[callee];
  if (std::holds_alternative<OrderedDictClass>(function)) {
    if (!arguments.items.empty()) fail("OrderedDict with arguments");
    push(Dict{});
  } else if (std::holds_alternative<RebuildTensor>(function)) {
    push(rebuild_tensor(arguments));
  } else if (std::holds_alternative<RebuildParameter>(function)) {
    if (arguments.items.size() != 3) fail("a parameter needs 3 arguments");
    expect<PickledTensor>(arguments.items[0], "a parameter");
    stack_.push_back(arguments.items[0]);
  } else {
    fail(concat("a call of ", kKinds[function.index()]));
  }
}

void Machine::persistent_id() {
  const Tuple& id = expect<Tuple>(pop(), "a persistent id");
  if (id.items.size() != 5 || expect<std::string>(id.items[0], "a persistent id's kind") != "storage")
    fail("a persistent id that is not a storage");
  Storage storage{expect<std::string>(id.items[2], "a storage's key"),
                  expect<StorageClass>(id.items[1], "a storage's class").type,
                  expect<std::int64_t>(id.items[4], "a storage's size")};
  if (storage.key.empty() || storage.key.size() > kLongestKey) fail("a storage's key is too long or empty");
  if (storage.elements < 0) fail("a storage of negative size");
  push(std::move(storage));
}

void Machine::global() {
  const std::string module = line();
  const std::string name = line();
  auto value = allowed_global(concat(module, " ", name));
  if (!value) fail(concat("'", module, ".", name, "' is not allowed"));
  push(*std::move(value));
}

void Machine::long1() {
  const std::size_t length = number<std::uint8_t>();
  if (length > 8) fail("an integer of more than 64 bits");
  const auto bytes = take(length);
  std::uint64_t value = 0;
  for (std::size_t i = 0; i < length; ++i) value |= std::to_integer<std::uint64_t>(bytes[i]) << (8 * i);
  const bool negative = length > 0 && (std::to_integer<int>(bytes[length - 1]) & 0x80) != 0;
  if (negative && length < 8) value |= ~std::uint64_t{0} << (8 * length);
  push(static_cast<std::int64_t>(value));
}

std::vector<std::int64_t> Machine::counts(Index index, const char* what) const {
  const Tuple& tuple = expect<Tuple>(index, what);
  if (tuple.items.size() > kMostDimensions) fail(concat(what, " has ", tuple.items.size(), " dimensions"));
  std::vector<std::int64_t> values;
  for (const Index item : tuple.items) {
    values.push_back(expect<std::int64_t>(item, what));
    if (values.back() < 0) fail(concat(what, " is negative"));
  }
  return values;
}

// torch._utils._rebuild_tensor_v2(storage, storage_offset, size, stride, requires_grad, backward_hooks, metadata=None)
PickledTensor Machine::rebuild_tensor(const Tuple& arguments) const {
  const auto& items = arguments.items;
  if (items.size() != 6 && items.size() != 7) fail("a tensor needs 6 or 7 arguments");
  const Storage& storage = expect<Storage>(items[0], "a tensor's storage");
  // Metadata says, for example, that the values are to be negated.
  if (items.size() == 7 && !std::holds_alternative<None>(values_[items[6]]) &&
      !expect<Dict>(items[6], "a tensor's metadata").items.empty())
    fail("a tensor with metadata is not allowed");
  PickledTensor tensor;
  tensor.storage = storage.key;
  tensor.type = storage.type;
  tensor.storage_elements = storage.elements;
  tensor.offset = expect<std::int64_t>(items[1], "a tensor's offset");
  tensor.shape = counts(items[2], "a tensor's shape");
  tensor.strides = counts(items[3], "a tensor's strides");
  check_bounds(tensor);
  return tensor;
}

void Machine::check_bounds(const PickledTensor& tensor) const {
  if (tensor.shape.size() != tensor.strides.size()) fail("a tensor's shape and strides differ in length");
  const auto elements = element_count(tensor.shape);
  if (!elements || tensor.offset < 0 || tensor.offset > tensor.storage_elements)
    fail("a tensor that is outside of its storage");
  if (*elements == 0) return;
  std::int64_t last = tensor.offset;
  for (std::size_t d = 0; d < tensor.shape.size(); ++d) {
    std::int64_t step = 0;
    if (__builtin_mul_overflow(tensor.shape[d] - 1, tensor.strides[d], &step) ||
        __builtin_add_overflow(last, step, &last))
      fail("a tensor that is outside of its storage");
  }
  if (last >= tensor.storage_elements) fail("a tensor that is outside of its storage");
  // A stride of 0 repeats elements; a few bytes could ask for any amount of memory.
  if (*elements > tensor.storage_elements) fail("an expanded tensor; save tensor.contiguous()");
}

std::map<std::string, PickledTensor> Machine::state_dict(Index index) const {
  std::map<std::string, PickledTensor> tensors;
  for (const auto& [key, value] : expect<Dict>(index, "the whole").items) {
    const auto& name = expect<std::string>(key, "a key");
    const auto& tensor = expect<PickledTensor>(value, concat("entry '", name, "'").c_str());
    if (!tensors.emplace(name, tensor).second) fail(concat("entry '", name, "' is there twice"));
  }
  return tensors;
}

}  // namespace

std::map<std::string, PickledTensor> read_torch_pickle(std::span<const std::byte> pickle, const std::string& file) {
  return Machine(pickle, file).run();
}

}  // namespace dnamamba::files
