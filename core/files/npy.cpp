#include "core/files/npy.h"

#include <algorithm>
#include <cctype>
#include <charconv>
#include <cstring>
#include <limits>
#include <optional>
#include <set>
#include <string_view>
#include <utility>

#include "core/base/error.h"
#include "core/files/descriptor.h"
#include "core/files/tensor_file.h"

namespace dnamamba::files {
namespace {

using base::concat;
using base::IoError;

constexpr std::string_view kMagic("\x93NUMPY", 6);
constexpr std::size_t kAlignment = 64;
constexpr std::int64_t kAnyRows = std::numeric_limits<std::int64_t>::max();

std::string text_of_tuple(std::span<const std::int64_t> shape) {
  std::string text = "(";
  for (std::size_t i = 0; i < shape.size(); ++i) text += (i > 0 ? ", " : "") + std::to_string(shape[i]);
  return text + (shape.size() == 1 ? ",)" : ")");
}

// Reads the dict literal of a header: {'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), }
class LiteralParser {
 public:
  LiteralParser(std::string_view text, const std::string& name) : text_(text), name_(name) {}

  NpyHeader parse() {
    NpyHeader header;
    std::set<std::string> keys;
    expect("{");
    while (!accept("}")) {
      const std::string key = quoted();
      if (!keys.insert(key).second) fail("a key twice");
      expect(":");
      if (key == "descr") {
        header.descr = quoted();
      } else if (key == "fortran_order") {
        if (accept("True")) fail("Fortran order, which is not read; save numpy.ascontiguousarray(array)");
        expect("False");
      } else if (key == "shape") {
        header.shape = tuple();
      } else {
        fail("an unknown key");
      }
      if (!accept(",")) {
        expect("}");
        break;
      }
    }
    skip_blanks();
    if (position_ != text_.size() || keys.size() != 3) fail("other than descr, fortran_order and shape");
    return header;
  }

 private:
  [[noreturn]] void fail(const std::string& what) const {
    throw IoError(concat(name_, ": the .npy header has ", what, " (at its character ", position_, ")"));
  }
  void skip_blanks() {
    while (position_ < text_.size() && std::isspace(static_cast<unsigned char>(text_[position_])) != 0) ++position_;
  }
  bool accept(std::string_view token) {
    skip_blanks();
    if (!text_.substr(position_).starts_with(token)) return false;
    position_ += token.size();
    return true;
  }
  void expect(std::string_view token) {
    if (!accept(token)) fail(concat("no '", token, "' where it should"));
  }
  std::string quoted() {
    const char* quote = accept("'") ? "'" : "\"";
    if (*quote == '"') expect("\"");
    const std::size_t end = text_.find(*quote, position_);
    if (end == std::string_view::npos) fail("a string without an end");
    std::string value(text_.substr(position_, end - position_));
    position_ = end + 1;
    return value;
  }
  std::vector<std::int64_t> tuple() {
    std::vector<std::int64_t> values;
    expect("(");
    while (!accept(")")) {
      skip_blanks();
      std::int64_t value = -1;
      const char* first = text_.data() + position_;
      const auto [end, error] = std::from_chars(first, text_.data() + text_.size(), value);
      if (error != std::errc() || value < 0) fail("a shape that is not counts");
      position_ += static_cast<std::size_t>(end - first);
      values.push_back(value);
      if (!accept(",")) {
        expect(")");
        break;
      }
    }
    return values;
  }

