#include "core/files/safetensors.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <nlohmann/json.hpp>
#include <set>
#include <string_view>
#include <utility>

#include "core/base/error.h"
#include "core/base/json_text.h"
#include "core/files/atomic_file.h"
#include "core/files/descriptor.h"

namespace dnamamba::files {
namespace {

using base::concat;
using base::IoError;
using nlohmann::json;

constexpr std::int64_t kLengthBytes = 8;
constexpr std::int64_t kLargestHeader = 100'000'000;  // the format's own limit
constexpr std::size_t kMostDimensions = 64;

constexpr std::pair<std::string_view, TensorType> kTypes[] = {
    {"F64", TensorType::kFloat64},   {"F32", TensorType::kFloat32}, {"F16", TensorType::kFloat16},
    {"BF16", TensorType::kBFloat16}, {"I64", TensorType::kInt64},   {"I32", TensorType::kInt32},
    {"I16", TensorType::kInt16},     {"I8", TensorType::kInt8},     {"U8", TensorType::kUint8},
    {"BOOL", TensorType::kBool},
};

std::string_view dtype_of(TensorType type) {
  return std::find_if(std::begin(kTypes), std::end(kTypes), [&](const auto& pair) { return pair.second == type; })
      ->first;
}

// JSON whose objects have no key twice: two readers could believe two different things.
json parse_without_duplicates(const std::string& text, const std::string& file) {
  std::vector<std::set<std::string>> keys;
  const auto check = [&](int, json::parse_event_t event, json& parsed) {
    if (event == json::parse_event_t::object_start) keys.emplace_back();
    if (event == json::parse_event_t::object_end) keys.pop_back();
    if (event == json::parse_event_t::key && !keys.back().insert(parsed.get<std::string>()).second)
      throw IoError(concat(file, ": header key ", parsed.dump(), " is there twice"));
    return true;
  };
  try {
    return json::parse(text, check);
  } catch (const json::exception& error) {
    throw IoError(concat(file, ": header is not JSON: ", error.what()));
  }
}

Metadata parse_metadata(const json& object, const std::string& file) {
  if (!object.is_object()) throw IoError(concat(file, ": __metadata__ is not an object"));
  Metadata metadata;
  for (const auto& [key, value] : object.items()) {
    if (!value.is_string()) throw IoError(concat(file, ": __metadata__ '", key, "' is not a string"));
    metadata[key] = value.get<std::string>();
  }
  return metadata;
}

std::int64_t parse_count(const json& value, const std::string& where) {
  if (!value.is_number_unsigned() || value.get<std::uint64_t>() > std::numeric_limits<std::int64_t>::max())
    throw IoError(concat(where, ": ", base::json_text(value), " is not a count"));
  return value.get<std::int64_t>();
}

TensorType parse_type(const json& value, const std::string& where) {
  if (value.is_string())
    for (const auto& [dtype, type] : kTypes)
      if (value.get_ref<const std::string&>() == dtype) return type;
  throw IoError(concat(where, ": dtype ", base::json_text(value), " is not supported"));
}

SafetensorsHeader::Entry parse_entry(const json& object, std::int64_t first_byte, const std::string& where) {
  if (!object.is_object() || object.size() != 3 || !object.contains("dtype") || !object.contains("shape") ||
      !object.contains("data_offsets"))
    throw IoError(concat(where, ": needs exactly dtype, shape and data_offsets"));
  const json& shape = object["shape"];
  const json& offsets = object["data_offsets"];
  if (!shape.is_array() || shape.size() > kMostDimensions) throw IoError(concat(where, ": shape is not a list"));
  if (!offsets.is_array() || offsets.size() != 2) throw IoError(concat(where, ": data_offsets is not a pair"));

  SafetensorsHeader::Entry entry;
  entry.type = parse_type(object["dtype"], where);
  for (const json& extent : shape) entry.shape.push_back(parse_count(extent, where));
  const std::int64_t begin = parse_count(offsets[0], where);
  const std::int64_t end = parse_count(offsets[1], where);
  const auto expected = byte_count(entry.type, entry.shape);
  if (!expected || end < begin || end - begin != *expected)
    throw IoError(concat(where, ": data_offsets [", begin, ", ", end, "] are not the size of a ", name_of(entry.type),
                         " tensor of shape ", text_of_shape(entry.shape)));
  if (__builtin_add_overflow(first_byte, begin, &entry.offset))
    throw IoError(concat(where, ": offset ", begin, " is out of range"));
  entry.size = *expected;
  return entry;
}

// The tensors must tile the bytes between the header and the end of the file.
void check_tiling(const SafetensorsHeader& header, std::int64_t first_byte, std::int64_t file_size,
                  const std::string& file) {
  std::vector<std::pair<std::string_view, const SafetensorsHeader::Entry*>> order;
  for (const auto& [name, entry] : header.entries) order.emplace_back(name, &entry);
  std::sort(order.begin(), order.end(), [](const auto& a, const auto& b) {
    return std::pair(a.second->offset, a.second->size) < std::pair(b.second->offset, b.second->size);
  });
  std::int64_t position = first_byte;
  for (const auto& [name, entry] : order) {
    if (entry->offset != position)
      throw IoError(concat(file, ": tensor '", name, "' begins at offset ", entry->offset, ", expected ", position,
                           entry->offset < position ? " (overlap)" : " (gap)"));
    if (entry->size > file_size - position)
      throw IoError(concat(file, ": tensor '", name, "' at offset ", position, " needs ", entry->size,
                           " bytes, the file has ", file_size - position, " left: truncated?"));
    position += entry->size;
  }
  if (position != file_size)
    throw IoError(
        concat(file, ": ", file_size - position, " unexpected bytes after the last tensor, at offset ", position));
}

SafetensorsHeader read_header(const Descriptor& descriptor, const std::string& file) {
  const std::int64_t file_size = size_of(descriptor, file);
  std::uint64_t length = 0;
  if (file_size < kLengthBytes)
    throw IoError(concat(file, ": ", file_size, " bytes are no safetensors file: truncated?"));
  read_all_at(descriptor, 0, std::as_writable_bytes(std::span(&length, 1)), file);
  if (length < 2 || length > kLargestHeader)
    throw IoError(concat(file, ": header length ", length, " at offset 0: not a safetensors file?"));
  const std::int64_t first_byte = kLengthBytes + static_cast<std::int64_t>(length);
  if (first_byte > file_size)
    throw IoError(
        concat(file, ": header of ", length, " bytes, the file has ", file_size - kLengthBytes, ": truncated?"));
  std::string text(length, '\0');
  read_all_at(descriptor, kLengthBytes, std::as_writable_bytes(std::span(text)), file);
  if (text.front() != '{') throw IoError(concat(file, ": header does not begin with { at offset 8"));

  const json parsed = parse_without_duplicates(text, file);
  SafetensorsHeader header;
  for (const auto& [key, value] : parsed.items()) {
    if (key == "__metadata__") {
      header.metadata = parse_metadata(value, file);
    } else {
      header.entries[key] = parse_entry(value, first_byte, concat(file, ": tensor '", key, "'"));
    }
  }
  check_tiling(header, first_byte, file_size, file);
  return header;
}

// What stands before the tensors. Spaces fill it up to `least_size`, and further until the tensors are aligned.
std::string header_bytes(const json& header, const std::string& file, std::size_t least_size = 0) {
  std::string text;
  try {
    text = header.dump();
  } catch (const json::exception&) {
    throw IoError(concat(file, ": a tensor's name or the metadata is not UTF-8"));
  }
  if (text.size() + kLengthBytes < least_size) text.append(least_size - kLengthBytes - text.size(), ' ');
  text.append((8 - text.size() % 8) % 8, ' ');
  const std::uint64_t length = text.size();
  if (length > static_cast<std::uint64_t>(kLargestHeader))
    throw IoError(concat(file, ": a header of ", length, " bytes is more than the format allows"));
  return std::string(reinterpret_cast<const char*>(&length), kLengthBytes) + text;
}

}  // namespace

SafetensorsHeader read_safetensors_header(const std::filesystem::path& path) {
  return read_header(open_to_read(path), path.string());
}

SafetensorsContent read_safetensors(const std::filesystem::path& path) {
  const Descriptor descriptor = open_to_read(path);
  SafetensorsHeader header = read_header(descriptor, path.string());
  SafetensorsContent content;
  content.metadata = std::move(header.metadata);
  for (auto& [name, entry] : header.entries) {
    std::vector<std::byte> bytes(static_cast<std::size_t>(entry.size));
    read_all_at(descriptor, entry.offset, bytes, path.string());
    content.tensors.emplace(name, make_tensor(entry.type, std::move(entry.shape), std::move(bytes)));
  }
  return content;
}

void write_safetensors(const std::filesystem::path& path, const TensorMap& tensors, bool force,
                       const Metadata& metadata) {
  std::vector<const TensorMap::value_type*> order;
  for (const auto& tensor : tensors) order.push_back(&tensor);
  std::stable_sort(order.begin(), order.end(), [](const auto* a, const auto* b) {
    return element_size(a->second.type) > element_size(b->second.type);
  });

  json header = json::object();
  if (!metadata.empty()) header["__metadata__"] = metadata;
  std::int64_t position = 0;
  for (const auto* item : order) {
    const auto& [name, tensor] = *item;
    if (name == "__metadata__" || byte_count(tensor.type, tensor.shape) != tensor.size)
      throw IoError(concat(path.string(), ": tensor '", name, "' can't be written: its name or its size is wrong"));
    header[name] = {{"dtype", dtype_of(tensor.type)},
                    {"shape", tensor.shape},
                    {"data_offsets", {position, position + tensor.size}}};
    position += tensor.size;
  }
  AtomicFile file(path, force);
  file.append(header_bytes(header, path.string()));
  for (const auto* item : order) file.append(item->second.bytes());
  file.commit();
}

SafetensorsWriter::SafetensorsWriter(const std::filesystem::path& path, bool force, std::vector<Part> parts,
                                     Metadata metadata)
    : file_(path, force), parts_(std::move(parts)), metadata_(std::move(metadata)) {
  constexpr std::int64_t kMost = std::numeric_limits<std::int64_t>::max();
  const std::vector<Place> longest(parts_.size(), {.rows = kMost, .begin = kMost, .end = kMost});
  const std::string room = header(longest, 0);
  header_size_ = room.size();
  file_.append(room);
}

void SafetensorsWriter::append(std::span<const std::byte> bytes) {
  if (places_.size() == parts_.size()) throw base::Error("safetensors: bytes after the last tensor");
  file_.append(bytes);
}

void SafetensorsWriter::next_part() {
  places_.push_back(place_of_open_part());
}

void SafetensorsWriter::commit() {
  while (places_.size() < parts_.size()) next_part();
  const std::string head = header(places_, header_size_);
  file_.write_at(0, std::as_bytes(std::span(head)));
  file_.commit();
}

SafetensorsWriter::Place SafetensorsWriter::place_of_open_part() const {
  const Part& part = parts_.at(places_.size());
  Place place{.begin = places_.empty() ? 0 : places_.back().end, .end = size()};
  const auto row_bytes = byte_count(part.type, part.row_shape);
  if (!row_bytes || *row_bytes == 0 || (place.end - place.begin) % *row_bytes != 0)
    throw base::Error(concat("tensor '", part.name, "': ", place.end - place.begin, " bytes are not whole rows of ",
                             text_of_shape(part.row_shape)));
  place.rows = (place.end - place.begin) / *row_bytes;
  return place;
}

std::string SafetensorsWriter::header(std::span<const Place> places, std::size_t least_size) const {
  json header = json::object();
  if (!metadata_.empty()) header["__metadata__"] = metadata_;
  for (std::size_t i = 0; i < parts_.size(); ++i) {
    std::vector<std::int64_t> shape = {places[i].rows};
    shape.insert(shape.end(), parts_[i].row_shape.begin(), parts_[i].row_shape.end());
    header[parts_[i].name] = {
        {"dtype", dtype_of(parts_[i].type)}, {"shape", shape}, {"data_offsets", {places[i].begin, places[i].end}}};
  }
  return header_bytes(header, file_.target().string(), least_size);
}

}  // namespace dnamamba::files
