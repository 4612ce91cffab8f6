// The data in a page of `--report`, as its scripts find them, and pages to look at.
#pragma once
#include <gtest/gtest.h>
#include <openssl/evp.h>

#include <cstdint>
#include <cstring>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace dnamamba::test {

class ReportData {
 public:
  explicit ReportData(std::string html) : html_(std::move(html)) {}

  /// The text of the element, up to the first end tag of a script: what a browser takes for it. Empty if it is not
  /// there.
  std::string text(const std::string& id) const {
    const std::size_t tag = html_.find(" id=\"" + id + "\"");
    if (tag == std::string::npos) return "";
    const std::size_t begin = html_.find('>', tag) + 1;
    return html_.substr(begin, html_.find("</script", begin) - begin);
  }
  nlohmann::json json(const std::string& id) const { return nlohmann::json::parse(text(id)); }

  std::vector<double> column(const std::string& id) const {
    const std::size_t tag = html_.find(" id=\"" + id + "\"");
    const std::size_t type = html_.find("data-array=\"", tag) + 12;
    const std::string array = html_.substr(type, html_.find('"', type) - type);
    const std::vector<unsigned char> bytes = decoded(text(id));
    if (array == "Uint16Array") return numbers<std::uint16_t>(bytes);
    if (array == "Uint32Array") return numbers<std::uint32_t>(bytes);
    EXPECT_EQ(array, "Float64Array");
    return numbers<double>(bytes);
  }
  const std::string& html() const { return html_; }

 private:
  static std::vector<unsigned char> decoded(const std::string& base64) {
    std::vector<unsigned char> bytes(base64.size() / 4 * 3 + 1);
    const int size = EVP_DecodeBlock(bytes.data(), reinterpret_cast<const unsigned char*>(base64.data()),
                                     static_cast<int>(base64.size()));
    EXPECT_GE(size, 0);
    const auto padding = base64.ends_with("==") ? 2 : base64.ends_with("=") ? 1 : 0;
    bytes.resize(size - padding);
    return bytes;
  }
  template <typename T>
  static std::vector<double> numbers(const std::vector<unsigned char>& bytes) {
    EXPECT_EQ(bytes.size() % sizeof(T), 0U);
    std::vector<T> values(bytes.size() / sizeof(T));
    if (!values.empty()) std::memcpy(values.data(), bytes.data(), bytes.size());
    return {values.begin(), values.end()};
  }

  std::string html_;
};

}  // namespace dnamamba::test
