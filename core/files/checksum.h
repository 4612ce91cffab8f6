// SHA-256 of files and bytes, and lists of them as sha256sum writes and checks them.
#pragma once
#include <cstddef>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

namespace dnamamba::files {

/// 64 lower-case hexadecimal digits.
std::string sha256_of_bytes(std::span<const std::byte> bytes);

/// The same of a file's content, read in pieces. @throws IoError.
std::string sha256_of_file(const std::filesystem::path& path);

/// One line of a list: `<sha256>  <name>`.
struct Checksum {
  std::string sha256;  ///< 64 hexadecimal digits, lower case once read.
  std::string name;    ///< As in the list: relative to the folder that `sha256sum -c` is run in.
};

/// @throws IoError naming the file and the line if a line is not of that form.
std::vector<Checksum> read_checksums(const std::filesystem::path& path);

/// @throws IoError, also if `path` exists and `force` is false.
void write_checksums(const std::filesystem::path& path, const std::vector<Checksum>& checksums, bool force);

}  // namespace dnamamba::files