  std::string_view text_;
  const std::string& name_;
  std::size_t position_ = 0;
};

std::int64_t element_size_in_file(const std::string& descr, const std::string& name) {
  try {
    return npy_element_size(descr);
  } catch (const base::Error& error) {
    throw IoError(concat(name, ": ", error.what()));
  }
}

}  // namespace

std::int64_t npy_element_size(const std::string& descr) {
  static const std::set<std::string> kNumbers = {"<f2", "<f4", "<f8", "<i2", "<i4", "<i8",
                                                 "<u2", "<u4", "<u8", "|i1", "|u1", "|b1"};
  std::int64_t size = 0;
  if (descr.size() > 2 && (kNumbers.count(descr) != 0 || descr.starts_with("|S"))) {
    const auto [end, error] = std::from_chars(descr.data() + 2, descr.data() + descr.size(), size);
    if (error == std::errc() && end == descr.data() + descr.size() && size > 0) return size;
  }
  throw base::Error(concat("NumPy type '", descr, "' is not supported"));
}

std::string npy_header_bytes(const NpyHeader& header, std::size_t least_size) {
  const std::string literal =
      concat("{'descr': '", header.descr, "', 'fortran_order': False, 'shape': ", text_of_tuple(header.shape), ", }");
  constexpr std::size_t kPreamble = 10;  // magic, version, 16-bit length
  std::size_t size = std::max(kPreamble + literal.size() + 1, least_size);
  size = (size + kAlignment - 1) / kAlignment * kAlignment;
  const std::size_t length = size - kPreamble;
  if (length > 0xffff) throw base::Error("a .npy header of more than 65535 bytes");
  std::string bytes(kMagic);
  bytes += '\1';
  bytes += '\0';
  bytes += static_cast<char>(length & 0xff);
  bytes += static_cast<char>(length >> 8);
  bytes += literal;
  bytes.append(size - bytes.size() - 1, ' ');
  return bytes + '\n';
}

std::size_t npy_growing_header_size(const std::string& descr, std::span<const std::int64_t> row_shape) {
  NpyHeader header{descr, {kAnyRows}};
  header.shape.insert(header.shape.end(), row_shape.begin(), row_shape.end());
  return npy_header_bytes(header).size();
}

NpyWriter::NpyWriter(const std::filesystem::path& path, bool force, std::string descr,
                     std::vector<std::int64_t> row_shape)
    : file_(path, force),
      descr_(std::move(descr)),
      row_shape_(std::move(row_shape)),
      header_size_(npy_growing_header_size(descr_, row_shape_)) {
  file_.append(std::string(header_size_, '\0'));
}

void NpyWriter::commit() {
  const std::int64_t bytes = file_.size() - static_cast<std::int64_t>(header_size_);
  NpyHeader header{descr_, {npy_row_count(descr_, row_shape_, bytes)}};
  header.shape.insert(header.shape.end(), row_shape_.begin(), row_shape_.end());
  const std::string head = npy_header_bytes(header, header_size_);
  file_.write_at(0, std::as_bytes(std::span(head)));
  file_.commit();
}

std::int64_t npy_row_count(const std::string& descr, std::span<const std::int64_t> row_shape, std::int64_t bytes) {
  const auto row_elements = element_count(row_shape);
  std::int64_t row_bytes = 0;
  if (!row_elements || __builtin_mul_overflow(*row_elements, npy_element_size(descr), &row_bytes) || row_bytes == 0 ||
      bytes % row_bytes != 0)
    throw base::Error(concat(bytes, " bytes are not whole rows of ", text_of_shape(row_shape), " of ", descr));
  return bytes / row_bytes;
}

NpyArray parse_npy(std::span<const std::byte> content, const std::string& name) {
  const std::string_view text(reinterpret_cast<const char*>(content.data()), content.size());
  if (text.size() < 12 || !text.starts_with(kMagic)) throw IoError(concat(name, ": is not a .npy file, or truncated"));
  const int version = static_cast<unsigned char>(text[6]);
  if (version < 1 || version > 3 || text[7] != 0)
    throw IoError(concat(name, ": .npy version ", version, " is unknown"));
  const std::size_t preamble = version == 1 ? 10 : 12;
  std::uint32_t length = 0;
  std::memcpy(&length, text.data() + 8, version == 1 ? 2 : 4);
  if (length > text.size() - preamble) throw IoError(concat(name, ": .npy header of ", length, " bytes: truncated?"));

  NpyArray array;
  array.header = LiteralParser(text.substr(preamble, length), name).parse();
  const auto elements = content.subspan(preamble + length);
  const auto count = element_count(array.header.shape);
  std::int64_t size = 0;
  if (!count || __builtin_mul_overflow(*count, element_size_in_file(array.header.descr, name), &size) ||
      size != static_cast<std::int64_t>(elements.size()))
    throw IoError(concat(name, ": ", elements.size(), " bytes of elements are not an array of ",
                         text_of_shape(array.header.shape), " of ", array.header.descr, ": truncated?"));
  array.elements.assign(elements.begin(), elements.end());
  return array;
}

NpyArray read_npy(const std::filesystem::path& path) {
  const Descriptor file = open_to_read(path);
  std::vector<std::byte> content(static_cast<std::size_t>(size_of(file, path.string())));
  read_all_at(file, 0, content, path.string());
  return parse_npy(content, path.string());
}

}  // namespace dnamamba::files
