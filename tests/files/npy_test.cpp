#include "core/files/npy.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

#include "core/base/error.h"
#include "core/files/npz.h"
#include "core/files/zip_reader.h"
#include "tests/support/damage.h"
#include "tests/support/python.h"
#include "tests/support/temp_dir.h"
#include "tests/support/throws.h"

namespace dnamamba::files {
namespace {

using base::IoError;
using test::content_of;
using test::error_text;
using test::TempDir;
using ::testing::HasSubstr;

template <typename T>
std::span<const std::byte> bytes_of(const std::vector<T>& values) {
  return std::as_bytes(std::span(values));
}

std::span<const std::byte> bytes_of(const std::string& text) {
  return std::as_bytes(std::span(text));
}

template <typename T>
std::vector<T> values_of(const NpyArray& array) {
  std::vector<T> values(array.elements.size() / sizeof(T));
  std::copy(array.elements.begin(), array.elements.end(), std::as_writable_bytes(std::span(values)).begin());
  return values;
}

TEST(Npy, RowsWrittenInPiecesAreReadBack) {
  const TempDir folder;
  NpyWriter writer(folder.file("a.npy"), false, "<f4", {3});
  const std::vector<float> values = {1, 2, 3, 4, 5, 6.5f};
  writer.append(bytes_of(values).first(7));
  writer.append(bytes_of(values).subspan(7));
  writer.commit();
  const NpyArray array = read_npy(folder.file("a.npy"));
  EXPECT_EQ(array.header.descr, "<f4");
  EXPECT_EQ(array.header.shape, (std::vector<std::int64_t>{2, 3}));
  EXPECT_EQ(values_of<float>(array), values);
}

TEST(Npy, HeadersAreAlignedAndHaveRoomForAnyNumberOfRows) {
  const std::int64_t width[] = {4096};
  const std::size_t size = npy_growing_header_size("<f4", width);
  EXPECT_EQ(size % 64, 0u);
  for (const std::int64_t rows : {std::int64_t{0}, std::int64_t{1} << 31, std::numeric_limits<std::int64_t>::max()})
    EXPECT_EQ(npy_header_bytes({"<f4", {rows, 4096}}, size).size(), size);
}

TEST(Npy, APartOfARowIsNotCommitted) {
  const TempDir folder;
  NpyWriter writer(folder.file("a.npy"), false, "<i8", {2});
  writer.append(bytes_of(std::vector<std::int64_t>{1, 2, 3}));
  EXPECT_THROW(writer.commit(), base::Error);
  EXPECT_FALSE(std::filesystem::exists(folder.file("a.npy")));
}

TEST(Npy, HeadersThatAreNotWholeOrNotSimpleAreRefused) {
  const auto with = [](const std::string& literal) {
    std::string text("\x93NUMPY\1\0", 8);
    text += static_cast<char>(literal.size());
    return text + '\0' + literal + std::string(8, 'x');
  };
  EXPECT_EQ(parse_npy(bytes_of(with("{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }\n")), "a").header.shape,
            std::vector<std::int64_t>{2});
  EXPECT_EQ(parse_npy(bytes_of(with("{\"shape\":(),'fortran_order':False,'descr':'<f8'}")), "a").header.shape,
            std::vector<std::int64_t>{});
  for (const char* bad : {
           "{'descr': '>f4', 'fortran_order': False, 'shape': (2,), }",
           "{'descr': '|O', 'fortran_order': False, 'shape': (1,), }",
           "{'descr': '<f4', 'fortran_order': True, 'shape': (2,), }",
           "{'descr': '<f4', 'fortran_order': False, 'shape': (3,), }",
           "{'descr': '<f4', 'fortran_order': False, 'shape': (-2,), }",
           "{'descr': '<f4', 'fortran_order': False, 'shape': (9223372036854775807, 9), }",
           "{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999999999999,), }",
           "{'descr': '<f4', 'fortran_order': False}",
           "{'descr': '<f4', 'descr': '<f4', 'fortran_order': False, 'shape': (2,)}",
           "{'descr': '<f4', 'fortran_order': False, 'shape': (2,), 'x': 1}",
           "{'descr': '<f4', 'fortran_order': False, 'shape': (2,)} rest",
           "{'descr': '<f4', 'fortran_order': False, 'shape': (2,",
           "",
       })
    EXPECT_THROW(parse_npy(bytes_of(with(bad)), "a"), IoError) << bad;
}

TEST(Npy, EveryCutIsNoticed) {
  const TempDir folder;
  NpyWriter writer(folder.file("a.npy"), false, "<i8", {});
  writer.append(bytes_of(std::vector<std::int64_t>(20, 7)));
  writer.commit();
  const std::string whole = content_of(folder.file("a.npy"));
  for (std::size_t length = 0; length < whole.size(); ++length)
    EXPECT_THROW(parse_npy(bytes_of(whole.substr(0, length)), "a"), IoError) << length;
  EXPECT_THROW(parse_npy(bytes_of(whole + "x"), "a"), IoError);
}

void write_sample(const std::string& path) {
  NpzWriter writer(path, false);
  writer.begin_array("floats", "<f4", {5});
  for (int row = 0; row < 100; ++row) writer.append(bytes_of(std::vector<float>(5, static_cast<float>(row))));
  writer.end_array();
  writer.begin_array("empty", "<i8", {});
  writer.end_array();
  writer.begin_array("letters", "|S1", {});
  writer.append(bytes_of(std::string("+-.")));
  writer.end_array();
  writer.commit();
}

TEST(Npz, ArraysOfUnknownLengthAreReadBack) {
  const TempDir folder;
  write_sample(folder.file("a.npz"));
  const auto arrays = read_npz(folder.file("a.npz"));
  ASSERT_EQ(arrays.size(), 3u);
  EXPECT_EQ(arrays.at("floats").header.shape, (std::vector<std::int64_t>{100, 5}));
  EXPECT_EQ(values_of<float>(arrays.at("floats"))[499], 99.0f);
  EXPECT_EQ(arrays.at("empty").header.shape, std::vector<std::int64_t>{0});
  EXPECT_EQ(values_of<char>(arrays.at("letters")), (std::vector<char>{'+', '-', '.'}));
}

TEST(Npz, TheSameArraysGiveTheSameBytes) {
  const TempDir folder;
  write_sample(folder.file("a.npz"));
  write_sample(folder.file("b.npz"));
  EXPECT_EQ(content_of(folder.file("a.npz")), content_of(folder.file("b.npz")));
}

TEST(Npz, NumpyReadsItAndWhatNumpyWritesIsRead) {
  DNAMAMBA_REQUIRE_PYTHON("numpy");
  const TempDir folder;
  write_sample(folder.file("a.npz"));
  const auto result = test::run_python(R"(
import sys, zipfile, numpy as np
assert zipfile.ZipFile(sys.argv[1]).testzip() is None
z = np.load(sys.argv[1])
assert z["floats"].dtype == np.float32 and z["floats"].shape == (100, 5)
assert (z["floats"] == np.arange(100)[:, None]).all()
assert z["empty"].dtype == np.int64 and z["empty"].shape == (0,)
assert z["letters"].tolist() == [b"+", b"-", b"."]
np.savez(sys.argv[2], one=np.arange(6, dtype=np.uint8).reshape(2, 3), two=np.float64(2.5))
)",
                                       {folder.file("a.npz"), folder.file("b.npz")});
  EXPECT_EQ(result.status, 0) << result.output;
  const auto arrays = read_npz(folder.file("b.npz"));
  EXPECT_EQ(values_of<std::uint8_t>(arrays.at("one")), (std::vector<std::uint8_t>{0, 1, 2, 3, 4, 5}));
  EXPECT_EQ(values_of<double>(arrays.at("two")), std::vector<double>{2.5});
}

TEST(Npz, EveryCutIsNoticed) {
  const TempDir folder;
  write_sample(folder.file("a.npz"));
  const std::string whole = content_of(folder.file("a.npz"));
  for (const std::size_t length : test::cuts(whole.size()))
    EXPECT_THROW(read_npz(folder.write("cut.npz", whole.substr(0, length))), IoError) << length;
}

TEST(Npz, AChangedBitIsNoticedOrChangesNoArray) {
  const TempDir folder;
  write_sample(folder.file("a.npz"));
  const std::string whole = content_of(folder.file("a.npz"));
  const auto expected = read_npz(folder.file("a.npz"));
  std::mt19937 random(5);
  for (int i = 0; i < 2000; ++i) {
    const std::string path = folder.write("bad.npz", test::with_flipped_bit(whole, random));
    try {
      for (const auto& [name, array] : read_npz(path)) {
        // A member's name is not covered by a checksum.
        if (expected.count(name) != 0) {
          EXPECT_EQ(array.elements, expected.at(name).elements);
        }
      }
    } catch (const IoError&) {
    }
  }
}

TEST(ZipReader, RefusesWhatIsNotStoredAndSaysWhy) {
  DNAMAMBA_REQUIRE_PYTHON("zipfile");
  const TempDir folder;
  ASSERT_EQ(test::run_python(R"(
import sys, zipfile, warnings
warnings.simplefilter("ignore")
with zipfile.ZipFile(sys.argv[1] + "/packed", "w", zipfile.ZIP_DEFLATED) as z: z.writestr("a", "a" * 1000)
with zipfile.ZipFile(sys.argv[1] + "/twice", "w") as z: z.writestr("a", "1"); z.writestr("a", "2")
)",
                             {folder.path().string()})
                .status,
            0);
  EXPECT_THAT(error_text<IoError>([&] { ZipReader(folder.file("packed")); }), HasSubstr("compressed"));
  EXPECT_THAT(error_text<IoError>([&] { ZipReader(folder.file("twice")); }), HasSubstr("there twice"));
  EXPECT_THAT(error_text<IoError>([&] { ZipReader(folder.write("text", "hello")); }), HasSubstr("not a zip archive"));
}

}  // namespace
}  // namespace dnamamba::files
