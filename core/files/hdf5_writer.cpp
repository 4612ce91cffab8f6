#include "core/files/hdf5_writer.h"

#include <hdf5.h>

#include <algorithm>
#include <charconv>

#include "core/base/error.h"

namespace dnamamba::files {
namespace {

using base::concat;
using base::IoError;

static_assert(std::is_same_v<hid_t, std::int64_t> && std::is_same_v<herr_t, int>);

// A chunk of 32 KiB is little beside a small file's other parts, and many rows for a table of chunks.
constexpr std::int64_t kChunkBytes = std::int64_t{1} << 15;
constexpr std::int64_t kChunkStrings = 1024;
constexpr std::size_t kMostWaiting = std::size_t{1} << 20;  // bytes of strings

// Errors go into ours and not to standard error. Debian's library keeps this for each thread.
void silence_this_thread() {
  H5Eset_auto2(H5E_DEFAULT, nullptr, nullptr);
}

// What the library found wrong first: the innermost of its messages.
std::string innermost_message() {
  std::string message;
  const H5E_walk2_t keep_first = [](unsigned depth, const H5E_error2_t* error, void* kept) -> herr_t {
    if (depth == 0 && error->desc != nullptr) *static_cast<std::string*>(kept) = error->desc;
    return 0;
  };
  H5Ewalk2(H5E_DEFAULT, H5E_WALK_UPWARD, keep_first, &message);
  return message;
}

// Its messages on failed writes hold "errno = 28".
[[noreturn]] void throw_hdf5_error(const std::string& name) {
  constexpr std::string_view kErrno = "errno = ";
  const std::string message = innermost_message();
  if (const std::size_t at = message.find(kErrno); at != std::string::npos) {
    int number = 0;
    std::from_chars(message.data() + at + kErrno.size(), message.data() + message.size(), number);
    throw_write_error(name, number);
  }
  throw IoError(concat(name, ": can't write: HDF5 says: ", message));
}

template <typename Result>
Result checked(Result result, const std::string& name) {
  if (result < 0) throw_hdf5_error(name);
  return result;
}

Hdf5Handle text_type(const std::string& name) {
  Hdf5Handle type(checked(H5Tcopy(H5T_C_S1), name), H5Tclose);
  checked(H5Tset_size(type.id(), H5T_VARIABLE), name);
  checked(H5Tset_cset(type.id(), H5T_CSET_UTF8), name);
  return type;
}

Hdf5Handle scalar_space(const std::string& name) {
  return {checked(H5Screate(H5S_SCALAR), name), H5Sclose};
}

// IEEE binary16, as h5py builds it: the library has no name for it.
Hdf5Handle half_type(const std::string& name) {
  Hdf5Handle type(checked(H5Tcopy(H5T_IEEE_F32LE), name), H5Tclose);
  checked(H5Tset_fields(type.id(), 15, 10, 5, 0, 10), name);
  checked(H5Tset_size(type.id(), 2), name);
  checked(H5Tset_ebias(type.id(), 15), name);
  return type;
}

Hdf5Handle number_type(TensorType type, const std::string& name) {
  switch (type) {
    case TensorType::kFloat16:
      return half_type(name);
    case TensorType::kFloat32:
      return {checked(H5Tcopy(H5T_IEEE_F32LE), name), H5Tclose};
    case TensorType::kInt64:
      return {checked(H5Tcopy(H5T_STD_I64LE), name), H5Tclose};
    case TensorType::kInt8:
      return {checked(H5Tcopy(H5T_STD_I8LE), name), H5Tclose};
    default:
      throw base::Error(concat(name, ": HDF5 is not written with elements of type ", name_of(type)));
  }
}

std::int64_t row_bytes_of(TensorType type, const std::vector<std::int64_t>& row_shape) {
  const auto bytes = byte_count(type, row_shape);
  if (!bytes || *bytes == 0) throw base::Error(concat("rows of ", text_of_shape(row_shape), " hold no numbers"));
  return *bytes;
}

std::vector<hsize_t> extents(std::int64_t rows, std::span<const std::int64_t> row_shape) {
  std::vector<hsize_t> all = {static_cast<hsize_t>(rows)};
  for (const std::int64_t extent : row_shape) all.push_back(static_cast<hsize_t>(extent));
  return all;
}

Hdf5Handle create_dataset(hid_t file, const std::string& path, hid_t type, std::span<const std::int64_t> row_shape,
                          std::int64_t chunk_rows, const std::string& name) {
  silence_this_thread();
  const auto none = extents(0, row_shape);
  auto most = none;
  most[0] = H5S_UNLIMITED;
  const auto chunk = extents(chunk_rows, row_shape);
  const auto rank = static_cast<int>(none.size());
  const Hdf5Handle space(checked(H5Screate_simple(rank, none.data(), most.data()), name), H5Sclose);
  const Hdf5Handle properties(checked(H5Pcreate(H5P_DATASET_CREATE), name), H5Pclose);
  checked(H5Pset_chunk(properties.id(), rank, chunk.data()), name);
  checked(H5Pset_obj_track_times(properties.id(), false), name);  // the same content gives the same bytes
  return {checked(H5Dcreate2(file, path.c_str(), type, space.id(), H5P_DEFAULT, properties.id(), H5P_DEFAULT), name),
          H5Dclose};
}

Hdf5Handle create_file(const std::filesystem::path& path, const std::string& name) {
  H5dont_atexit();  // a file given up after a full disk would be written to again
  silence_this_thread();
  const Hdf5Handle access(checked(H5Pcreate(H5P_FILE_ACCESS), name), H5Pclose);
  checked(H5Pset_fclose_degree(access.id(), H5F_CLOSE_STRONG), name);
  // Nobody else knows the temporary name, and some network file systems refuse locks.
  checked(H5Pset_file_locking(access.id(), false, true), name);
  return {checked(H5Fcreate(path.c_str(), H5F_ACC_TRUNC, H5P_DEFAULT, access.id()), name), H5Fclose};
}

}  // namespace

int Hdf5Handle::release() noexcept {
  if (id_ < 0) return 0;
  silence_this_thread();
  return close_(std::exchange(id_, -1));
}

Hdf5Writer::Hdf5Writer(const std::filesystem::path& path, bool force)
    : name_(path.string()), file_(path, force), handle_(create_file(file_.path_to_fill(), name_)) {}

void Hdf5Writer::make_group(const std::string& path) {
  silence_this_thread();
  const Hdf5Handle group(checked(H5Gcreate2(handle_.id(), path.c_str(), H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT), name_),
                         H5Gclose);
}

void Hdf5Writer::write_text(const std::string& path, const std::string& text) {
  silence_this_thread();
  const Hdf5Handle type = text_type(name_);
  const Hdf5Handle space = scalar_space(name_);
  const Hdf5Handle properties(checked(H5Pcreate(H5P_DATASET_CREATE), name_), H5Pclose);
  checked(H5Pset_obj_track_times(properties.id(), false), name_);
  const Hdf5Handle dataset(
      checked(H5Dcreate2(handle_.id(), path.c_str(), type.id(), space.id(), H5P_DEFAULT, properties.id(), H5P_DEFAULT),
              name_),
      H5Dclose);
  const char* value = text.c_str();
  checked(H5Dwrite(dataset.id(), type.id(), H5S_ALL, H5S_ALL, H5P_DEFAULT, &value), name_);
}

void Hdf5Writer::set_attribute(const std::string& object, const std::string& name, const std::string& value) {
  const char* text = value.c_str();
  write_attribute(object, name, text_type(name_), scalar_space(name_), &text);
}

void Hdf5Writer::set_attribute(const std::string& object, const std::string& name,
                               const std::vector<std::string>& values) {
  std::vector<const char*> texts;
  for (const std::string& value : values) texts.push_back(value.c_str());
  const hsize_t count = texts.size();
  const Hdf5Handle space(checked(H5Screate_simple(1, &count, nullptr), name_), H5Sclose);
  write_attribute(object, name, text_type(name_), space, texts.data());
}

void Hdf5Writer::set_attribute(const std::string& object, const std::string& name, bool value) {
  const Hdf5Handle type(checked(H5Tenum_create(H5T_STD_I8LE), name_), H5Tclose);
  for (const std::int8_t number : {0, 1})
    checked(H5Tenum_insert(type.id(), number == 0 ? "FALSE" : "TRUE", &number), name_);
  const auto number = static_cast<std::int8_t>(value);
  write_attribute(object, name, type, scalar_space(name_), &number);
}

void Hdf5Writer::write_attribute(const std::string& object, const std::string& name, const Hdf5Handle& type,
                                 const Hdf5Handle& space, const void* value) {
  silence_this_thread();
  const Hdf5Handle attribute(checked(H5Acreate_by_name(handle_.id(), object.c_str(), name.c_str(), type.id(),
                                                       space.id(), H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT),
                                     name_),
                             H5Aclose);
  // HDF5 takes no null pointer, not even for no values.
  if (checked(H5Sget_simple_extent_npoints(space.id()), name_) > 0)
    checked(H5Awrite(attribute.id(), type.id(), value), name_);
}

void Hdf5Writer::commit() {
  silence_this_thread();
  checked(H5Fflush(handle_.id(), H5F_SCOPE_GLOBAL), name_);
  checked(handle_.release(), name_);
  file_.commit();
}

Hdf5Dataset::Hdf5Dataset(Hdf5Writer& file, const std::string& path, Hdf5Handle type,
                         std::span<const std::int64_t> row_shape, std::int64_t chunk_rows)
    : name_(file.name_),
      type_(std::move(type)),
      dataset_(create_dataset(file.handle_.id(), path, type_.id(), row_shape, chunk_rows, name_)),
      row_shape_(row_shape.begin(), row_shape.end()),
      chunk_rows_(chunk_rows) {}

void Hdf5Dataset::write_rows(const void* elements, std::int64_t rows) {
  if (rows == 0) return;
  silence_this_thread();
  const auto all = extents(rows_ + rows, row_shape_);
  const auto added = extents(rows, row_shape_);
  std::vector<hsize_t> offset(all.size(), 0);
  offset[0] = static_cast<hsize_t>(rows_);
  checked(H5Dset_extent(dataset_.id(), all.data()), name_);
  const Hdf5Handle space(checked(H5Dget_space(dataset_.id()), name_), H5Sclose);
  checked(H5Sselect_hyperslab(space.id(), H5S_SELECT_SET, offset.data(), nullptr, added.data(), nullptr), name_);
  const Hdf5Handle memory(checked(H5Screate_simple(static_cast<int>(added.size()), added.data(), nullptr), name_),
                          H5Sclose);
  checked(H5Dwrite(dataset_.id(), type_.id(), memory.id(), space.id(), H5P_DEFAULT, elements), name_);
  rows_ += rows;
}

void Hdf5Dataset::close_dataset() {
  checked(dataset_.release(), name_);
}

Hdf5Numbers::Hdf5Numbers(Hdf5Writer& file, const std::string& path, TensorType type,
                         const std::vector<std::int64_t>& row_shape)
    : Hdf5Dataset(file, path, number_type(type, path), row_shape,
                  std::max<std::int64_t>(1, kChunkBytes / row_bytes_of(type, row_shape))),
      row_bytes_(row_bytes_of(type, row_shape)) {}

void Hdf5Numbers::append(std::span<const std::byte> rows) {
  waiting_.insert(waiting_.end(), rows.begin(), rows.end());
  if (static_cast<std::int64_t>(waiting_.size()) >= chunk_rows() * row_bytes_) flush();
}

void Hdf5Numbers::flush() {
  write_rows(waiting_.data(), static_cast<std::int64_t>(waiting_.size()) / row_bytes_);
  waiting_.clear();
}

void Hdf5Numbers::close() {
  flush();
  close_dataset();
}

Hdf5Strings::Hdf5Strings(Hdf5Writer& file, const std::string& path)
    : Hdf5Dataset(file, path, text_type(path), {}, kChunkStrings) {}

void Hdf5Strings::append(std::string_view text) {
  begins_.push_back(waiting_.size());
  waiting_ += text;
  waiting_ += '\0';
  if (static_cast<std::int64_t>(begins_.size()) >= chunk_rows() || waiting_.size() >= kMostWaiting) flush();
}

void Hdf5Strings::flush() {
  std::vector<const char*> texts;
  for (const std::size_t begin : begins_) texts.push_back(waiting_.data() + begin);
  write_rows(texts.data(), static_cast<std::int64_t>(texts.size()));
  waiting_.clear();
  begins_.clear();
}

void Hdf5Strings::close() {
  flush();
  close_dataset();
}

}  // namespace dnamamba::files
