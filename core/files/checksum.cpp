#include "core/files/checksum.h"

#include <openssl/evp.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <fstream>
#include <memory>
#include <string_view>

#include "core/base/error.h"
#include "core/files/atomic_file.h"
#include "core/files/descriptor.h"

namespace dnamamba::files {
namespace {

using base::concat;
using base::IoError;

constexpr std::size_t kDigits = 64;

class Sha256 {
 public:
  Sha256() : context_(EVP_MD_CTX_new(), EVP_MD_CTX_free) {
    if (context_ == nullptr || EVP_DigestInit_ex(context_.get(), EVP_sha256(), nullptr) != 1)
      throw base::Error("OpenSSL has no SHA-256");
  }
  void add(std::span<const std::byte> bytes) {
    if (EVP_DigestUpdate(context_.get(), bytes.data(), bytes.size()) != 1) throw base::Error("OpenSSL: SHA-256 failed");
  }
  std::string hex() {
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned int length = 0;
    if (EVP_DigestFinal_ex(context_.get(), digest, &length) != 1) throw base::Error("OpenSSL: SHA-256 failed");
    static constexpr char kHex[] = "0123456789abcdef";
    std::string out;
    for (unsigned int i = 0; i < length; ++i) {
      out += kHex[digest[i] >> 4];
      out += kHex[digest[i] & 15];
    }
    return out;
  }

 private:
  std::unique_ptr<EVP_MD_CTX, void (*)(EVP_MD_CTX*)> context_;
};

bool is_sha256(std::string_view text) {
  return text.size() == kDigits &&
         std::all_of(text.begin(), text.end(), [](unsigned char c) { return std::isxdigit(c) != 0; });
}

}  // namespace

std::string sha256_of_bytes(std::span<const std::byte> bytes) {
  Sha256 sum;
  sum.add(bytes);
  return sum.hex();
}

std::string sha256_of_file(const std::filesystem::path& path) {
  const Descriptor file = open_to_read(path);
  std::vector<std::byte> buffer(std::size_t{1} << 20);
  Sha256 sum;
  while (true) {
    const ssize_t got = ::read(file.number(), buffer.data(), buffer.size());
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) throw IoError(concat(path.string(), ": can't read: ", base::errno_text(errno)));
    if (got == 0) return sum.hex();
    sum.add(std::span(buffer).first(static_cast<std::size_t>(got)));
  }
}

std::vector<Checksum> read_checksums(const std::filesystem::path& path) {
  std::ifstream in(path);
  if (!in) throw IoError(concat(path.string(), ": can't open"));
  std::vector<Checksum> checksums;
  std::string line;
  for (int number = 1; std::getline(in, line); ++number) {
    // "  " text mode, " *" binary mode: the same on Linux.
    const bool separated =
        line.size() > kDigits + 2 && line[kDigits] == ' ' && (line[kDigits + 1] == ' ' || line[kDigits + 1] == '*');
    if (!separated || !is_sha256(std::string_view(line).substr(0, kDigits)))
      throw IoError(
          concat(path.string(), ":", number, ": not a line of sha256sum (64 hexadecimal digits, 2 blanks, name)"));
    Checksum checksum{line.substr(0, kDigits), line.substr(kDigits + 2)};
    std::transform(checksum.sha256.begin(), checksum.sha256.end(), checksum.sha256.begin(),
                   [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
    checksums.push_back(std::move(checksum));
  }
  if (in.bad()) throw IoError(concat(path.string(), ": can't read"));
  return checksums;
}

void write_checksums(const std::filesystem::path& path, const std::vector<Checksum>& checksums, bool force) {
  AtomicFile file(path, force);
  for (const Checksum& checksum : checksums) {
    if (!is_sha256(checksum.sha256) || checksum.name.empty() || checksum.name.find('\n') != std::string::npos)
      throw IoError(concat(path.string(), ": '", checksum.name, "' can't be written in a list of checksums"));
    file.append(concat(checksum.sha256, "  ", checksum.name, "\n"));
  }
  file.commit();
}

}  // namespace dnamamba::files
